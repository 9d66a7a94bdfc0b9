"""The base install: no torch, and a table of quants analysed in an environment that holds nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.pipeline, pytest.mark.network, pytest.mark.long]

TABLE = """label,kl_mean,arc_easy
reference,0.0,0.760
q8,0.0004,0.759
q6,0.0031,0.761
q5,0.0082,0.754
q4,0.0270,0.742
q3,0.1100,0.701
q2,0.6400,0.583
"""


OURS = ("QKLD_ROOT", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
"""Variables that a user does not have; without the last, what one command has compiled the next one finds."""


def ran(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess:
    """The command as a user runs it, outside the repository."""
    outside = {name: value for name, value in os.environ.items() if name not in OURS}
    return subprocess.run([str(c) for c in command], cwd=cwd, env=outside, capture_output=True, text=True, check=False)


def run(*command: str | Path, cwd: Path) -> str:
    done = ran(*command, cwd=cwd)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def base(tmp_path_factory, repository) -> Path:
    """An empty environment with the project's wheel and what it asks for, at the locked versions."""
    folder = tmp_path_factory.mktemp("base")
    shutil.copytree(
        repository / "src", folder / "source" / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__")
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / name, folder / "source")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, folder / "source", cwd=folder)
    (wheel,) = folder.glob("qkld-*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    install = ["install", "--quiet", "--no-compile", "-c", repository / "requirements.lock"]
    run(*pip, "--python", folder / "venv", *install, wheel, cwd=folder)
    return folder


def test_no_torch_is_installed(base):
    code = "from importlib.metadata import distributions; print(*(d.name.lower() for d in distributions()))"
    names = set(run(base / "venv/bin/python", "-c", code, cwd=base).split())
    assert "qkld" in names
    assert names.isdisjoint({"torch", "transformers", "papermill", "snakemake", "lm-eval", "jupyterlab"})


def test_a_table_is_analysed_there(base):
    (base / "table.csv").write_text(TABLE)
    arguments = ["analyse", "table.csv", "--fidelity", "kl_mean", "--scores", "arc_easy", "--reference", "reference"]
    assert len(run(base / "venv/bin/qkld", *arguments, cwd=base).splitlines()) == 10
    report = (base / "runs" / "analyse" / "table" / "report.html").read_text()
    assert all(quant in report for quant in ("q8", "q6", "q5", "q4", "q3", "q2"))
    summary = json.loads(run(base / "venv/bin/qkld", *arguments, "--json", cwd=base))
    assert "-0.9" in json.dumps(summary)  # Spearman's rho of these six quants, worked out by hand: −33/35


def test_items_alone_and_published_cohorts_are_analysed_there(base):
    answers = {"reference": "110110", "q4": "110100"}
    rows = [f"{model},arc,{i},{right}" for model, own in answers.items() for i, right in enumerate(own)]
    (base / "items.csv").write_text("\n".join(["model,benchmark,item,correct", *rows]) + "\n")
    lines = run(base / "venv/bin/qkld", "analyse", "--items", "items.csv", "--reference", "reference", cwd=base)
    assert "1 undecided" in lines
    assert "llama3-8b" in run(base / "venv/bin/qkld", "published", "--out", "published", cwd=base)
    assert (base / "published" / "llama3-8b" / "report.html").exists()


def test_studies_are_read_and_drawn_without_torch(base):
    code = "import qkld, qkld.report.figures, qkld.report.study_report, qkld.statistics, qkld.analysis.study, sys"
    code += "; print('torch' in sys.modules)"
    assert run(base / "venv/bin/python", "-c", code, cwd=base).strip() == "False"


def test_the_wheel_holds_every_file_of_the_package(base, repository):
    (wheel,) = base.glob("qkld-*.whl")
    package = repository / "src" / "qkld"
    files = {p.relative_to(package.parent).as_posix() for p in package.rglob("*") if p.is_file()}
    own = {name for name in files if "__pycache__" not in name}
    assert own - set(zipfile.ZipFile(wheel).namelist()) == set()


def test_what_needs_a_model_or_the_repository_says_so_there(base):
    """Outside the repository and without torch: four lines each, and no traceback."""
    compare = ["compare", "--reference", "there", "--quant", "torchao:int8,group=32"]
    gate = ["gate", "--reference", "there", "--quant", "torchao:int8,group=32", "--max-kld", "0.1"]
    models = [compare, gate, ["run", "demo"], ["quantize", "model", "--types", "Q8_0", "--out", "here"]]
    for arguments, said in [(a, "qkld[models]") for a in models] + [(["plan", "demo"], "change into the repository")]:
        done = ran(base / "venv/bin/qkld", *arguments, cwd=base)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert "compare" in run(base / "venv/bin/qkld", "--help", cwd=base)
