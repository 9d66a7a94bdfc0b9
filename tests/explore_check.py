"""Run the exploration notebook without a screen and look for errors, also in what its widgets printed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import papermill

from qkld.study.paths import project_root
from qkld.workflow.notebooks import kernel_environment

EXPLORER = Path("notebooks") / "explore" / "study.ipynb"
LONGEST_CELL = 300
"""Seconds after which a cell is taken for lost: a kernel on a crowded machine once never got its answer through."""
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def outputs_of(notebook: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every output of a notebook's cells, and those that widgets captured: a widget shows an error, it raises none."""
    for cell in notebook["cells"]:
        yield from cell.get("outputs", [])
    for store in notebook["metadata"].get("widgets", {}).values():
        for model in store.get("state", {}).values():
            yield from model.get("state", {}).get("outputs", [])


def check_explorer(repository: Path, output: Path, **parameters: Any) -> dict[str, Any]:
    """Execute the explorer with papermill in a kernel of its own and assert that it shows what it promises.

    The study is found as everywhere: through ``QKLD_ROOT`` and ``QKLD_RUNS`` of this process. Returns the notebook.
    """
    os.environ.update(kernel_environment())
    papermill.execute_notebook(
        repository / EXPLORER,
        output,
        parameters,
        kernel_name="python3",
        cwd=project_root(),
        progress_bar=False,
        execution_timeout=LONGEST_CELL,
    )
    notebook = json.loads(output.read_text())
    outputs = list(outputs_of(notebook))
    errors = [o for o in outputs if o["output_type"] == "error" or "Traceback" in "".join(o.get("text", ""))]
    assert not errors, errors
    views = [o for o in outputs if o["output_type"] == "execute_result" and WIDGET_VIEW in o["data"]]
    pages = ["".join(o["data"]["text/html"]) for o in outputs if "text/html" in o.get("data", {})]
    assert len(views) == 3, "a slider for the zone, an item and a window to choose"
    assert any("taken by" in page and "right" in page for page in pages), "one item under both models"
    assert "no such item" not in pages, "the item widget starts with an item"
    assert any("rgba(213,94,0" in page for page in pages), "one window, token by token"
    return notebook
