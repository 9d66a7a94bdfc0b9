"""Notebook 07's tables from a study's parameters: their columns, what knobs do, and the score that they are about."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from qkld.analysis.evidence import Evidence
from qkld.analysis.headline import zone_of
from qkld.analysis.prompt_tables import (
    baseline_table,
    directional_table,
    flip_signal_table,
    prompt_table,
    router_table,
    within_table,
)
from qkld.statistics.prompts.cross_fit import task_shifts
from qkld.statistics.prompts.prompt_rows import ALL_BENCHMARKS, ALL_QUANTS
from qkld.study.registry import registered

TABLES = {
    "prompts": prompt_table,
    "prompt_baselines": baseline_table,
    "prompt_within": within_table,
    "prompt_flips": flip_signal_table,
    "router": router_table,
}


def of_quants(evidence, labels):
    """The evidence of some quants alone."""
    rows = evidence.cohort["label"].isin(labels) | (evidence.cohort["role"] != "quant")
    return replace(evidence, cohort=evidence.cohort[rows].reset_index(drop=True))


@pytest.fixture
def few(simulated):
    """The simulated study with three of its quants, so that pairs are few."""
    return of_quants(Evidence.of_study(simulated), ("torchao-8-g32", "torchao-4-g64", "hqq-2-g64"))


def test_every_table_has_its_columns_and_reads_the_knobs(few, simulated):
    tables = {name: make(few) for name, make in TABLES.items()}
    for name, table in tables.items():
        registered(name).check(table.columns)
    assert few.settings.minimum_reference == simulated.params.prompts.minimum_reference
    pooled = tables["prompts"].loc[lambda t: t["label"] == ALL_QUANTS].set_index("benchmark")
    assert list(pooled.index) == [*few.benchmarks, ALL_BENCHMARKS]
    assert pooled["auroc"].notna().all()
    strict = simulated.params.prompts.model_copy(update={"minimum_reference": 10_000})
    study = type(simulated)(simulated.params.model_copy(update={"prompts": strict}))
    evidence = of_quants(Evidence.of_study(study), few.quants)
    none = {name: make(evidence) for name, make in TABLES.items()}
    for name in ("prompts", "prompt_baselines", "prompt_within"):
        assert none[name]["auroc"].isna().all(), name
        own = none[name].loc[lambda t: t["benchmark"] != ALL_BENCHMARKS]
        assert own["note"].str.contains("10000 of each needed").all(), name
    assert none["router"]["accuracy"].isna().all()


def test_one_quant_is_enough_for_all_but_pairs(few):
    one = of_quants(few, few.quants[1:2])
    tables = {name: make(one) for name, make in TABLES.items()}
    assert tables["prompts"]["ratio"].notna().all()
    assert tables["prompt_within"]["auroc"].isna().all()
    assert tables["router"]["note"].str.contains("No item can be routed").all()


def test_direction_is_asked_of_the_composite_in_the_zone_of_notebook_05(simulated):
    table = directional_table(Evidence.of_study(simulated, zone=zone_of(simulated).labels))
    registered("directional").check(table.columns)
    assert set(table["benchmark"]) == {"composite"}
    members = simulated.analysis("zone_members")
    assert set(table.loc[table["subset"] == "zone", "n"]) == {members["in_zone"].sum()}
    assert set(table["splits"]) == {simulated.params.prompts.direction_splits}
    again = directional_table(Evidence.of_study(simulated, zone=zone_of(simulated).labels))
    pd.testing.assert_frame_equal(table, again)


def test_items_of_a_study_are_those_of_its_score(simulated):
    labels = simulated.quants[:2]
    task = task_shifts(simulated.items, "sciq", reference="reference", quants=labels, divergence="kl_choice_mean")
    rows = simulated.items
    rows = rows[(rows["benchmark"] == "sciq") & (rows["model"] == labels[1])].sort_values("item")
    assert task.shifts.quants["margin"][:, 1] == pytest.approx(rows["margin"].to_numpy())
    assert task.shifts.right[:, 1].tolist() == (rows["correct"] == 1).tolist()
    assert np.isnan(task.shifts.reference["kl_choice_mean"]).all()
    assert task.left_out == 0
