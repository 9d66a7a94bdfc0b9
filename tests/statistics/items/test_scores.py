"""Scores and the composite."""

import numpy as np
import pandas as pd
import pytest

from qkld.errors import StatisticsError
from qkld.statistics.items.scores import (
    benchmark_scores,
    composite,
    composite_tasks,
    correct_matrix,
    least_items,
    least_score,
    mean_probabilities,
)


def drawn_answers(rng: np.random.Generator, questions: int = 20, answers: int = 10) -> pd.DataFrame:
    """Several answers to each question, drawn at temperature: named and clustered as `item_table` does."""
    p = rng.beta(0.5, 0.8, questions)
    names = [f"{q}#{a}" for q in range(questions) for a in range(answers)]
    correct = (rng.random((questions, answers)) < p[:, None]).astype(int).ravel()
    cluster = np.repeat(np.arange(questions), answers).astype(str)
    return pd.DataFrame({"model": "r", "benchmark": "t", "item": names, "correct": correct, "cluster": cluster})


def items_of(**right: dict[str, list[int]]) -> pd.DataFrame:
    """Items of models: benchmark → list of 0 and 1."""
    rows = [
        {"model": model, "benchmark": b, "item": str(i), "correct": c}
        for model, answers in right.items()
        for b, values in answers.items()
        for i, c in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_score_and_error():
    table = benchmark_scores(items_of(r={"t": [1, 1, 1, 0]}))
    assert table.iloc[0].to_dict() == {
        "label": "r",
        "benchmark": "t",
        "metric": "",
        "items": 4,
        "clusters": 4,
        "right": 3,
        "clusters_right": 3,
        "clusters_wrong": 1,
        "score": 0.75,
        "se": pytest.approx(np.sqrt(0.75 * 0.25 / 4)),
    }


def test_tables_name_the_metric_of_each_benchmark():
    items = items_of(r={"arc_easy": [1, 0] * 20, "hellaswag": [1, 0, 0, 0] * 10, "own": [1, 0]})
    named = items.assign(metric=items["benchmark"].map({"arc_easy": "acc", "hellaswag": "acc_norm"}))
    expected = {"arc_easy": "acc", "hellaswag": "acc_norm", "own": ""}
    scores = benchmark_scores(named)
    assert dict(zip(scores["benchmark"], scores["metric"], strict=True)) == expected
    tasks = composite_tasks(scores, reference="r", chance=dict.fromkeys(expected, 0.25))
    assert dict(zip(tasks["benchmark"], tasks["metric"], strict=True)) == expected


def test_answers_drawn_to_one_item_are_one_cluster(rng):
    scores, errors, entered = [], [], 0
    for _ in range(400):
        own = benchmark_scores(drawn_answers(rng))
        scores.append(own["score"].item())
        errors.append(own["se"].item())
        entered += composite_tasks(own, reference="r", chance={"t": 0.15})["in_composite"].item()
    assert np.mean(errors) == pytest.approx(np.std(scores), rel=0.1)
    assert np.std(scores) == pytest.approx(0.074, abs=0.006)
    assert entered / 400 < 0.05


def test_a_clustered_error_is_the_literal_cr1(rng):
    items = drawn_answers(rng, questions=7, answers=3)
    items = items.drop(items.index[[2, 4, 5]])  # clusters of unequal size
    own = benchmark_scores(items).iloc[0]
    deviations = items["correct"] - items["correct"].mean()
    sums = deviations.groupby(items["cluster"]).sum()
    assert own["se"] == pytest.approx(np.sqrt(7 / 6 * (sums**2).sum()) / len(items), rel=1e-12)
    counts = items.groupby("cluster")["correct"]
    assert own["clusters_right"] == (counts.max() == 1).sum()
    assert own["clusters_wrong"] == (counts.min() == 0).sum()
    renamed = items.assign(cluster="passage " + items["cluster"].astype(str)).sample(frac=1, random_state=1)
    assert benchmark_scores(renamed)["se"].item() == pytest.approx(own["se"], rel=1e-12)


def test_a_family_counts_clusters_and_not_the_answers_in_them():
    for questions, limited in ((12, True), (24, False)):
        items = pd.concat([items_of(r={"t": [1] * 5 + [0] * 5}).assign(cluster=str(q)) for q in range(questions)])
        tasks = composite_tasks(
            benchmark_scores(items), reference="r", chance={"t": 0.0}, families={"t": "mathematics"}
        )
        reason = tasks["reason"].item()
        said = f"reference right on {questions} and wrong on {questions} clusters of items, 20 of each needed"
        assert (said in reason) == limited


def test_clusters_of_one_item_are_items():
    items = items_of(r={"t": [1, 1, 1, 0]})
    pd.testing.assert_frame_equal(benchmark_scores(items.assign(cluster=items["item"])), benchmark_scores(items))


def test_one_cluster_has_no_error_and_enters_no_composite(rng):
    own = benchmark_scores(drawn_answers(rng, questions=1, answers=50).assign(correct=1))
    assert np.isnan(own["se"].item())
    row = composite_tasks(own, reference="r", chance={"t": 0.0}).iloc[0]
    assert not row["in_composite"]
    assert row["reason"] == "one cluster of items has no standard error, 2 clusters needed"


def test_composite_takes_tasks_clearly_above_chance():
    answers = {
        "clear": [1] * 80 + [0] * 20,  # (.8 − .25)/.0433 = 12.7 standard errors
        "weak": [1] * 40 + [0] * 60,  # (.4 − .25)/.049 = 3.06
        "below": [1] * 10 + [0] * 90,
        "perfect_by_luck": [1] * 4,  # 1 − .25 = 3.46 standard errors of chance; the score's own error is 0
        "kept_out": [1] * 80 + [0] * 20,
    }
    scores = benchmark_scores(items_of(r=answers, q=answers))
    tasks = composite_tasks(scores, reference="r", chance=dict.fromkeys(answers, 0.25), control=["kept_out"])
    tasks = tasks.set_index("benchmark")
    assert tasks.index[tasks["in_composite"]].tolist() == ["clear"]
    assert tasks.loc["weak", "above_chance_se"] == pytest.approx(3.062, abs=1e-3)
    assert "3.1 standard errors above chance, 5 needed" in tasks.loc["weak", "reason"]
    assert tasks.loc["perfect_by_luck", "above_chance_se"] == pytest.approx(np.sqrt(12))
    assert tasks.loc["below", "above_chance_se"] < 0
    assert tasks.loc["kept_out", "reason"] == "named as control"
    assert tasks.loc["clear", "reason"] == ""


@pytest.mark.parametrize(
    ("right", "wrong", "place"), [(19, 61, "floor"), (61, 19, "ceiling"), (20, 60, None), (60, 20, None)]
)
def test_a_family_needs_twenty_right_and_twenty_wrong_items_over_its_benchmarks(right, wrong, place):
    answers = {
        "first": [1] * (right - 5) + [0] * (wrong - 10),
        "second": [1] * 5 + [0] * 10,
        "alone": [1] * 30 + [0] * 10,
        "other": [1] * 25 + [0] * 25,
    }
    tasks = composite_tasks(
        benchmark_scores(items_of(r=answers)),
        reference="r",
        chance=dict.fromkeys(answers, 0.0),
        families={"first": "code", "second": "code", "other": "knowledge"},
    ).set_index("benchmark")
    assert tasks.loc[["alone", "other"], "in_composite"].all(), "a benchmark without a family is not counted"
    if place is None:
        assert not tasks["reason"].str.startswith("family").any()
    else:
        said = f"family code at its {place}: reference right on {right} and wrong on {wrong} items, 20 of each needed"
        assert list(tasks.loc[["first", "second"], "reason"]) == [said, said]
        assert not tasks.loc[["first", "second"], "in_composite"].any()


def test_composite_reads_no_quants_score():
    right = [1] * 80 + [0] * 20
    for quant in ([1] * 100, [0] * 100):
        scores = benchmark_scores(items_of(r={"t": right}, q={"t": quant}))
        assert composite_tasks(scores, reference="r", chance={"t": 0.25})["in_composite"].tolist() == [True]


def test_composite_is_the_unweighted_mean():
    scores = benchmark_scores(items_of(q={"a": [1, 0], "b": [1, 1, 1, 0], "c": [0, 0]}))
    table = composite(scores, ["a", "b"]).set_index("label")
    assert table.loc["q", "composite"] == pytest.approx((0.5 + 0.75) / 2)
    assert table.loc["q", "composite_se"] == pytest.approx(np.sqrt(0.25 / 2 + 0.1875 / 4) / 2)


def test_nothing_to_average_is_refused():
    scores = benchmark_scores(items_of(q={"a": [1, 0]}))
    with pytest.raises(StatisticsError, match="at least one"):
        composite(scores, [])


def test_chance_and_reference_are_needed():
    scores = benchmark_scores(items_of(q={"a": [1, 0]}))
    with pytest.raises(StatisticsError, match="missing for a"):
        composite_tasks(scores, reference="r", chance={"a": 0.25})
    with pytest.raises(StatisticsError, match="missing for a"):
        composite_tasks(scores, reference="q", chance={})


def test_matrix_needs_items_and_all_models():
    items = items_of(r={"t": [1, 0]}, q={"t": [1, 1]})
    assert correct_matrix(items, "t")["q"].tolist() == [1, 1]
    with pytest.raises(StatisticsError, match="has no items"):
        correct_matrix(items, "other")
    with pytest.raises(StatisticsError, match="q: 1"):
        correct_matrix(items.drop(index=3), "t")


@pytest.mark.parametrize(("items", "chance"), [(80, 0.25), (1000, 0.25), (60, 0.5), (40, 0.2), (164, 0.0)])
def test_a_benchmark_enters_from_its_least_score_on(items, chance):
    least = int(np.ceil(least_score(items, chance) * items - 1e-9))
    for right, enters in ((least - 1, False), (least, True)):
        scores = benchmark_scores(items_of(r={"t": [1] * right + [0] * (items - right)}))
        assert composite_tasks(scores, reference="r", chance={"t": chance})["in_composite"].item() == enters


@pytest.mark.parametrize("chance", [0.1, 0.2, 0.25, 1 / 3, 0.5])
def test_fewer_than_the_least_items_can_not_enter_however_many_are_right(chance):
    for items, enters in ((least_items(chance) - 1, False), (least_items(chance), True)):
        scores = benchmark_scores(items_of(r={"t": [1] * items}))
        assert composite_tasks(scores, reference="r", chance={"t": chance})["in_composite"].item() == enters


def test_mean_probabilities_have_the_error_of_what_is_drawn(rng):
    values = rng.random(60)
    items = pd.DataFrame({"model": "q", "benchmark": "b", "item": [str(i) for i in range(60)], "correct": 1})
    alone = mean_probabilities(items.assign(probability_right=values)).iloc[0]
    assert (alone["label"], alone["benchmark"]) == ("q", "b")
    assert alone["score"] == pytest.approx(values.mean())
    assert alone["se"] == pytest.approx(values.std(ddof=1) / np.sqrt(60))
    twice = items.assign(probability_right=np.repeat(values[:30], 2), cluster=np.repeat(np.arange(30), 2).astype(str))
    assert mean_probabilities(twice)["se"].item() == pytest.approx(values[:30].std(ddof=1) / np.sqrt(30))
    assert mean_probabilities(items).empty
    lacking = items.assign(probability_right=np.where(np.arange(60) == 7, np.nan, values))
    assert mean_probabilities(lacking)["score"].isna().all()
