"""Tables that are taken back: their numbers go everywhere, their reason stands in their place, the rest stays."""

import json

import pytest
from simulated_study import write_simulated_project

from qkld.analysis.study import load_study
from qkld.errors import StageError
from qkld.report.study_report import write_headline
from qkld.report.study_tables import ENGINES, MADE_OF, all_tables, titles_of
from qkld.report.withdrawing import RIGHT_SINCE, without_sections, wrong_tables
from qkld.study.provenance import METRICS_VERSION
from qkld.study.registry import OF_STUDIES
from qkld.workflow import cli
from qkld.workflow.docs import blocks, result_tables

pytestmark = pytest.mark.long

WHY = "its p-values were too small where items are few <see CHANGELOG>."


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The headline's numbers and the tables of a drawn study."""
    root = tmp_path_factory.mktemp("withdrawing")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QKLD_ROOT", str(root))
        patch.delenv("QKLD_RUNS", raising=False)
        patch.delenv("QKLD_FIGURES", raising=False)
        write_simulated_project(root)
        study = load_study("simulated")
        folder = study.paths.figures
        write_headline(study.paths.headline, study)
        (folder / "tables.md").write_text(result_tables(study))
        yield study


@pytest.fixture
def files(made, tmp_path):
    """Name → text of both files, put back after the test."""
    folder = made.paths.figures
    before = {path.name: path.read_text() for path in folder.iterdir()}
    yield before
    for name, text in before.items():
        (folder / name).write_text(text)


def now(made):
    return {path.name: path.read_text() for path in made.paths.figures.iterdir()}


def test_numbers_and_tables_lose_the_table_and_say_why(made, files):
    arguments = ["withdraw", "simulated", "--table", "verdict", "--table", "zone"]
    assert cli.main([*arguments, "--why", WHY]) == 0
    after = now(made)
    kept, numbers = json.loads(files["headline.json"]), json.loads(after["headline.json"])
    gone = {k for k in kept if k.split("/")[0] in ("verdict", "zone")}
    assert gone
    assert numbers == {k: v for k, v in kept.items() if k not in gone} | {
        f"withdrawn/{table}": WHY for table in ("verdict", "zone")
    }
    assert f"**Noise or missing direction.** Withdrawn: {WHY}\n\n**Which quants" in after["tables.md"]
    assert "items to settle" not in after["tables.md"]
    assert after["tables.md"].count("Withdrawn: its p-values") == 2
    assert "Which quants are as good as the reference" in after["tables.md"]


@pytest.mark.parametrize("table", ["verdicts", "zone_members/x", "published"])
def test_what_is_not_there_is_not_withdrawn(table, made, files, capsys):
    assert cli.main(["withdraw", "simulated", "--table", "verdict", "--table", table, "--why", WHY]) == 2
    assert "No such table can be withdrawn" in (said := capsys.readouterr().err)
    assert table in said
    assert now(made) == files
    assert cli.main(["withdraw", "nobody", "--table", "verdict", "--why", WHY]) == 2
    assert "has no figures" in capsys.readouterr().err


def test_a_table_is_withdrawn_once(made, files, capsys):
    assert cli.main(["withdraw", "simulated", "--table", "decision", "--why", WHY]) == 0
    assert cli.main(["withdraw", "simulated", "--table", "decision", "--why", WHY]) == 2


def test_no_study_shows_what_an_older_version_made_wrong(made, repository):
    for path in (repository / "figures").glob("*/headline.json"):
        assert wrong_tables(json.loads(path.read_text())) == [], f"run it again, or `qkld withdraw {path.parent.name}`"
    own = json.loads(made.paths.headline.read_text())
    assert own["study/metrics_version"] == METRICS_VERSION
    assert set(wrong_tables(own | {"study/metrics_version": 5})) == set(RIGHT_SINCE)
    assert wrong_tables(own | {"study/metrics_version": 6}) == []
    unnamed = {key: value for key, value in own.items() if key != "study/metrics_version"}
    assert set(wrong_tables(unnamed)) == set(RIGHT_SINCE)


def test_the_readme_takes_no_wrong_table(made, files, monkeypatch):
    monkeypatch.setattr("qkld.workflow.docs.SHOWN_STUDY", "simulated")
    old = json.loads(files["headline.json"]) | {"study/metrics_version": 5}
    made.paths.headline.write_text(json.dumps(old))
    with pytest.raises(StageError, match="qkld withdraw simulated"):
        blocks()


def other_numbers(table, key):
    """The table with another value in every cell that holds a number or a yes and is no part of the key."""
    cells = table.drop(columns=list(key))
    yes = {name: ~cells[name] for name in cells.select_dtypes("bool")}
    numbers = {name: cells[name] * 2 + 1 for name in cells.select_dtypes("number")}
    return table.assign(**yes, **numbers)


def test_a_title_is_known_of_every_table_in_which_a_result_stands(made, monkeypatch):
    tables = {name: made.analysis(name) for name in OF_STUDIES}
    monkeypatch.setattr(type(made), "analysis", lambda _, name: tables[name])
    shown = {table.title: table.rows for table in all_tables(made)}
    assert len(shown) == len(all_tables(made))
    for name, own in list(tables.items()):
        tables[name] = other_numbers(own, OF_STUDIES[name].key)
        changed = {table.title for table in all_tables(made) if table.rows != shown[table.title]}
        assert changed == set(shown).intersection(titles_of([name])), name
        tables[name] = own
    assert set(MADE_OF) - set(shown) == {ENGINES}  # of files that run in both engines, which this study has none of


def test_a_last_table_and_an_absent_one():
    (title,) = titles_of(["verdict"])
    text = f"**One.**\n\n| a |\n\nnote\n\n**{title}.**\n\n| b |\n\nnote\n"
    assert without_sections(text, ["verdict", "decision"], "wrong.") == (
        f"**One.**\n\n| a |\n\nnote\n\n**{title}.** Withdrawn: wrong.\n"
    )
