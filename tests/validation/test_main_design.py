"""The simulated design is the main study's, and a cohort of it says what a row of the page is made of."""

from __future__ import annotations

from conftest import REPOSITORY

from qkld.study.params import load_params
from qkld.workflow.planned_builds import designs_of, recipes_of
from validation import main_design

BEYOND_ZONE = {"bnb-nf4", "hqq-3bit-g64"}


def test_items_recipes_and_builds_are_those_of_the_study(monkeypatch):
    study = load_params("main", REPOSITORY / "params" / "main.yaml")
    limits = dict(zip((b.task for b in study.benchmarks), main_design.ITEMS.items, strict=True))
    assert limits == {"arc_easy": 2376, "social_iqa": 1954, "piqa": 1838, "sciq": 500}
    assert [b.limit for b in study.benchmarks] == [None, None, None, 500]
    recipes = recipes_of(study)
    assert set(recipes) > BEYOND_ZONE
    assert {len(builds) for builds in recipes.values()} == {2}
    assert main_design.DESIGNS[0] == (len(recipes) - len(BEYOND_ZONE), 2)
    assert designs_of(study)["rotate"].builds == len(study.quants) == 28
    assert {quant.method for quant in study.quants} == {"torchao", "hqq", "bitsandbytes", "gguf"}


def test_a_cohort_is_judged_and_gives_both_components(rng):
    cell = main_design.Cell(6, 2, main_design.SLOPE, 0.02, 0.02)
    found = main_design.simulated(cell, 3, rng)
    assert len(found) == 3
    assert found["within_high"].median() > 0.01
    assert found["largest_error"].between(0.003, 0.008).all()
    row = main_design.row_of(cell, found)
    assert len(row) == len(main_design.COLUMNS)
    assert row[0] == "6 × 2"
