"""What a running study shows: a line a job and one for the study, and at the end who failed and why."""

from __future__ import annotations

import json
import os
import time

import pytest

from qkld.errors import StageError, StoreError
from qkld.study.progress import FAILED, FOLDER_VARIABLE, JOB_VARIABLE, RUNNING, STEP, Step, cause_of, job, steps
from qkld.workflow.watching import Watch, _Reports, clock, failed_lines, shown, step_line


@pytest.fixture
def watch(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "progress"))
    monkeypatch.delenv(JOB_VARIABLE, raising=False)
    return Watch("smoke", tmp_path / "progress", tmp_path / "run.log")


def log(watch, text):
    watch.log.write_text(text)


def test_a_job_says_how_far_its_loop_is(watch):
    with job("02_quant_kld.q4"):
        assert "opens its model" in watch.lines()[1]
        with steps("q4 on prose", 8, unit="window") as progress:
            progress._start -= 10  # ten seconds ago
            progress._written = 0.0
            progress.advance(2, tokens=1024)
            (line,) = watch.lines()[1:]
            expected = "02_quant_kld.q4 q4 on prose 25% 2 of 8 windows 102 tokens/s 0:30 left"
            assert " ".join(line.split()) == expected
    assert watch.lines()[1:] == []


def test_the_studys_line_counts_jobs_as_snakemake_does(watch):
    assert watch.lines()[0].startswith("smoke: 0 running")
    log(watch, "Job stats:\njob    count\n-----  -----\nfigures    1\ntotal     19\n")
    assert watch.lines()[0].startswith("smoke: 0 of 19 jobs done, 0 running")
    log(watch, "total     19\n\n3 of 19 steps (16%) done\nx\n4 of 19 steps (21%) done\n")
    watch.folder.mkdir()
    (watch.folder / f"x{FAILED}").write_text("why")
    assert watch.lines()[0].startswith("smoke: 4 of 19 jobs done, 0 running, 1 failed")


def test_a_step_without_tokens_counts_units():
    line = step_line(Step("q4 on sciq", "item", 30, 120, 0, 60.0))
    assert line == "q4 on sciq   25%  30 of 120 items  0.5/s  3:00 left"
    assert step_line(Step("q4 on sciq", "item", 0, 0, 0, 1.0)) == "q4 on sciq  100%  0 of 0 items"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3600, "1:00:00")])
def test_clocks(seconds, text):
    assert clock(seconds) == text


def test_a_failed_job_is_named_with_its_cause_in_a_sentence(watch):
    cause = StoreError("The store x was damaged or edited.", expected="a", found="b", do="c")
    with pytest.raises(StoreError), job("03_benchmark_scores.q4"):
        raise cause
    with pytest.raises(StageError), job("02_quant_kld.q4"):
        raise StageError("02_quant_kld stopped in a cell.", expected="x", found=f"StoreError: {cause}", do="y")
    os.environ[JOB_VARIABLE] = "01_killed"
    (watch.folder / f"01_killed{RUNNING}").write_text(json.dumps({"pid": 1, "started": time.time()}))
    log(watch, "5 of 19 steps (26%) done\n")
    first, *rest = failed_lines(watch, 1)
    assert first.startswith("qkld: 3 jobs of 'smoke' failed")
    assert "5 of 19 jobs done" in first
    assert rest[:3] == [
        "  02_quant_kld.q4: StoreError: The store x was damaged or edited.",
        "  03_benchmark_scores.q4: StoreError: The store x was damaged or edited.",
        "  01_killed: it was killed; see whether memory ran out",
    ]
    assert rest[3].endswith(f"The whole log: {watch.log}")


def test_a_workflow_that_stopped_by_itself_shows_the_end_of_its_log(watch):
    log(watch, "\n".join(map(str, range(40))))
    *last, said = failed_lines(watch, 1)
    assert last == [str(i) for i in range(20, 40)]
    assert "stopped with status 1" in said


def test_a_job_outside_a_run_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    with job("x"), steps("y", 2, unit="window") as progress:
        progress.advance(2)
    assert not list(tmp_path.rglob("*"))


def test_a_disk_that_takes_no_more_stops_no_job(watch):
    watch.folder.parent.joinpath("progress").write_text("a file where the folder should be")
    with job("x"), steps("y", 2, unit="window") as progress:
        progress.advance(2)


def test_a_reader_never_sees_half_a_file(watch):
    with job("x"), steps("y", 10**6, unit="window"):
        assert [p.suffix for p in watch.folder.iterdir()] == [STEP, RUNNING] or len(list(watch.folder.iterdir())) == 2
        assert not [p for p in watch.folder.iterdir() if p.name.startswith(".")]


def test_without_a_terminal_plain_lines_come_as_jobs_start_and_once_a_minute(watch, capsys, monkeypatch):
    reports = _Reports(watch)
    with job("a"):
        for _ in range(5):
            reports.look()
    assert capsys.readouterr().out.count("\n") == 2
    reports.look()
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(reports, "_reported", time.monotonic() - 61)
    reports.look()
    assert capsys.readouterr().out.startswith("smoke: 0 running")


def test_without_a_terminal_no_line_is_overwritten(watch, capsys):
    with job("a"), shown(watch) as look:
        look()
    assert "\x1b" not in capsys.readouterr().out


def test_the_cause_of_an_error_that_is_no_cells_is_its_first_sentence():
    assert cause_of(StoreError("It broke.", expected=1, found=2, do="x")) == "StoreError: It broke."
