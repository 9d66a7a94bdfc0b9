"""Answers of many models as arrays, and the units that are drawn of them."""

import numpy as np
import pandas as pd
import pytest

from qkld.errors import StatisticsError
from qkld.statistics.items.answers import answers_by_task, checked_answers, clusters_by_task, item_units
from qkld.statistics.items.scores import benchmark_scores


@pytest.fixture
def items(rng) -> pd.DataFrame:
    rows = [(m, t, str(i), int(rng.random() < 0.6), f"p{i // 3}") for t in "ab" for m in "xyz" for i in range(9)]
    return pd.DataFrame(rows, columns=["model", "benchmark", "item", "correct", "cluster"])


def test_answers_stand_in_the_order_asked_for(items):
    answers = answers_by_task(items, ["b", "a"], ["z", "x"])
    assert list(answers) == ["b", "a"]
    own = items[(items["model"] == "z") & (items["benchmark"] == "a")].sort_values("item")
    assert (answers["a"][0] == own["correct"].to_numpy()).all()
    assert answers["a"].dtype == bool
    shuffled = items.sample(frac=1, random_state=1)
    assert (answers_by_task(shuffled, ["a"], ["z", "x"])["a"] == answers["a"]).all()


def test_clusters_follow_the_items(items):
    clusters = clusters_by_task(items, ["a"])["a"]
    assert list(clusters) == [f"p{i // 3}" for i in range(9)]
    assert clusters_by_task(items.drop(columns="cluster"), ["a"]) is None


@pytest.mark.parametrize("numbered", [False, True])
def test_items_without_a_cluster_are_refused(items, numbered):
    """Blank cells would be one cluster of all such items, or clusters of one, as their kind happens to compare."""
    blank = items.assign(cluster=items["cluster"].str[1:].astype(float) if numbered else items["cluster"])
    blank.loc[blank["benchmark"] == "b", "cluster"] = None
    for read in (benchmark_scores, lambda t: clusters_by_task(t, ["a", "b"])):
        with pytest.raises(StatisticsError, match=r"none in 27 of \d+ rows, of b"):
            read(blank)
    assert len(clusters_by_task(blank, ["a"])["a"]) == 9


def test_an_item_in_several_clusters_is_refused(items):
    torn = items.assign(cluster=items["cluster"].where(items["model"] != "z", "other"))
    with pytest.raises(StatisticsError, match="9 items with several"):
        clusters_by_task(torn, ["a"])


def test_a_model_without_items_is_named(items):
    with pytest.raises(StatisticsError, match="none of w"):
        answers_by_task(items, ["a"], ["x", "w"])
    with pytest.raises(StatisticsError, match="z: 8"):
        answers_by_task(items.drop(items.index[(items["model"] == "z") & (items["item"] == "4")][0]), ["a"], ["x"])


def test_what_is_neither_right_nor_wrong_is_refused(items):
    with pytest.raises(StatisticsError, match="0 and 1"):
        answers_by_task(items.assign(correct=items["correct"] * 0.5), ["a"], ["x"])
    with pytest.raises(StatisticsError, match="3 rows"):
        checked_answers(np.ones((2, 5)), 3, "a")


def test_units_count_right_answers_and_items(items):
    answers = answers_by_task(items, ["a"], ["x", "y"])["a"]
    sums, sizes = item_units(answers, clusters_by_task(items, ["a"])["a"], "a")
    assert sizes.tolist() == [3, 3, 3]
    expected = sorted(answers[:, i : i + 3].sum(axis=1).tolist() for i in (0, 3, 6))
    assert sums.tolist() == expected
    with pytest.raises(StatisticsError, match="at least 2 items"):
        item_units(answers, ["one"] * 9, "a")
