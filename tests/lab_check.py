"""What a person sees in JupyterLab: every notebook run by its menu, the explorer's widgets, and an error of ours."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from browser_check import Lab, errors_of, keep_picture
from playwright.sync_api import Locator

from qkld.study.knobs import STAGES
from qkld.study.provenance import sha256_of_file

EXPLORER = "explore/study"
COLOURED = 'span[title^="KL "]'
"""A token of a text that is coloured by its KL."""

TABLES = (".parquet", ".csv")


def checksums(run: Path) -> dict[str, str]:
    """Every table of a run and its SHA-256."""
    paths = [path for path in sorted(run.rglob("*")) if path.suffix in TABLES]
    return {str(path.relative_to(run)): sha256_of_file(path) for path in paths}


def check_every_notebook(lab: Lab, run: Path) -> None:
    """Open the notebooks in order and run all cells of each: no error, and every table as it was."""
    before = checksums(run)
    assert len(before) > 30
    for stage in (*STAGES, EXPLORER):
        lab.open(f"notebooks/{stage}.ipynb")
        assert errors_of(lab.run_all()) == [], stage
        lab.keep_picture(f"lab-{Path(stage).name}")
        assert checksums(run) == before, stage


def check_explorer_widgets(lab: Lab) -> None:
    """In the explorer, which has been run: move the zone's cut, choose another item, another window of text."""
    zone = lab.page.locator(".widget-interact", has=lab.page.locator(".noUi-handle"))
    _moves(lab, zone.locator("img"), "src", lambda: _press(lab, zone.locator(".noUi-handle"), "Home"))
    item = lab.page.locator(".widget-vbox", has=_labelled(lab, "benchmark")).last
    _moves(lab, item, None, lambda: _labelled(lab, "item").locator("select").select_option(index=1))
    assert "margin" in item.inner_text()
    text = lab.page.locator(".widget-interact", has=lab.page.locator(COLOURED))
    _moves(lab, text, None, lambda: _labelled(lab, "text").locator("select").select_option("prose, 64 tokens"))
    assert text.locator(COLOURED).count() == 32, "the second half of the window"
    _moves(lab, text, None, lambda: _typed(lab, text.locator("input[type=number]"), "1"))
    assert text.locator(COLOURED).count() == 32
    lab.keep_picture("lab-explore-moved")


def _labelled(lab: Lab, name: str) -> Locator:
    """The drop-down list of that name."""
    return lab.page.locator(".widget-dropdown", has=lab.page.locator("label", has_text=re.compile(f"^{name}$")))


def _press(lab: Lab, handle: Locator, key: str) -> None:
    handle.focus()
    lab.page.keyboard.press(key)


def _typed(lab: Lab, field: Locator, text: str) -> None:
    field.fill(text)
    lab.page.keyboard.press("Enter")


def _moves(lab: Lab, shown: Locator, attribute: str | None, act: Callable[[], object]) -> None:
    """Do something to a widget, and wait until what it shows is something else."""
    before = shown.get_attribute(attribute) if attribute else shown.inner_text()
    act()
    lab.until(lambda: (shown.get_attribute(attribute) if attribute else shown.inner_text()) not in (None, "", before))


def check_an_error_of_ours(lab: Lab, notebooks: Path) -> None:
    """A study that is not there: four lines and no frame of code; ``%tb`` in the next cell gives the frames."""
    notebook = json.loads((notebooks / "05_silent_zone.ipynb").read_text())
    (parameters,) = [cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    parameters["source"] = [line.replace("study: str = None", 'study: str = "nosuch"') for line in parameters["source"]]
    notebook["cells"].append({**parameters, "id": "traceback", "metadata": {}, "source": ["%tb"]})
    (notebooks / "refused.ipynb").write_text(json.dumps(notebook))
    lab.open("notebooks/refused.ipynb")
    (error,) = errors_of(lab.run_all())
    assert error["ename"] == "ParameterError"
    shown = lab.page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.stderr"]').first
    hint, *lines = [line.strip() for line in shown.inner_text().splitlines() if line.strip()]
    assert hint == "An exception has occurred, use %tb to see the full traceback."
    assert [line.partition(":")[0] for line in lines] == ["ParameterError", "expected", "found", "do"], lines
    lab.keep_picture("lab-error")
    lab.run_last()
    lab.page.locator(".jp-OutputArea-output", has_text="Traceback (most recent call last)").wait_for()
    keep_picture(lab.page, "lab-traceback")
