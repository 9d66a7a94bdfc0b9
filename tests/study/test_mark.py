"""A job that does not see its run's folder says so before it works."""

from __future__ import annotations

import pytest

from qkld.errors import ClusterError
from qkld.study.mark import MARK_VARIABLE, check_mark, mark_file, write_mark
from qkld.study.paths import StudyPaths
from qkld.workflow import cli


def test_a_job_in_its_runs_folder_goes_on(tmp_path, monkeypatch):
    check_mark(tmp_path)  # a run on one machine names no mark
    for name, value in write_mark(tmp_path / "runs" / "one").items():
        monkeypatch.setenv(name, value)
    check_mark(tmp_path / "runs" / "one")


@pytest.mark.parametrize("left", [None, "another run's", ""])
def test_another_folder_at_the_same_place_is_refused(tmp_path, monkeypatch, left):
    monkeypatch.setenv(MARK_VARIABLE, write_mark(tmp_path)[MARK_VARIABLE])
    mark_file(tmp_path).unlink() if left is None else mark_file(tmp_path).write_text(left)
    with pytest.raises(ClusterError, match="does not see the folder of its run"):
        check_mark(tmp_path)


@pytest.mark.parametrize("stage", ["01_reference_logits", "03b_cohort", "08_findings"])
def test_no_stage_works_in_a_folder_that_is_not_its_runs(own_place, monkeypatch, capsys, stage):
    monkeypatch.setenv(MARK_VARIABLE, "of another machine")
    assert cli.main(["notebook", stage, "--study", "smoke"]) == 2
    assert "do:       put the run on a file system that every node mounts" in capsys.readouterr().err
    assert not StudyPaths("smoke").run.exists()
