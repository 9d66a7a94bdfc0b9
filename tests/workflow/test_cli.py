"""The command line: what it refuses, what it passes on, and that it starts without torch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import REPOSITORY

from qkld.workflow import cli


def test_the_command_line_imports_no_torch():
    look = (
        "import sys, qkld.workflow.cli, qkld.workflow.runner, qkld.workflow.rules,"
        " qkld.workflow.plan_report, qkld.workflow.notebooks;"
        " print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "command",
    ["run", "plan", "fetch", "collect", "export", "withdraw", "notebook", "analyse", "import", "served", "compare"],
)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, "--help"])
    assert stopped.value.code == 0
    assert f"qkld {command}" in capsys.readouterr().out


def test_an_unknown_study_names_the_known_ones(capsys):
    assert cli.main(["plan", "smok"]) == 2
    assert "There is no study 'smok'" in (said := capsys.readouterr().err)
    assert "smoke" in said


def test_an_unknown_stage_names_the_known_ones(capsys):
    assert cli.main(["notebook", "09_more", "--study", "smoke"]) == 2
    assert "02_quant_kld" in capsys.readouterr().err


def test_a_misspelt_knob_is_refused_before_anything_runs(own_place, capsys):
    assert cli.main(["notebook", "05_silent_zone", "--study", "smoke", "-p", "zone_cutt=0.02"]) == 2
    assert "no parameter zone_cutt" in capsys.readouterr().err
    assert not own_place.folder.joinpath("runs").exists()


def test_a_reader_that_has_seen_enough_gets_no_traceback():
    plan = [sys.executable, "-m", "qkld.workflow.cli", "plan", "smoke"]
    with subprocess.Popen(plan, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        running.stdout.close()  # as head does after its lines
        assert running.stderr.read() == ""
        assert running.wait() == cli.PIPE_CLOSED


def test_a_study_of_ones_own_is_planned_anywhere(tmp_path, monkeypatch, capsys):
    smoke = (REPOSITORY / "params" / "smoke.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(smoke.replace("study: smoke", "study: mine"))
    for variable in ("QKLD_ROOT", "QKLD_DATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["plan", "mine.yaml"]) == 0
    assert "quant_kld" in capsys.readouterr().out
    assert "QKLD_ROOT" not in os.environ


def test_only_run_passes_arguments_on(capsys):
    assert cli.main(["plan", "smoke", "--", "--forceall"]) == 2
    assert "Only `qkld run` passes arguments on" in capsys.readouterr().err


def test_an_unknown_profile_names_the_known_ones(own_place, capsys):
    assert cli.main(["run", "smoke", "--profile", "slurmm", "--dry-run"]) == 2
    assert "['kubernetes', 'local', 'slurm']" in capsys.readouterr().err
