"""Pages that the package writes of itself: whole, and refused where there is nothing to show."""

import pytest

from qkld.errors import StageError
from qkld.study.knobs import STAGES
from qkld.study.params import Study
from qkld.study.registry import OF_STUDIES
from qkld.workflow import cli, pages
from qkld.workflow.commands import COMMANDS
from qkld.workflow.docs import SHOWN_STUDY
from qkld.workflow.room_picture import draw_rooms, write_rooms


def test_every_table_and_column_is_on_its_page():
    page = pages.tables_page()
    assert {name for name in OF_STUDIES if f"`{name}.csv`" not in page} == set()
    assert all(f"`{column}`" in page for table in OF_STUDIES.values() for column in table.columns)


def test_every_key_of_a_study_is_on_its_page_and_knobs_say_what_they_mean():
    page = pages.parameters_page()
    assert all(f"| `{key}` |" in page for key in Study.model_fields)
    knobs = {
        key for sections in STAGES.values() for s in sections for key in Study.model_fields[s].annotation.model_fields
    }
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert {key for key in knobs if not rows[key].split(" | ")[3].strip(" |")} == set()


def test_every_command_is_on_its_page():
    page = pages.command_line_page()
    assert all(f"## `qkld {command.name}`" in page for command in COMMANDS)
    assert "--help" in page


def test_what_qkld_pick_prints_is_what_its_page_shows(capsys):
    assert cli.main(["pick", SHOWN_STUDY]) == 0
    printed = capsys.readouterr().out.splitlines()
    shown = pages.pick_page().splitlines()
    assert shown[:2] == ["```text", f"$ qkld pick {SHOWN_STUDY}"]
    assert [line.removeprefix("> ") for line in shown[2:] if line.strip("`>")] == printed


def test_an_evening_is_shown_as_it_is_kept_or_named_as_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("QKLD_FIGURES", str(tmp_path))
    assert pages.evening_page() == "`make evening` has not been run here."
    (tmp_path / "evening").mkdir()
    (tmp_path / "evening" / "pick.md").write_text("```text\n$ qkld pick FOLDER\n```\n")
    assert pages.evening_page() == "```text\n$ qkld pick FOLDER\n```\n"


def test_rooms_stand_in_the_order_of_their_floors_and_import_downwards_only():
    order, arrows = list(pages.rooms()), pages.room_imports()
    assert order[-1] == "errors"
    assert set(arrows["analysis"]) >= {"statistics", "study"}
    assert arrows["statistics"]["study"] > 1
    assert all(order.index(lower) > order.index(room) for room, found in arrows.items() for lower in found)
    assert all(says.endswith(".") for says in pages.rooms().values())


def test_without_an_executed_notebook_the_command_that_makes_them_is_named(own_place, tmp_path):
    with pytest.raises(StageError, match=r"(?s)no executed notebook.*qkld run smoke"):
        pages.write_studies(tmp_path / "studies")


def test_every_stage_has_one_page_by_its_first_executed_notebook(own_place, tmp_path):
    folder = own_place.folder / "runs" / "smoke" / "notebooks"
    folder.mkdir(parents=True)
    for name in ("02_quant_kld.hqq-4bit", "02_quant_kld.bnb-nf4", "05_silent_zone", "04_correlation"):
        (folder / f"{name}.ipynb").write_text("{}" if name != "02_quant_kld.bnb-nf4" else '{"cells": []}')
    pages.write_studies(tmp_path / "studies")
    assert sorted(path.name for path in (tmp_path / "studies" / "smoke").iterdir()) == [
        "02_quant_kld.ipynb",
        "04_correlation.ipynb",
        "05_silent_zone.ipynb",
        "index.md",
    ]
    assert (tmp_path / "studies" / "smoke" / "02_quant_kld.ipynb").read_text().strip() == '{"cells": []}'
    index = (tmp_path / "studies" / "smoke" / "index.md").read_text()
    assert "02_quant_kld\n04_correlation\n05_silent_zone" in index


def test_the_picture_of_rooms_marks_every_import_on_one_side_of_the_diagonal(tmp_path):
    files = pages.room_imports()
    ax = draw_rooms(files).axes[0]
    marks = [tuple(mark.get_offsets()[0]) for mark in ax.collections]
    assert len(marks) == sum(map(len, files.values()))
    assert all(column > row for column, row in marks)
    write_rooms(tmp_path / "rooms.svg", files)
    assert (tmp_path / "rooms.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")
