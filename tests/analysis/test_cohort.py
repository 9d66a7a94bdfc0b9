"""The cohort from fidelity and item tables."""

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY
from simulated_project import simulated_params, simulated_parsed, simulated_tables
from simulated_study import VARIANTS

from qkld.analysis.cohort import (
    accuracy_table,
    build_cohort,
    check_distinct_weights,
    check_same_requests,
    check_same_stores,
    composite_of,
    floor_table,
    further_variants,
    variants_of,
)
from qkld.errors import BenchmarkError, ModelError, StageError
from qkld.statistics.zone.variants import check_variants_distinct
from qkld.study.params import parse_study
from qkld.study.schemas import FIDELITY


@pytest.fixture(scope="module")
def study():
    return simulated_parsed(REPOSITORY)


@pytest.fixture(scope="module")
def tables():
    return simulated_tables()


@pytest.fixture(scope="module")
def cohort(study, tables):
    return build_cohort(study, *tables[1:])


def test_fourteen_variants(study):
    assert variants_of(study) == (*VARIANTS[:10], "kl_mean_128", "kl_mean_1024", "kl_mean_code", "kl_mean_chat")
    assert further_variants(study)["kl_mean_chat"] == ("chat", 0)
    check_variants_distinct(variants_of(study))


def with_builds(tables, *, kl=1e-9, changed=0):
    """The simulated study with its first two quants as builds in one basis, its floor's tables, and all facts."""
    drawn, fidelity, items, facts = tables
    values = simulated_params(REPOSITORY, drawn)
    values["quants"][0] |= {"recipe_id": "pair", "basis": {"rotate": 1}}
    values["quants"][1] |= {"recipe_id": "pair", "basis": {"rotate": 1}}
    dtype, reference = fidelity["floor-dtype"], items["reference"]
    answers = reference["answer"].where(reference.index >= changed, (reference["answer"] + 1) % 4)
    fidelity = fidelity | {"floor-rotate-1": dtype.assign(quant="floor-rotate-1", estimate=kl)}
    items = items | {"floor-rotate-1": reference.assign(model="floor-rotate-1", answer=answers)}
    facts = facts | {"floor-rotate-1": {"compute_dtype": "float32"}}
    return parse_study(values, source="a test"), fidelity, items, facts


def test_builds_have_recipe_and_basis_and_their_floor_stands_by(tables, cohort):
    built = build_cohort(*with_builds(tables)).set_index("label")
    quants = built[built["role"] == "quant"]
    assert list(quants["recipe_id"][:3]) == ["pair", "pair", quants.index[2]]
    assert list(quants["basis"][:3]) == ["rotate-1", "rotate-1", ""]
    floor = built.loc["floor-rotate-1"]
    assert (floor["role"], floor["basis"], floor["changed_answers"]) == ("floor", "rotate-1", 0)
    assert "in basis rotate-1, unquantized" in floor["recipe"]
    assert pd.isna(floor["composite"])
    plain = cohort.set_index("label")
    assert built.loc[quants.index, "composite"].equals(plain.loc[quants.index, "composite"])
    assert "note" not in built or not built.loc["floor-rotate-1", "note"]


@pytest.mark.parametrize(("kl", "changed", "said"), [(2e-7, 0, "2.0e-07"), (1e-9, 3, "3 answers changed")])
def test_a_basis_that_is_another_function_is_said(tables, kl, changed, said):
    study, fidelity, items, facts = with_builds(tables, kl=kl, changed=changed)
    built = build_cohort(study, fidelity, items, facts).set_index("label")
    assert "not the reference's function" in built.loc["floor-rotate-1", "note"]
    assert said in built.loc["floor-rotate-1", "note"]
    facts["floor-rotate-1"] = {"compute_dtype": "bfloat16"}
    assert "note" not in build_cohort(study, fidelity, items, facts)


def test_cohort_holds_what_was_measured(study, cohort, tables):
    drawn = tables[0]
    assert list(cohort["label"]) == list(drawn["label"])
    assert list(cohort["role"]) == list(drawn["role"])
    measured = cohort["role"] != "reference"
    columns = [*VARIANTS, "kl_mean_low", "kl_mean_high"]
    assert cohort.loc[measured, columns[:-2]].equals(drawn.loc[measured, columns[:-2]])
    scores = ["score_arc_easy", "score_openbookqa", "score_sciq"]
    assert np.allclose(cohort[scores], drawn[scores], rtol=0, atol=1e-15, equal_nan=True)
    chosen = composite_of(study, pd.concat(tables[2].values())).query("in_composite")["benchmark"]
    mean = drawn[[f"score_{task}" for task in chosen]].mean(axis=1, skipna=False)
    assert len(chosen) >= 2
    assert np.allclose(cohort["composite"], mean, rtol=0, atol=1e-15, equal_nan=True)
    assert cohort.loc[cohort["role"] == "floor", [*scores, "composite"]].isna().all(axis=None)
    assert cohort.loc[~measured, list(VARIANTS)].isna().all(axis=None)
    assert (cohort["kl_mean_low"].dropna() <= cohort["kl_mean"].dropna()).all()


def test_at_floor_is_three_times_the_floor_of_the_dtype(cohort):
    floor = cohort.set_index("label").loc["floor-dtype", "kl_mean"]
    expected = (cohort["role"] == "quant") & (cohort["kl_mean"] < 3 * floor)
    assert (cohort["at_floor"] == expected).all()


