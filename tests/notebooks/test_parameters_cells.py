"""Every stage notebook: its parameters are the study's until given, its form is agreed, nothing is left in it."""

import ast
import json

import papermill
import pytest
from conftest import REPOSITORY

from qkld.study.knobs import STAGES, TOLD_APART, knob_names, knobs
from qkld.study.params import load_params

HEADINGS = ["Purpose", "Parameters", "Load", "Compute", "Save and look"]
MOST_CODE_LINES = 60

LONGEST_LINE = 100
"""Characters; a page of the documentation is that wide."""

stages = pytest.mark.parametrize("stage", STAGES)


def notebook(stage):
    return json.loads((REPOSITORY / "notebooks" / f"{stage}.ipynb").read_text())


def sources(stage, kind):
    return ["".join(c["source"]) for c in notebook(stage)["cells"] if c["cell_type"] == kind]


@stages
def test_every_parameter_is_the_studys_own_until_it_is_given(stage):
    """So no notebook holds a study's value a second time, and none runs a study with the knobs of another."""
    found = papermill.inspect_notebook(str(REPOSITORY / "notebooks" / f"{stage}.ipynb"))
    assert list(found) == ["study", *TOLD_APART.get(stage, ()), *knob_names(stage)]
    assert {parameter["default"] for parameter in found.values()} == {"None"}


@stages
def test_types_are_those_of_the_study(stage):
    found = papermill.inspect_notebook(str(REPOSITORY / "notebooks" / f"{stage}.ipynb"))
    for name, value in knobs(load_params("demo"), stage).items():
        stated = found[name]["inferred_type_name"].split("[")[0]
        assert stated == type(value).__name__ or (stated, type(value)) == ("float", int), name


@stages
def test_parameters_are_read_by_one_call(stage):
    """And nothing but what tells a run apart is read by its own name: a knob's value is the opened study's."""
    tree = ast.parse("\n".join(sources(stage, "code")))
    opened = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "open_stage"]
    assert [ast.unparse(call) for call in opened] == [f"open_stage('{stage}', globals())"]
    loaded = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    assert not loaded & {"study", *knob_names(stage)}
    assert set(TOLD_APART.get(stage, ())) <= loaded


@stages
def test_no_cell_gives_a_parameter_another_value(stage):
    """A name that a later cell took would be read as a parameter when the notebook is run from the top again."""
    cells = [c for c in notebook(stage)["cells"] if "parameters" not in c["metadata"].get("tags", [])]
    tree = ast.parse("\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code"))
    stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    assert not stored & {"study", *knob_names(stage)}


@stages
def test_parameters_are_literals_each_with_type_and_comment(stage):
    tagged = [c for c in notebook(stage)["cells"] if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1
    for line in "".join(tagged[0]["source"]).splitlines():
        code, _, comment = line.partition("  # ")
        assert isinstance(ast.parse(code).body[0], ast.AnnAssign), line
        assert comment.strip(), f"{line}: no unit or meaning"


@stages
def test_notebooks_call_and_the_package_computes(stage):
    code = sources(stage, "code")
    tree = ast.parse("\n".join(code))
    made = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    assert not made
    lines = [line for cell in code for line in cell.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(lines) <= MOST_CODE_LINES
    assert not [line for cell in code for line in cell.splitlines() if len(line) > LONGEST_LINE]


@stages
def test_headings_in_order(stage):
    found = [line[3:] for text in sources(stage, "markdown") for line in text.splitlines() if line.startswith("## ")]
    assert found == HEADINGS


@stages
def test_no_output_is_kept(stage):
    content = notebook(stage)
    assert content["metadata"]["kernelspec"]["name"] == "python3"
    for cell in content["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
