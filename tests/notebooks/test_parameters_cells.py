"""Every stage notebook: its parameters are the study's knobs, its form is the agreed one, nothing is left in it."""

import ast
import json

import papermill
import pytest
from conftest import REPOSITORY

from qkld.study.params import STAGES, knobs, load_params

TOLD_BY_THE_WORKFLOW = {"01_reference_logits": {"part"}, "02_quant_kld": {"quant"}, "03_benchmark_scores": {"model"}}
"""Parameters of a stage that say which run of it this is; they are no knobs of a study."""

HEADINGS = ["Purpose", "Parameters", "Load", "Compute", "Save and look"]
MOST_CODE_LINES = 60

stages = pytest.mark.parametrize("stage", STAGES)


def notebook(stage):
    return json.loads((REPOSITORY / "notebooks" / f"{stage}.ipynb").read_text())


def sources(stage, kind):
    return ["".join(c["source"]) for c in notebook(stage)["cells"] if c["cell_type"] == kind]


@stages
def test_parameters_are_the_smoke_studys_knobs(stage):
    found = papermill.inspect_notebook(str(REPOSITORY / "notebooks" / f"{stage}.ipynb"))
    values = {name: ast.literal_eval(parameter["default"]) for name, parameter in found.items()}
    assert values.pop("study") == "smoke"
    smoke = load_params("smoke")
    run = {name: values.pop(name) for name in TOLD_BY_THE_WORKFLOW.get(stage, ())}
    assert values == knobs(smoke, stage)
    known = {smoke.reference.label, *(q.label for q in smoke.quants), "all"}
    assert set(run.values()) <= known


@stages
def test_parameters_are_literals_each_with_type_and_comment(stage):
    tagged = [c for c in notebook(stage)["cells"] if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1
    for line in "".join(tagged[0]["source"]).splitlines():
        code, _, comment = line.partition("  # ")
        assert isinstance(ast.parse(code).body[0], ast.AnnAssign), line
        assert comment.strip(), f"{line}: no unit or meaning"


@stages
def test_every_parameter_is_read(stage):
    tree = ast.parse("\n".join(sources(stage, "code")))
    loaded = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    assert set(papermill.inspect_notebook(str(REPOSITORY / "notebooks" / f"{stage}.ipynb"))) <= loaded


@stages
def test_notebooks_call_and_the_package_computes(stage):
    code = sources(stage, "code")
    tree = ast.parse("\n".join(code))
    made = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    assert not made
    lines = [line for cell in code for line in cell.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(lines) <= MOST_CODE_LINES


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
