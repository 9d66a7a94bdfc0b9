"""The command line: what it refuses, what it passes on, and that it starts without torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from conftest import REPOSITORY
from simulated_project import NAME

from qkld.analysis.study import load_study
from qkld.workflow import cli
from qkld.workflow.commands import COMMANDS


def test_the_command_line_imports_no_torch():
    look = (
        "import sys, qkld.workflow.cli, qkld.workflow.runner, qkld.workflow.rules,"
        " qkld.workflow.plan_report, qkld.workflow.notebooks;"
        " print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
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


def test_a_knob_out_of_range_is_refused_before_a_kernel_starts(own_place, capsys):
    assert cli.main(["notebook", "05_silent_zone", "--study", "smoke", "-p", "permutations=1"]) == 2
    assert "greater than or equal to 99" in capsys.readouterr().err
    assert not own_place.folder.joinpath("runs").exists()


@pytest.mark.notebook
def test_a_notebook_with_another_knob_is_kept_beside_the_studys_own(measured_project, capsys):
    shutil.copytree(REPOSITORY / "notebooks", measured_project / "notebooks", dirs_exist_ok=True)
    assert cli.main(["notebook", "04_correlation", "--study", NAME, "-p", "permutations=99"]) == 2
    assert "03b_cohort first" in capsys.readouterr().err
    study = load_study(NAME)
    executed = study.with_knobs("04_correlation", permutations=99).written.notebook("04_correlation")
    assert "permutations = 99, where the study has 199" in executed.read_text()
    assert not study.paths.notebook("04_correlation").exists()


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
    assert "kubernetes, local, slurm" in capsys.readouterr().err