def test_a_floor_that_could_not_be_measured_leaves_no_quant_at_it(study, tables):
    drawn, fidelity, items, facts = tables
    unknown = fidelity["floor-dtype"].assign(estimate=np.nan, low=np.nan, high=np.nan, note="not measured: no float64")
    cohort = build_cohort(study, {**fidelity, "floor-dtype": FIDELITY.checked(unknown)}, items, facts)
    assert not cohort["at_floor"].any()
    assert cohort.set_index("label").loc["floor-dtype", list(VARIANTS)].isna().all()
    assert cohort.loc[cohort["role"] == "quant", list(VARIANTS)].equals(
        drawn.loc[drawn["role"] == "quant", list(VARIANTS)]
    )
    assert dict(zip(cohort["label"], cohort["note"], strict=True)) == {
        label: "not measured: no float64" if label == "floor-dtype" else "" for label in cohort["label"]
    }


def test_composite_leaves_out_what_is_near_chance(study, tables):
    items = pd.concat(tables[2].values())
    few = items[(items["benchmark"] != "openbookqa") | (items["item"].astype(int) < 20)]
    tasks = composite_of(study, few).set_index("benchmark")
    assert tasks["in_composite"].to_dict() == {"arc_easy": True, "openbookqa": False, "sciq": True}
    assert "standard errors above chance, 5 needed" in tasks.loc["openbookqa", "reason"]


def test_no_composite_is_empty_and_not_zero(study, tables):
    _, fidelity, items, facts = tables
    few = {label: table[table["item"].astype(int) < 4] for label, table in items.items()}
    cohort = build_cohort(study, fidelity, few, facts)
    assert cohort["composite"].isna().all()
    assert cohort.loc[cohort["role"] == "quant", "score_sciq"].notna().all()


def test_equal_weights_are_refused_by_both_names(study, tables):
    _, fidelity, items, facts = tables
    doubled = {**facts, "hqq-8-g64": facts["torchao-8-g32"]}
    with pytest.raises(ModelError, match="'torchao-8-g32' and 'hqq-8-g64' have the same weights"):
        build_cohort(study, fidelity, items, doubled)
    check_distinct_weights({"a": "1", "b": "2"})


def test_other_requests_are_refused_by_benchmark_and_item(study, tables):
    _, fidelity, items, facts = tables
    table = items["hqq-8-g64"].copy()
    row = table.index[(table["benchmark"] == "sciq") & (table["item"] == "17")]
    table.loc[row, "request"] = "another"
    with pytest.raises(BenchmarkError, match=r"(?s)'sciq' was asked differently.*items 17 \(1 in all\)"):
        build_cohort(study, fidelity, {**items, "hqq-8-g64": table}, facts)
    with pytest.raises(BenchmarkError, match=r"(?s)'sciq' has items that not every model answered.*items 17 "):
        check_same_requests(pd.concat([*items.values(), table.drop(index=row).assign(model="late")]))
    named = {label: rows.assign(metric="acc") for label, rows in items.items()}
    check_same_requests(pd.concat(named.values()))
    named["hqq-8-g64"] = named["hqq-8-g64"].assign(metric="acc_norm")
    with pytest.raises(BenchmarkError, match="'arc_easy' was judged by another metric for some models"):
        check_same_requests(pd.concat(named.values()))


def test_missing_measurements_name_the_notebook(study, tables):
    _, fidelity, items, facts = tables
    without = {k: v for k, v in fidelity.items() if k != "floor-dtype"}
    with pytest.raises(StageError, match="02_quant_kld"):
        build_cohort(study, without, items, facts)
    other = fidelity["hqq-8-g64"]
    with pytest.raises(StageError, match=r"(?s)lacks a corpus.*corpus chat, context 0"):
        build_cohort(study, {**fidelity, "hqq-8-g64": other[other["corpus"] != "chat"]}, items, facts)


def test_rows_measured_against_other_stores_are_refused():
    check_same_stores({"a": ["x", "y"], "b": ["x", "y"], "floor-batch": ["x", "y"]})
    with pytest.raises(StageError, match="b with"):
        check_same_stores({"a": ["x", "y"], "b": ["x", "z"], "c": ["x", "y"]})


def test_scores_stand_beside_chance(study, tables, cohort):
    items = pd.concat(tables[2].values(), ignore_index=True)
    found = accuracy_table(study, cohort, items).set_index("benchmark")
    assert list(found.index) == [b.task for b in study.benchmarks]
    own = items[items["model"] == "reference"].groupby("benchmark")["correct"]
    for benchmark, row in found.iterrows():
        assert row["chance"] == 0.25
        assert row["reference_score"] == pytest.approx(own.mean()[benchmark])
        by_quant = [t.loc[t["benchmark"] == benchmark, "correct"].mean() for k, t in tables[2].items() if k in set(
            cohort.loc[cohort["role"] == "quant", "label"])]  # fmt: skip
        expected = [min(by_quant), float(np.median(by_quant)), max(by_quant)]
        assert list(row[["lowest", "median", "highest"]]) == pytest.approx(expected)


def test_quants_near_the_floor_are_counted_as_they_are_marked(study, tables, cohort):
    floors = floor_table(cohort)
    assert list(floors.index) == ["floor-batch", "floor-dtype"]
    assert floors.loc["floor-dtype", "quants_below"] == cohort["at_floor"].sum()
    near = cohort.loc[cohort["role"] == "quant", "kl_mean"].nsmallest(3).iloc[-1]
    raised = cohort.assign(kl_mean=cohort["kl_mean"].mask(cohort["label"] == "floor-dtype", near))
    assert floor_table(raised).loc["floor-dtype", "quants_below"] >= 3
    unknown = cohort.assign(kl_mean=cohort["kl_mean"].mask(cohort["label"] == "floor-dtype"))
    assert np.isnan(floor_table(unknown).loc["floor-dtype", "quants_below"])
