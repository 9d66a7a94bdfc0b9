"""The calibration as a whole: the same numbers on any number of processes, written with its bounds first."""

import json

import numpy as np
import pandas as pd
import pytest

from validation.calibration import runs
from validation.calibration.__main__ import main
from validation.calibration.coverage import ZmaxCell
from validation.calibration.runs import Calibration, block_rng, calibrate
from validation.calibration.summary import summary_markdown
from validation.calibration.table import calibration_markdown, markdown_table


def test_numbers_do_not_depend_on_the_processes(monkeypatch):
    monkeypatch.setattr(runs, "BLOCK", 2)
    monkeypatch.setitem(runs.PARTS, "zmax", _few_cells(runs.PARTS["zmax"]))
    one, two = (calibrate(5, cores=cores, parts=["zmax"]) for cores in (1, 2))
    assert one.tables["zmax"].equals(two.tables["zmax"])
    assert one.bounds == two.bounds
    assert set(one.tables["zmax"]["runs"]) == {5}


def _few_cells(part):
    return runs.Part(lambda n: part.cells(n)[:3], part.run, part.rates, part.bounds)


def test_blocks_and_cells_have_seeds_of_their_own():
    a, b = ZmaxCell("normal, ρ 0", 12, 5), ZmaxCell("normal, ρ 0", 16, 5)
    draws = [block_rng(*key).random() for key in ((a, 0), (a, 1), (b, 0))]
    assert len(set(draws)) == 3
    assert block_rng(ZmaxCell("normal, ρ 0", 12, 99), 0).random() == draws[0]


def test_the_command_writes_both_files(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(runs.PARTS, "zmax", _few_cells(runs.PARTS["zmax"]))
    monkeypatch.setitem(runs.PARTS, "size", _few_cells(runs.PARTS["size"]))
    assert main(["--runs", "3", "--cores", "1", "--part", "zmax", "--part", "size", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "calibration.json").read_text())
    assert set(found["tables"]) == {"zmax", "size"}
    assert found["made_by"]["runs"] == 3
    assert len(found["bounds"]) == 6
    text = (tmp_path / "calibration.md").read_text()
    assert text.startswith("# Calibration\n")
    assert "at least 0.94" in text
    assert "6 bounds" in capsys.readouterr().out
    summary = (tmp_path / "summary.md").read_text()
    assert summary.startswith("**Calibration.**\n\n| wanted | target |")
    assert "| z-max interval holds ρ of exchangeable quants: 4 quants | at least 0.94 | 1 |" in summary
    assert summary.count("| not tested |") == 4


def test_a_killed_run_goes_on_with_the_blocks_that_are_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "BLOCK", 2)
    monkeypatch.setitem(runs.PARTS, "zmax", _few_cells(runs.PARTS["zmax"]))
    whole = calibrate(5, cores=1, parts=["zmax"], folder=tmp_path)
    blocks = sorted(tmp_path.glob("*.parquet"))
    assert len(blocks) == 9
    written = {file: file.stat().st_mtime_ns for file in blocks[1:]}
    blocks[0].unlink()
    again = calibrate(5, cores=1, parts=["zmax"], folder=tmp_path)
    assert {file: file.stat().st_mtime_ns for file in blocks[1:]} == written
    assert blocks[0].exists()
    assert again.tables["zmax"].equals(whole.tables["zmax"])
    assert again.tables["zmax"].equals(calibrate(5, cores=1, parts=["zmax"]).tables["zmax"])


def test_every_part_is_drawn_as_a_table(monkeypatch):
    for name, part in list(runs.PARTS.items()):
        monkeypatch.setitem(runs.PARTS, name, runs.Part(lambda n, p=part: p.cells(n)[:1], *_rest(part)))
    tables = {}
    for name, part in runs.PARTS.items():
        cell = part.cells(2)[0]
        tables[name] = part.rates(cell, pd.DataFrame(part.run(cell, rng=np.random.default_rng(1))))
    bounds = [c for name, part in runs.PARTS.items() for c in part.bounds(tables[name])]
    text = calibration_markdown(Calibration(tables, bounds, {}), {"runs": 2, "seed": 1})
    for line in text.split("\n"):
        assert "nan" not in line
    assert text.count("\n### ") == 16
    assert "nan" not in summary_markdown(Calibration(tables, bounds, {}), {"runs": 2, "seed": 1})


def _rest(part):
    return part.run, part.rates, part.bounds


def test_a_table_is_markdown():
    assert markdown_table(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |"


def test_an_unknown_part_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--part", "nothing"])
    assert "nothing" in capsys.readouterr().err
