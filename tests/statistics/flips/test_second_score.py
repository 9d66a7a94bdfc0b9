"""The table of the second score: decisions, volume and direction, and what scale explains."""

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from qkld.errors import StatisticsError
from qkld.statistics.flips.second_score import NO_SCORES, SCALE_ALONE, probability_table

CALL = {"reference": "ref", "benchmarks": ["arc", "piqa"], "tasks": ["arc", "piqa"], "margin": 0.02, "confidence": 0.95}


def rows(model, task, scores, right):
    probabilities = [special.softmax(own)[place] for own, place in zip(scores, right, strict=True)]
    correct = [int(np.argmax(own) == place) for own, place in zip(scores, right, strict=True)]
    return pd.DataFrame(
        {
            "model": model,
            "benchmark": task,
            "item": [f"{i:04}" for i in range(len(scores))],
            "correct": correct,
            "probability_right": probabilities,
            "choice_scores": [own.astype(np.float32) for own in scores],
        }
    )


def items_of(rng, quants, items=300):
    """Answers of a reference and of quants, each a function of the reference's scores of an item's choices."""
    parts = []
    for task, choices in (("arc", 4), ("piqa", 2)):
        right = rng.integers(choices, size=items)
        own = -25 + 2 * rng.standard_normal((items, choices))
        own[np.arange(items), right] += 1
        for model, moved in {"ref": lambda s, _: s, **quants}.items():
            parts.append(rows(model, task, [moved(s, r) for s, r in zip(own, right, strict=True)], right))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def noisy(rng):
    return lambda s, _: s + 0.3 * rng.standard_normal(s.size)


def lowered(s, right):
    return s - 1.5 * (np.arange(s.size) == right)


@pytest.fixture
def items(rng, noisy):
    return items_of(rng, {"flat": lambda s, _: 0.9 * s, "noisy": noisy, "bad": lowered})


def cohort_of(items):
    labels = [m for m in items["model"].unique() if m != "ref"]
    return pd.DataFrame({"label": ["ref", *labels], "role": ["reference", *["quant"] * len(labels)]})


def test_each_quant_is_judged_by_its_paired_differences(items):
    found = probability_table(items, cohort_of(items), **CALL).set_index(["benchmark", "label"])
    for task in ("arc", "piqa"):
        wide = items[items["benchmark"] == task].pivot(index="item", columns="model", values="probability_right")
        for label in ("flat", "noisy", "bad"):
            row, moved = found.loc[(task, label)], wide[label] - wide["ref"]
            assert row["net"] == pytest.approx(moved.mean(), abs=1e-8)
            assert row["net_se"] == pytest.approx(moved.sem(), rel=1e-5)
            assert row["mean_change"] == pytest.approx(moved.abs().mean(), abs=1e-8)
            assert row["p_difference"] == pytest.approx(stats.ttest_rel(wide[label], wide["ref"]).pvalue, rel=1e-3)
            assert row["score"] == pytest.approx(wide[label].mean(), abs=1e-8)
    assert found.loc[("composite", "bad"), "decision"] == "worse"
    assert found.loc[("composite", "bad"), "direction"] == pytest.approx(-1)
    both = found.loc[["arc", "piqa"]].xs("noisy", level="label")
    assert found.loc[("composite", "noisy"), "net"] == pytest.approx(both["net"].mean())


def test_a_world_of_pure_temperature_reads_as_scale(items):
    found = probability_table(items, cohort_of(items), **CALL).set_index(["benchmark", "label"])
    for benchmark in ("arc", "piqa", "composite"):
        row = found.loc[(benchmark, "flat")]
        assert row["reading"] == SCALE_ALONE
        assert row["scale"] == pytest.approx(0.9, rel=1e-5)
        assert row["choices_changed"] == 0
        assert row["by_scale"] == pytest.approx(row["net"], abs=1e-6)
    assert "choices" in found.loc[("composite", "bad"), "reading"]
    assert (found["by_scale"] + found["rest"] - found["net"]).abs().max() < 1e-6


def test_rows_do_not_depend_on_the_order_of_items(items, rng):
    mixed = items.iloc[rng.permutation(len(items))]
    one, other = (probability_table(own, cohort_of(items), **CALL) for own in (items, mixed))
    pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_probabilities_alone_say_nothing_of_scale(items):
    found = probability_table(items.drop(columns="choice_scores"), cohort_of(items), **CALL)
    assert (found["note"] == NO_SCORES).all()
    assert found["scale"].isna().all()
    assert found["net"].notna().all()


def test_items_with_several_answers_are_clusters(rng):
    """Written answers, drawn four times to each item: 1 or 0 each, the share right over repeats."""
    share = rng.beta(0.5, 0.8, size=80)
    parts = [
        pd.DataFrame(
            {
                "model": model,
                "benchmark": "gsm8k",
                "item": [f"{i}#{r}" for i in range(80)],
                "cluster": [str(i) for i in range(80)],
                "probability_right": (rng.random(80) < share).astype(float),
            }
        )
        for model in ("ref", "q4")
        for r in range(4)
    ]
    items = pd.concat(parts, ignore_index=True)
    items = items.assign(correct=items["probability_right"].astype(int))
    found = probability_table(items, cohort_of(items), **{**CALL, "benchmarks": ["gsm8k"], "tasks": []}).iloc[0]
    by_item = items.groupby(["model", "cluster"])["probability_right"].mean().unstack("model")
    assert found["net"] == pytest.approx((by_item["q4"] - by_item["ref"]).mean())
    assert found["net_se"] == pytest.approx((by_item["q4"] - by_item["ref"]).sem())


def test_models_without_probabilities_are_named(items):
    lacking = items.assign(probability_right=items["probability_right"].where(items["model"] != "noisy"))
    with pytest.raises(StatisticsError, match="noisy"):
        probability_table(lacking, cohort_of(items), **CALL)
