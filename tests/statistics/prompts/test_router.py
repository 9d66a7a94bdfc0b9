"""The router against its definition, and what an offset alone does to it."""

import numpy as np
import pandas as pd
import pytest
from prompts_of_items import from_items
from scipy import stats
from simulated_study import simulated_study

from qkld.errors import StatisticsError
from qkld.statistics.core.auroc import auroc
from qkld.statistics.prompts import router_tables
from qkld.statistics.prompts.prompt_rows import ALL_BENCHMARKS, ALL_PAIRS
from qkld.statistics.prompts.router import Routing, decisions, route, wilson
from qkld.statistics.prompts.router_tables import BASES

router_table = from_items(router_tables.router_table)


@pytest.fixture(scope="module")
def items():
    return simulated_study()[1]


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


def test_table_has_every_pair_and_the_pool(items):
    models = ["torchao-8-g32", "torchao-4-g64", "hqq-2-g64", "float8-8-g1"]
    table = router_table(items, models=models, benchmarks=["arc_easy"], divergence="kl_prompt", confidence=0.95)
    assert list(table["label_a"].iloc[-2:]) == [ALL_PAIRS, BASES["same"]]
    pairs, pool = table.iloc[:-2], table.iloc[-2]
    assert len(pairs) == 6
    assert set(table["bases"]) == {"same"}
    assert pool["auroc_low"] < pool["auroc"] < pool["auroc_high"]
    assert pool["items"] == pairs["items"].sum()
    assert pool["right"] == pytest.approx(pairs["right"].sum())
    assert pool["accuracy"] == pytest.approx(pairs["right"].sum() / pairs["items"].sum())
    assert np.isnan(pool["fisher_p"])
    assert (table["chance"] == 0.5).all()


def test_models_that_never_disagree_have_no_accuracy(items):
    one = items[items["model"] == "torchao-8-g32"]
    items = pd.concat([one, one.assign(model="twin")])
    table = router_table(items, models=["torchao-8-g32", "twin"], benchmarks=["sciq"], divergence="kl_prompt",
                         confidence=0.95)  # fmt: skip
    assert table["accuracy"].isna().all()
    assert "No item can be routed" in table["note"].iloc[0]
    assert table["note"].iloc[1]


MODELS = ["torchao-8-g32", "torchao-4-g64", "hqq-2-g64"]


def table_of(items, benchmarks=("arc_easy",), **settings):
    call = {"models": MODELS, "benchmarks": list(benchmarks), "divergence": "kl_prompt", "confidence": 0.95}
    return router_table(items, **call | settings).set_index(["benchmark", "label_a", "label_b"])


def test_auroc_and_standardised_router_do_not_see_an_offset(items):
    factor = items["model"].map({"torchao-8-g32": 50.0}).fillna(1.0)
    one, other = (
        table_of(items, epsilon=1e-300),
        table_of(items.assign(kl_prompt=items["kl_prompt"] * factor), epsilon=1e-300),
    )
    for column in ("auroc", "auroc_low", "auroc_high", "z_accuracy", "z_low", "z_fisher_p"):
        assert other[column].to_numpy() == pytest.approx(one[column].to_numpy(), nan_ok=True), column
    assert (one["accuracy"] != other["accuracy"]).any()


def test_auroc_is_of_the_log_ratio_for_b_being_right(items):
    a, b = (items[(items["model"] == m) & (items["benchmark"] == "sciq")].set_index("item") for m in MODELS[:2])
    one = a["correct"] != b["correct"]
    ahead = np.log(a["kl_prompt"] / b["kl_prompt"])[one]
    row = table_of(items, ("sciq",), epsilon=1e-300).loc[("sciq", *MODELS[:2])]
    assert row["auroc"] == pytest.approx(auroc(ahead, b.loc[one, "correct"] == 1).estimate)
    assert row["items"] == one.sum()


def test_a_router_by_entropy_needs_an_entropy_of_the_models_own(items):
    assert table_of(items)["entropy"].isna().all()  # the reference's entropy is the same for all its quants
    rng = np.random.default_rng(4)
    own = items.assign(choice_entropy=rng.random(len(items)))
    a, b = (own[(own["model"] == m) & (own["benchmark"] == "arc_easy")].set_index("item") for m in MODELS[:2])
    one = a["correct"] != b["correct"]
    hit = (a["choice_entropy"] < b["choice_entropy"]) == (a["correct"] == 1)
    table = table_of(own)
    assert table.loc[("arc_easy", *MODELS[:2]), "entropy"] == pytest.approx(hit[one].mean())
    pairs = table.drop([ALL_PAIRS, BASES["same"]], level="label_a")
    pooled = table.loc[("arc_easy", ALL_PAIRS, ALL_PAIRS)]
    assert pooled["entropy"] == pytest.approx(np.average(pairs["entropy"], weights=pairs["items"]))


def test_pairs_of_one_base_and_of_two_are_summed_up_apart(items):
    own = items.assign(base=np.where(items["model"] == MODELS[2], "other", "reference"))
    table = table_of(own)
    assert table.loc[("arc_easy", *MODELS[:2]), "bases"] == "same"
    assert table.loc[("arc_easy", MODELS[0], MODELS[2]), "bases"] == "different"
    same, different, pool = (table.loc[("arc_easy", label, label)] for label in (*BASES.values(), ALL_PAIRS))
    assert same["items"] == table.loc[("arc_easy", *MODELS[:2]), "items"]
    assert same["items"] + different["items"] == pool["items"]
    assert pool["bases"] == "different and same"


def test_all_benchmarks_together_are_pooled_only(items):
    table = table_of(items, ("arc_easy", "sciq"), reference="reference", minimum_reference=20)
    whole = table.loc[ALL_BENCHMARKS]
    assert set(whole.index.get_level_values("label_a")) == {ALL_PAIRS, BASES["same"]}
    parts = [table.loc[(b, ALL_PAIRS, ALL_PAIRS)] for b in ("arc_easy", "sciq")]
    assert whole.loc[(ALL_PAIRS, ALL_PAIRS), "right"] == pytest.approx(sum(p["right"] for p in parts))
    few = table_of(items, ("sciq",), reference="reference", minimum_reference=200)
    assert few["accuracy"].isna().all()
    assert few["note"].str.contains("reference at the ceiling").all()


def test_paper_like_accuracy_needs_no_anti_signal_and_the_auroc_says_so():
    rng = np.random.default_rng(11)
    aurocs = []
    for _ in range(60):
        a, b, a_right, b_right = draw(rng, offset=-0.8 / 0.6, p=0.6)  # in standard deviations of ln KLD
        routing = route(a, b, a_right, b_right)
        aurocs.append((routing.right / routing.items, auroc(np.log(a) - np.log(b), b_right).estimate))
    accuracy, separation = np.mean(aurocs, axis=0)
    assert accuracy == pytest.approx(0.436, abs=0.02)
    assert separation == pytest.approx(0.5, abs=0.02)
