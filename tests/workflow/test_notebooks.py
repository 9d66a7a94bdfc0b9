"""Stage notebooks are held to the schema, and papermill is never given what a notebook does not know."""

from __future__ import annotations

import ast
import base64
import json
import os
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pytest

from qkld.errors import ParameterError, StageError, StoreError
from qkld.study.knobs import STAGES
from qkld.workflow.notebooks import (
    check_parameters,
    code_digest,
    export_report,
    kernel_environment,
    notebook_file,
    parameter_names,
    read_executed,
    run_notebook,
)
from qkld.workflow.processes import THRESHOLDS

TOLD_APART = {
    **{"00_make_quants": {"basis"}, "01_reference_logits": {"part"}},
    **{"02_quant_kld": {"quant"}, "03_benchmark_scores": {"model"}},
}


def parameters_of(path: Path) -> dict[str, Any]:
    """Names and literal values of a notebook's parameters cell."""
    cells = json.loads(path.read_text())["cells"]
    (cell,) = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    tree = ast.parse("".join(cell["source"]))
    assert all(isinstance(node, ast.AnnAssign) for node in tree.body), "one annotated literal a line"
    return {node.target.id: ast.literal_eval(node.value) for node in tree.body}


def small_notebook(path: Path, *sources: str) -> Path:
    """A notebook whose first cell is its parameters."""
    cells = [
        {"id": f"cell{i}", "cell_type": "code", "source": s, "outputs": [], "execution_count": None, "metadata": {}}
        for i, s in enumerate(sources)
    ]
    cells[0]["metadata"] = {"tags": ["parameters"]}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps({"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5})
    )
    return path


@pytest.fixture
def small_project(tmp_path, monkeypatch) -> Path:
    """A project with nothing in it but folders."""
    (tmp_path / "params").mkdir()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("QKLD_ROOT", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("stage", STAGES)
def test_the_checker_reads_every_name(stage):
    path = notebook_file(stage)
    assert set(parameter_names(path)) == set(parameters_of(path))


def test_an_unknown_parameter_is_refused_with_the_known_ones(tmp_path):
    path = small_notebook(tmp_path / "a.ipynb", "cut: float = 1.0  # nats\nname = 'x'\n")
    check_parameters(path, {"cut": 2.0, "name": "y"})
    with pytest.raises(ParameterError, match=r"no parameter cutt(?s:.)*expected: cut, name"):
        check_parameters(path, {"cutt": 2.0})


def test_two_parameters_cells_are_refused(tmp_path):
    path = small_notebook(tmp_path / "a.ipynb", "cut = 1.0")
    content = json.loads(path.read_text())
    content["cells"] *= 2
    path.write_text(json.dumps(content))
    with pytest.raises(ParameterError, match="2 such cells"):
        parameter_names(path)


def test_the_digest_sees_code_and_nothing_else(small_project):
    path = small_notebook(small_project / "notebooks" / "a.ipynb", "cut = 1.0", "print(cut)")
    digest = code_digest("a")
    small_notebook(path, "cut = 2.0", "print(cut)\n")
    assert code_digest("a") == digest
    small_notebook(path, "cut = 1.0", "print(2 * cut)")
    assert code_digest("a") != digest


def test_a_missing_notebook_is_named(small_project):
    with pytest.raises(StageError, match="There is no notebook 'a'"):
        code_digest("a")


@pytest.mark.notebook
def test_a_failing_cell_keeps_its_traceback(small_project, monkeypatch):
    for name, value in kernel_environment().items():
        monkeypatch.setenv(name, value)
    small_notebook(small_project / "notebooks" / "a.ipynb", "cut = 1.0", "raise RuntimeError(f'cut is {cut}')")
    output = small_project / "runs" / "a.ipynb"
    with pytest.raises(StageError, match=r"RuntimeError: cut is 2\.5"):
        run_notebook("a", output, {"cut": 2.5})
    assert "Traceback" in output.read_text()


@pytest.mark.notebook
def test_a_killed_kernel_is_named(small_project):
    small_notebook(small_project / "notebooks" / "a.ipynb", "cut = 1.0", "import os\nos.kill(os.getpid(), 9)")
    with pytest.raises(StageError, match="its kernel was killed"):
        run_notebook("a", small_project / "runs" / "a.ipynb", {})


@pytest.mark.notebook
def test_an_unknown_parameter_leaves_nothing_behind(small_project):
    small_notebook(small_project / "notebooks" / "a.ipynb", "cut = 1.0")
    with pytest.raises(ParameterError):
        run_notebook("a", small_project / "runs" / "a.ipynb", {"cutt": 2.5})
    assert not (small_project / "runs").exists()


@pytest.mark.notebook
def test_the_kernel_is_this_environments_and_holds_its_threads(small_project, monkeypatch):
    """Also where the user has another kernel of the same name at home."""
    home = small_project / "home"
    other = home / ".local" / "share" / "jupyter" / "kernels" / "python3"
    other.mkdir(parents=True)
    (other / "kernel.json").write_text(json.dumps({"argv": ["/bin/false"], "display_name": "x", "language": "python"}))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(other.parent.parent))
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    for name, value in kernel_environment(threads=3).items():
        monkeypatch.setenv(name, value)
    look = "import gc, os, sys\nprint(sys.prefix, os.environ['OMP_NUM_THREADS'], os.getcwd(), gc.get_threshold())"
    small_notebook(small_project / "notebooks" / "a.ipynb", "cut = 1.0", look)
    output = small_project / "runs" / "a.ipynb"
    run_notebook("a", output, {}, threads=3)
    assert f"{sys.prefix} 3 {os.path.realpath(small_project)} {THRESHOLDS}" in read_executed(output)
    assert_outputs_are_sealed(output)


def assert_outputs_are_sealed(executed: Path) -> None:
    """What a page of the documentation would show cannot be changed unnoticed; a saved notebook's metadata can."""
    whole = executed.read_text()
    executed.write_text(whole.replace(f"{sys.prefix} 3", f"{sys.prefix} 7"))
    with pytest.raises(StoreError, match="damaged or edited"):
        read_executed(executed)
    executed.write_text(whole.replace('"language": "python"', '"language": "Python"'))
    assert "Python" in read_executed(executed)
    executed.write_text(whole[:-40])
    with pytest.raises(StoreError, match="damaged or edited"):
        read_executed(executed)


# --- the report -------------------------------------------------------------------------------------------------------


class Links(HTMLParser):
    """Every attribute that a browser would fetch, and every tag that was opened and closed."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [str(v) for k, v in attrs if k in ("src", "href", "srcset", "poster") and v[:1] != "#"]
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag("img", attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def shown(kind: str, content: str) -> Any:
    """A code cell that has shown this."""
    output = nbformat.v4.new_output("display_data", {kind: content})
    return nbformat.v4.new_code_cell("open_stage('08_findings', globals())", outputs=[output])


def report_of(folder: Path, *cells: Any) -> str:
    """The report of an executed notebook with these cells."""
    nbformat.write(nbformat.v4.new_notebook(cells=list(cells)), folder / "executed.ipynb")
    export_report(folder / "executed.ipynb", folder / "report.html", "mine")
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_report_is_one_file_without_code_that_fetches_nothing(tmp_path: Path):
    picture = base64.b64encode(notebook_file("05_silent_zone").read_bytes()).decode()
    heading = nbformat.v4.new_markdown_cell("## Load", metadata={"tags": ["not-in-report"]})
    told = nbformat.v4.new_markdown_cell("### Does KLD rank?")
    html = report_of(
        tmp_path, heading, told, shown("image/png", picture), shown("text/markdown", "| a |\n|---|\n| 1 |")
    )
    links = Links()
    links.feed(html)
    assert not links.open
    assert links.fetched == [f"data:image/png;base64,{picture}"]
    assert not re.search(r"https?://|@import|url\(", html)
    assert 'name="viewport"' in html
    assert "<title>qkld: mine</title>" in html
    assert "Does KLD rank?" in html
    assert "<td>1</td>" in html
    assert "Load" not in html
    assert "open_stage" not in html


@pytest.mark.parametrize("kind", ["text/markdown", "text/html", "text/plain"])
def test_a_study_s_words_run_nothing_in_its_report(kind: str, tmp_path: Path):
    html = report_of(tmp_path, shown(kind, "a <script>alert(1)</script> <b onclick='alert(2)'>quant</b>"))
    assert "<script>" not in html
    assert "<b onclick" not in html
    assert "quant" in html
