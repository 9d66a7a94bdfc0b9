"""The action for GitHub runs the command that it says, and hands on outcome and status."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY

ACTION = yaml.safe_load((REPOSITORY / "action.yml").read_text())
STEP = {s["name"]: s for s in ACTION["runs"]["steps"]}["Judge"]


def judged(folder: Path, inputs: dict[str, str]) -> tuple[int, dict[str, str], str]:
    """Run the action's step in a folder, as a runner does, with its inputs in the environment."""
    outputs = folder / "outputs"
    own = {name.upper(): inputs.get(name, told.get("default", "")) for name, told in ACTION["inputs"].items()}
    outputs.write_text("")
    done = ran(STEP["run"], folder, **own, GITHUB_OUTPUT=str(outputs))
    told = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
    return done.returncode, told, done.stdout + done.stderr


def ran(script: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    found = {**os.environ, **more}
    found["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{found['PATH']}"
    return subprocess.run(["bash", "-c", script], cwd=folder, env=found, capture_output=True, text=True, check=False)


@pytest.fixture
def judge(tmp_path):
    """The action's step on a table of two quants."""
    (tmp_path / "quants.csv").write_text("quant,kl_mean,kl_mean_se\nq8,0.001,0.0001\nq4,0.02,0.001\n")

    def run(quant: str, thresholds: str, unresolved: str = "fail") -> tuple[int, dict[str, str], str]:
        inputs = {"source": "quants.csv", "quant": quant, "thresholds": thresholds, "unresolved": unresolved}
        return judged(tmp_path, inputs)

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


def test_an_error_is_an_error_whatever_an_earlier_gate_said(judge):
    assert judge("q8", "--max-kld 0.01")[0] == 0
    code, told, said = judge("q4", "--max-kld much")
    assert (code, told) == (2, {"status": "2"})
    assert "cannot be read" in said
    assert judge("q4", "--max-kld '0.01")[:2] == (2, {"status": "2"}), "a quote without its end"


@pytest.mark.parametrize(
    "thresholds",
    ["--max-kld 0.03\n--require kl_mean>=0.01", '--max-kld 0.03 --require "kl_mean >= 0.01"'],
    ids=["lines", "quotes"],
)
def test_thresholds_may_stand_on_several_lines_and_in_quotes(judge, thresholds):
    """None is left out: q8 lies below the second one."""
    assert judge("q8", thresholds)[0] == 3
    assert judge("q4", thresholds)[0] == 0


def test_the_workflow_of_the_page_runs_on_logs_of_the_tool(tmp_path):
    """Its own import and inputs, on logs that llama-perplexity wrote, and every output that it reads."""
    page = (REPOSITORY / "docs" / "howto" / "gate.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(name: .*?)```", page, re.DOTALL)
    steps = yaml.safe_load(block)["jobs"]["gate"]["steps"]
    (tmp_path / "logs").mkdir()
    for name in ("kld-Q4_0.log", "winogrande-Q4_0.log", "winogrande-F32.log"):
        shutil.copy(REPOSITORY / "tests" / "data" / "llama_logs" / name, tmp_path / "logs")
    (import_,) = (line for s in steps for line in s.get("run", "").splitlines() if line.startswith("qkld import"))
    assert ran(import_, tmp_path).returncode == 0
    (gate,) = (s for s in steps if "qkld" in s.get("uses", ""))
    assert set(gate["with"]) <= set(ACTION["inputs"])
    code, told, said = judged(tmp_path, gate["with"])
    assert (code, told["outcome"]) == (0, "passed"), said
    assert "loss of winogrande" in said
    assert (tmp_path / "gate.json").exists()
    assert set(re.findall(r"steps\.gate\.outputs\.(\w+)", block)) <= set(ACTION["outputs"])


def test_the_step_takes_its_inputs_from_the_environment_alone():
    assert "${{" not in STEP["run"], "an expression inside a script lets an input run commands"
