"""The router against its definition, and what an offset alone does to it."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simulated_study import simulated_study

from qkld.errors import StatisticsError
from qkld.statistics.router import POOL, Routing, clustered_share, decisions, route, router_table, wilson


def draw(rng, n=150, offset=0.0, p=0.5):
    a, b = np.exp(rng.normal(size=n) - offset), np.exp(rng.normal(size=n))
    a_right = rng.random(n) < p
    return a, b, a_right, ~a_right


def test_counts_by_hand():
    routing = route([1, 3, 2, 5, 1], [2, 1, 2, 1, 9], [1, 1, 0, 0, 1], [0, 0, 1, 1, 1])
    assert routing.items == 4
    assert (routing.to_a_a_right, routing.to_b_a_right, routing.to_b_b_right, routing.tied_b_right) == (1, 1, 1, 1)
    assert routing.right == 2.5
    assert routing.ties == 1


def test_right_is_the_sum_of_decisions(rng):
    a, b = rng.integers(1, 5, 200).astype(float), rng.integers(1, 5, 200).astype(float)
    right_a, right_b = rng.random(200) < 0.6, rng.random(200) < 0.6
    one, hit = decisions(a, b, right_a, right_b)
    routing = route(a, b, right_a, right_b)
    assert one.sum() == routing.items
    assert hit.sum() == routing.right
    literal = sum(
        0.5 if x == y else float((x < y) == p) for x, y, p, q in zip(a, b, right_a, right_b, strict=True) if p != q
    )
    assert literal == routing.right


def test_swapping_models_changes_nothing(rng):
    a, b, right_a, right_b = draw(rng, p=0.7)
    one, other = route(a, b, right_a, right_b), route(b, a, right_b, right_a)
    assert one.right == other.right
    assert one.fisher_p == pytest.approx(other.fisher_p)
    assert one.margins_only == pytest.approx(other.margins_only)


def test_an_offset_alone_moves_accuracy_as_the_margins_say(rng):
    routing = route(*draw(rng, n=100_000, offset=0.7, p=0.3))
    assert routing.right / routing.items == pytest.approx(routing.margins_only, abs=0.01)
    assert routing.margins_only < 0.45


def test_fisher_and_wilson():
    routing = Routing(3, 1, 2, 6)
    assert routing.fisher_p == stats.fisher_exact([[3, 1], [2, 6]]).pvalue
    expected = stats.binomtest(9, 12).proportion_ci(method="wilson")
    assert wilson(routing, 0.95) == pytest.approx((expected.low, expected.high))


def test_nothing_to_route_is_refused():
    with pytest.raises(StatisticsError, match="at least 1 item"):
        wilson(route([1.0], [2.0], [1], [1]), 0.95)
    with pytest.raises(StatisticsError, match="1 items without a KLD"):
        route([np.nan], [2.0], [1], [0])
    with pytest.raises(StatisticsError, match="equally long"):
        route([1.0], [2.0, 3.0], [1], [0])


def test_clustered_share_widens_where_items_repeat(rng):
    hits = (rng.random(300) < 0.5).astype(float)
    once = clustered_share(hits, np.ones(300), 0.95)
    assert clustered_share(10 * hits, np.full(300, 10.0), 0.95) == pytest.approx(once)
    expected = hits.mean() + stats.t.ppf([0.025, 0.975], 299) * hits.std(ddof=1) / np.sqrt(300)
    assert once == pytest.approx(tuple(expected), rel=1e-3)


def test_table_has_every_pair_and_the_pool():
    items = simulated_study()[1]
    models = ["torchao-8-g32", "torchao-4-g64", "hqq-2-g64", "float8-8-g1"]
    table = router_table(items, models=models, benchmarks=["arc_easy"], divergence="kl_prompt", confidence=0.95)
    assert len(table) == 7
    pairs, pool = table.iloc[:-1], table.iloc[-1]
    assert pool["label_a"] == POOL
    assert pool["items"] == pairs["items"].sum()
    assert pool["right"] == pytest.approx(pairs["right"].sum())
    assert pool["accuracy"] == pytest.approx(pairs["right"].sum() / pairs["items"].sum())
    assert np.isnan(pool["fisher_p"])
    assert (table["chance"] == 0.5).all()


def test_models_that_never_disagree_have_no_accuracy():
    items = simulated_study()[1]
    one = items[items["model"] == "torchao-8-g32"]
    items = pd.concat([one, one.assign(model="twin")])
    table = router_table(items, models=["torchao-8-g32", "twin"], benchmarks=["sciq"], divergence="kl_prompt",
                         confidence=0.95)  # fmt: skip
    assert table["accuracy"].isna().all()
    assert "nothing to route" in table["note"].iloc[0]
    assert table["note"].iloc[1]
