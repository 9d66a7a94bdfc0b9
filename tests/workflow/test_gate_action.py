"""The action for GitHub runs the command that it says, and hands on outcome and status."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY

STEP = {s["name"]: s for s in yaml.safe_load((REPOSITORY / "action.yml").read_text())["runs"]["steps"]}["Judge"]


@pytest.fixture
def judge(tmp_path):
    """Run the action's step on a table, as a runner does, with its inputs in the environment."""
    (tmp_path / "quants.csv").write_text("quant,kl_mean,kl_mean_se\nq8,0.001,0.0001\nq4,0.02,0.001\n")

    def run(quant: str, thresholds: str, unresolved: str = "fail") -> tuple[int, dict[str, str], str]:
        outputs = tmp_path / "outputs"
        inputs = {"SOURCE": "quants.csv", "QUANT": quant, "THRESHOLDS": thresholds, "UNRESOLVED": unresolved}
        found = {**os.environ, **inputs, "GITHUB_OUTPUT": str(outputs)}
        found["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{found['PATH']}"
        outputs.write_text("")
        done = subprocess.run(["bash", "-c", STEP["run"]], cwd=tmp_path, env=found, capture_output=True, text=True)
        told = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
        return done.returncode, told, done.stdout + done.stderr

    return run


@pytest.mark.parametrize(
    ("quant", "thresholds", "unresolved", "status", "outcome"),
    [
        ("q8", "--max-kld 0.01", "fail", 0, "passed"),
        ("q4", "--max-kld 0.01", "pass", 3, "failed"),
        ("q4", "--max-kld 0.0205", "fail", 5, "not resolved"),
        ("q4", "--max-kld 0.0205", "pass", 0, "not resolved"),
        ("q2", "--max-kld 0.01", "fail", 4, "not measured"),
    ],
)
def test_outcome_and_status_are_handed_on(judge, quant, thresholds, unresolved, status, outcome):
    code, told, said = judge(quant, thresholds, unresolved)
    assert (code, told["outcome"]) == (status, outcome), said
    assert f"{outcome}: {quant}: kl_mean" in said


def test_an_error_is_an_error(judge):
    code, told, said = judge("q4", "--max-kld much")
    assert (code, told) == (2, {"status": "2"})
    assert "cannot be read" in said


def test_the_step_takes_its_inputs_from_the_environment_alone():
    assert "${{" not in STEP["run"], "an expression inside a script lets an input run commands"
