"""Notebook 08, in a kernel of its own, on a simulated study; the smoke run's own is in tests/pipeline."""

from __future__ import annotations

import json
import os

import papermill
import pytest
from conftest import REPOSITORY
from explore_check import outputs_of

from qkld.workflow.notebooks import kernel_environment

pytestmark = pytest.mark.notebook
FIGURES = ("kld_score", "variants", "zone_curve", "volume_direction", "bits_kld")


def run_figures(output, **parameters):
    os.environ.update(kernel_environment())
    papermill.execute_notebook(
        REPOSITORY / "notebooks" / "08_figures.ipynb", output, parameters, kernel_name="python3", cwd=REPOSITORY,
        progress_bar=False,
    )  # fmt: skip
    return json.loads(output.read_text())


def test_figures_numbers_and_report_are_written(simulated_copy, tmp_path):
    notebook = run_figures(tmp_path / "08.ipynb", study="simulated", formats=["pdf", "png"], column_width=3.4)
    folder = simulated_copy.paths.figures
    names = [*FIGURES, "prompt_kld_arc_easy", "prompt_kld_sciq"]
    assert {f"{name}.{kind}" for name in names for kind in ("pdf", "png")} <= {p.name for p in folder.iterdir()}
    assert all(p.stat().st_size > 1000 for p in folder.iterdir())
    assert json.loads((folder / "numbers.json").read_text())["study/zone_quants"] == 11
    assert (folder / "report.html").read_text().count("data:image/png;base64,") >= len(names)
    shown = [o for o in outputs_of(notebook) if "image/png" in o.get("data", {})]
    assert len(shown) >= len(names)
    assert not [o for o in outputs_of(notebook) if o.get("name") == "stderr"]
