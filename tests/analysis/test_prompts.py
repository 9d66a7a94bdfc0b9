"""Notebook 07's tables from a study's parameters: their columns, what knobs do, and the score that they are about."""

import numpy as np
import pandas as pd
import pytest

from qkld.analysis.prompts import directional_tables, prompt_tables, settings_of
from qkld.statistics.prompts.cross_fit import task_shifts
from qkld.statistics.prompts.rows import ALL_BENCHMARKS, ALL_MODELS
from qkld.study.registry import check_columns


@pytest.fixture
def few(simulated):
    """The simulated study with three of its quants, so that pairs are few."""
    params = simulated.params
    quants = tuple(q for q in params.quants if q.label in ("torchao-8-g32", "torchao-4-g64", "hqq-2-g64"))
    return type(simulated)(params.model_copy(update={"quants": quants}))


def test_every_table_has_its_columns_and_reads_the_knobs(few):
    tables = prompt_tables(few)
    for name, table in tables.items():
        check_columns(name, table.columns)
    assert settings_of(few)["minimum_reference"] == few.params.prompts.minimum_reference
    pooled = tables["prompts"].loc[lambda t: t["label"] == ALL_MODELS].set_index("benchmark")
    assert list(pooled.index) == [*few.benchmarks, ALL_BENCHMARKS]
    assert pooled["auroc"].notna().all()
    strict = few.params.prompts.model_copy(update={"minimum_reference": 10_000})
    none = prompt_tables(type(few)(few.params.model_copy(update={"prompts": strict})))
    for name in ("prompts", "prompt_baselines", "prompt_within"):
        assert none[name]["auroc"].isna().all(), name
        own = none[name].loc[lambda t: t["benchmark"] != ALL_BENCHMARKS]
        assert own["note"].str.contains("10000 of each needed").all(), name
    assert none["router"]["accuracy"].isna().all()


def test_one_quant_is_enough_for_all_but_pairs(few):
    one = type(few)(few.params.model_copy(update={"quants": few.params.quants[1:2]}))
    tables = prompt_tables(one)
    assert tables["prompts"]["ratio"].notna().all()
    assert tables["prompt_within"]["auroc"].isna().all()
    assert tables["router"]["note"].str.contains("nothing to route").all()


def test_direction_is_asked_of_the_composite_in_the_zone_of_notebook_05(simulated):
    table = directional_tables(simulated)["directional"]
    check_columns("directional", table.columns)
    assert set(table["benchmark"]) == {"composite"}
    members = simulated.analysis("zone_members")
    assert set(table.loc[table["subset"] == "zone", "n"]) == {members["in_zone"].sum()}
    assert set(table["splits"]) == {simulated.params.prompts.direction_splits}
    pd.testing.assert_frame_equal(table, directional_tables(simulated)["directional"])


def test_items_of_a_study_are_those_of_its_score(simulated):
    labels = simulated.quants[:2]
    task = task_shifts(simulated.items, "sciq", reference="reference", quants=labels, divergence="kl_choice_mean")
    rows = simulated.items
    rows = rows[(rows["benchmark"] == "sciq") & (rows["model"] == labels[1])].sort_values("item")
    assert task.shifts.quants["margin"][:, 1] == pytest.approx(rows["margin"].to_numpy())
    assert task.shifts.right[:, 1].tolist() == (rows["correct"] == 1).tolist()
    assert np.isnan(task.shifts.reference["kl_choice_mean"]).all()
    assert task.left_out == 0
