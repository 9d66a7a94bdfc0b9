"""Metrics with direction against their literal definitions, max-T against that of one split, and simulated worlds."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import quants_of
from qkld.statistics.core.correlations_of_resamples import correlation
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.correlation.simultaneous import max_t
from qkld.statistics.prompts.cross_fit import cross_fit, halves, task_shifts
from qkld.statistics.prompts.directional import (
    BASELINE,
    directional_table,
    gain_band,
    held_out_ranks,
    max_t_of_splits,
    resampled_means,
)
from qkld.statistics.prompts.directional_metrics import Shifts, boundary_weights, metrics_of

RESAMPLING = Resampling(confidence=0.95, resamples=100, permutations=199, seed=1)
DIVERGENCE = "kl_choice_mean"


def shifts_of(rng, items=40, quants=3):
    """A reference and quants with every column that a metric reads."""
    margin = rng.normal(0.5, 1, items)
    moved = margin[:, None] + rng.normal(-0.1, 0.4, (items, quants))
    own = {
        "margin": moved,
        "logp_right": rng.normal(-2, 1, (items, quants)),
        "logp_reference_answer": rng.normal(-2, 1, (items, quants)),
        **{c: rng.exponential(size=(items, quants)) for c in ("kl_choice_right", "kl_options", DIVERGENCE)},
    }
    reference = {"margin": margin, "logp_right": rng.normal(-2, 1, items)}
    reference["logp_reference_answer"] = rng.normal(-2, 1, items)
    reference |= dict.fromkeys(("kl_choice_right", "kl_options", DIVERGENCE), np.full(items, np.nan))
    return Shifts(moved > 0, margin > 0, own, reference)


def literal(s, q):
    """Every metric of one quant, item by item, as the definitions are written."""
    m_r, m_q = s.reference["margin"], s.quants["margin"][:, q]
    delta, phi, width = m_q - m_r, stats.norm.cdf, 0.5 * s.reference["margin"].std()
    w = [np.exp(-0.5 * (m / width) ** 2) for m in m_r]
    kl, gold = s.quants["kl_choice_right"][:, q], s.quants["logp_right"][:, q] - s.reference["logp_right"]
    up, down = kl[gold > 0].sum() / kl.size, kl[gold < 0].sum() / kl.size
    own = s.quants["logp_reference_answer"][:, q] - s.reference["logp_reference_answer"]
    items, known = s.quants[DIVERGENCE][:, q], s.reference_right
    mu, sd = delta.mean(), delta.std()
    return {
        "margin_shift": mu,
        "boundary_shift": sum(a * d for a, d in zip(w, delta, strict=True)) / sum(w),
        "soft_accuracy": np.mean([phi(a / width) - phi(b / width) for a, b in zip(m_q, m_r, strict=True)]),
        "expected_net": np.mean([phi((m + mu) / sd) - (m > 0) for m in m_r]),
        "directional_kld": up - down,
        "directional_balance": (up - down) / (up + down),
        "sharpening": own[known].mean() - own[~known].mean(),
        "net": s.right[:, q].mean() - known.mean(),
        "item_kld": -items.mean(),
        "boundary_kld": -sum(a * k for a, k in zip(w, items, strict=True)) / sum(w),
        "options_kld": -s.quants["kl_options"][:, q].mean(),
        "expected_flips": -np.mean([phi(-abs(m) / sd) for m in m_r]),
        "flips": -np.mean(s.right[:, q] != known),
    }


# --- definitions ------------------------------------------------------------------------------------------------------


def test_every_metric_is_its_definition(rng):
    shifts = shifts_of(rng)
    expected = [literal(shifts, q) for q in range(3)]
    metrics = metrics_of(DIVERGENCE)
    assert {m.name for m in metrics} == set(expected[0])
    for metric in metrics:
        assert metric.compute(shifts) == pytest.approx([e[metric.name] for e in expected], rel=1e-12), metric.name
        assert not metric.missing(shifts)


def test_a_quant_like_the_reference_is_no_better_and_no_worse(rng):
    s = shifts_of(rng)
    same = {c: np.repeat(v[:, None], 3, axis=1) for c, v in s.reference.items() if not np.isnan(v).any()}
    zero = dict.fromkeys(("kl_choice_right", "kl_options", DIVERGENCE), np.zeros((40, 3)))
    twin = Shifts(np.repeat(s.reference_right[:, None], 3, axis=1), s.reference_right, same | zero, s.reference)
    for metric in metrics_of(DIVERGENCE):
        assert metric.compute(twin) == pytest.approx(np.zeros(3), abs=1e-15), metric.name


def test_a_shift_of_every_margin_alike_is_a_step():
    m = np.array([-2.0, -0.5, 0.5, 2.0])
    shifts = Shifts((m + 1 > 0)[:, None], m > 0, {"margin": m[:, None] + 1}, {"margin": m})
    by = {metric.name: metric for metric in metrics_of(DIVERGENCE)}
    assert by["expected_net"].compute(shifts) == pytest.approx([0.25])
    assert by["margin_shift"].compute(shifts) == pytest.approx([1.0])
    assert boundary_weights(shifts)[1] == pytest.approx(boundary_weights(shifts)[2])


def test_order_of_items_changes_nothing(rng):
    shifts = shifts_of(rng)
    order = rng.permutation(40)
    for metric in metrics_of(DIVERGENCE):
        assert metric.compute(shifts.of(order)) == pytest.approx(metric.compute(shifts), rel=1e-12)


def test_sign_is_of_the_margin_where_there_is_no_probability_of_the_right_answer(rng):
    s = shifts_of(rng)
    quants = {c: v for c, v in s.quants.items() if not c.startswith("logp")}
    bare = Shifts(s.right, s.reference_right, quants, s.reference)
    by = {metric.name: metric for metric in metrics_of(DIVERGENCE)}
    signed = s.quants["kl_choice_right"] * np.sign(s.quants["margin"] - s.reference["margin"][:, None])
    assert by["directional_kld"].compute(bare) == pytest.approx(signed.mean(axis=0))
    assert by["sharpening"].missing(bare) == ["logp_reference_answer"]


def test_metric_refusals(rng):
    s = shifts_of(rng)
    flat = Shifts(s.right, s.reference_right, s.quants, s.reference | {"margin": np.ones(40)})
    by = {metric.name: metric for metric in metrics_of(DIVERGENCE)}
    with pytest.raises(StatisticsError, match="do not vary"):
        by["soft_accuracy"].compute(flat)
    with pytest.raises(StatisticsError, match="40 of 40 right"):
        by["sharpening"].compute(Shifts(s.right, np.ones(40, dtype=bool), s.quants, s.reference))


# --- max-T and resamples ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("families", [None, ["a"] * 5 + ["b"] * 7])
def test_max_t_of_one_split_is_that_of_one_score(rng, families):
    metrics, net = rng.normal(size=(12, 4)), rng.normal(size=12)
    expected = max_t(metrics, net, resampling=RESAMPLING, families=families)
    products = np.stack([held_out_ranks(column[None], net[None]) for column in metrics.T])
    orders = RESAMPLING.orders(np.zeros(12) if families is None else families)
    _, adjusted, largest = max_t_of_splits(products, orders, centred=families is not None)
    assert adjusted == pytest.approx(expected.p)
    assert np.quantile(largest, 0.95, method="higher") == pytest.approx(expected.critical)


def test_max_t_holds_its_size_where_no_metric_means_anything():
    rng = np.random.default_rng(31)
    orders, least = RESAMPLING.orders(np.zeros(10)), []
    for _ in range(250):
        shared = rng.normal(size=(5, 10))  # halves of the same items are alike
        net = rng.normal(size=10) + 0.7 * rng.normal(size=(4, 10))
        products = [held_out_ranks(metric + 0.7 * rng.normal(size=(4, 10)), net) for metric in shared]
        least.append(max_t_of_splits(np.stack(products), orders)[1].min())
    assert 0.015 <= np.mean(np.array(least) <= 0.05) <= 0.09


def test_estimate_and_permuted_values_are_means_of_rho_over_splits(rng):
    metric, net = rng.normal(size=(6, 9)), rng.permuted(np.tile(np.arange(9.0) // 2, (6, 1)), axis=1)
    product = held_out_ranks(metric, net)
    assert np.trace(product) == pytest.approx(np.mean([correlation(m, n) for m, n in zip(metric, net, strict=True)]))
    order = rng.permutation(9)
    expected = np.mean([correlation(m, n[order]) for m, n in zip(metric, net, strict=True)])
    assert product[np.arange(9), order].sum() == pytest.approx(expected)
    again = np.array([0, 1, 1, 2, 4, 5, 6, 7, 8])
    counts = np.bincount(again, minlength=9)[None].astype(float)
    expected = np.mean([correlation(m[again], n[again]) for m, n in zip(metric, net, strict=True)])
    assert resampled_means(metric, net, counts) == pytest.approx([expected])


def test_constant_halves_are_left_out_and_too_many_refused(rng):
    metric, net = rng.normal(size=(4, 6)), rng.normal(size=(4, 6))
    net[0] = 0.25
    whole = np.mean([correlation(m, n) for m, n in zip(metric[1:], net[1:], strict=True)])
    assert np.trace(held_out_ranks(metric, net)) == pytest.approx(whole)
    net[:3] = 0.25
    with pytest.raises(StatisticsError, match="25% of 4"):
        held_out_ranks(metric, net)


def test_band_holds_for_all_gains_together(rng):
    draws = rng.normal(size=(4000, 5)) * np.array([1, 2, 3, 4, 5.0])
    low, high = gain_band(draws, np.zeros(5), 0.95)
    inside = ((draws > low) & (draws < high)).all(axis=1).mean()
    assert inside == pytest.approx(0.95, abs=0.01)
    assert high / np.arange(1, 6) == pytest.approx(np.full(5, stats.norm.ppf(0.5 + 0.5 * 0.95**0.2)), rel=0.06)


# --- cross-fitting ----------------------------------------------------------------------------------------------------


def drawn(rng, kld, way, items):
    """Margins of a margin model, (items,) and (items, quants): spread 1.18 √KLD, a fifth of it shared, and a drift."""
    spread, margin = 1.18 * np.sqrt(kld), 0.674 + rng.standard_normal(items)
    own = np.sqrt(0.8) * rng.standard_normal((items, kld.size))
    return margin, margin[:, None] + way + spread * (np.sqrt(0.2) * rng.standard_normal(items)[:, None] + own)


def drift_of(rng, kld, drift):
    return drift * 1.18 * np.sqrt(kld) * rng.standard_normal(kld.size)


def table_of(rng, kld, *, drift=0.0, items=200, tasks=("one", "two")):
    """An item table of a reference and quants, and their cohort."""
    way, frames = drift_of(rng, kld, drift), []
    for task in tasks:
        margins = np.column_stack(drawn(rng, kld, way, items))
        for place, name in enumerate(["ref", *(f"q{i:02d}" for i in range(kld.size))]):
            own = kld[place - 1] if place else np.nan
            frames.append(pd.DataFrame({
                "model": name, "benchmark": task, "item": [f"{i:05d}" for i in range(items)],
                "correct": (margins[:, place] > 0).astype(int), "margin": margins[:, place],
                DIVERGENCE: own * rng.chisquare(1, items), "kl_choice_right": own * rng.chisquare(1, items),
            }))  # fmt: skip
    cohort = pd.DataFrame({"label": ["ref", *(f"q{i:02d}" for i in range(kld.size))],
                           "role": ["reference", *["quant"] * kld.size], "family": "f",
                           "kl_mean": [np.nan, *kld]})  # fmt: skip
    return pd.concat(frames, ignore_index=True), cohort


def tasks_of(items, cohort):
    quants = list(quants_of(cohort)["label"])
    of_items = {"reference": "ref", "quants": quants, "divergence": DIVERGENCE}
    return {task: task_shifts(items, task, **of_items) for task in items["benchmark"].unique()}


def test_metric_and_net_never_share_an_item(rng):
    items, cohort = table_of(rng, np.geomspace(0.01, 0.5, 5), items=30)
    tasks = tasks_of(items, cohort)
    fitted = cross_fit(tasks, metrics_of(DIVERGENCE), splits=3, rng=np.random.default_rng(3))
    drawn = np.random.default_rng(3)
    masks = {name: halves(task.clusters, 3, drawn) for name, task in tasks.items()}
    assert {mask.sum() for mask in masks["one"]} == {15}
    shift = np.mean([t.shifts.of(masks[n][1]).shift("margin").mean(axis=0) for n, t in tasks.items()], axis=0)
    net = np.mean([t.shifts.of(~masks[n][1]).net for n, t in tasks.items()], axis=0)
    assert fitted.metrics["margin_shift"][2] == pytest.approx(shift)
    assert fitted.net[2] == pytest.approx(net)
    assert fitted.metrics["net"][3] == pytest.approx(net)
    assert fitted.notes["options_kld"] == "the items have no kl_options"


def test_clusters_are_not_torn_apart(rng):
    clusters = np.repeat(np.arange(10), 4)
    for mask in halves(clusters, 20, rng):
        assert mask.sum() == 20
        assert all(mask[clusters == g].all() or not mask[clusters == g].any() for g in range(10))


def test_items_with_a_missing_value_and_tasks_without_a_column(rng):
    items, cohort = table_of(rng, np.geomspace(0.01, 0.5, 5), items=40)
    items.loc[(items["benchmark"] == "two"), "margin"] = np.nan
    one = items.index[(items["benchmark"] == "one") & (items["model"] == "q02")]
    items.loc[one[:3], "margin"] = np.nan
    tasks = tasks_of(items, cohort)
    assert tasks["one"].left_out == 3
    assert tasks["one"].shifts.right.shape == (37, 5)
    fitted = cross_fit(tasks, metrics_of(DIVERGENCE), splits=2, rng=rng)
    assert fitted.notes["expected_net"] == "without two"
    assert fitted.notes["item_kld"] == ""
    with pytest.raises(StatisticsError, match="too few items to be split in halves"):
        task_shifts(items[items["item"] < "00003"], "one", reference="ref", quants=["q00"], divergence=DIVERGENCE)


# --- the table --------------------------------------------------------------------------------------------------------


def ranked(rng, drift, **settings):
    kld = np.sort(np.exp(rng.uniform(np.log(0.003), np.log(0.6), 28)))[:14]
    items, cohort = table_of(rng, kld, drift=drift, **settings)
    quants = list(quants_of(cohort)["label"])
    members = cohort["label"].isin(quants[:10])
    return directional_table(
        tasks_of(items, cohort), cohort, members, quants, divergence=DIVERGENCE, splits=6, resampling=RESAMPLING,
        rng=np.random.default_rng(5),
    )  # fmt: skip


def test_where_quants_drift_a_metric_with_direction_beats_kld():
    table = ranked(np.random.default_rng(20), 0.4, items=1200, tasks=("one",)).set_index(["subset", "metric"])
    full = table.loc["full"]
    assert full.loc["expected_net", "estimate"] > 0.8
    assert full.loc["expected_net", "gain_band_low"] > 0
    assert full.loc["expected_net", "beats_kld"]
    assert full.loc["expected_net", "p_adjusted"] < 0.05
    assert not full.loc[["item_kld", "boundary_kld", "expected_flips"], "beats_kld"].any()
    assert np.isnan(full.loc[BASELINE, "gain"])
    assert full["rank"].dropna().is_monotonic_increasing
    assert table.loc["zone", "n"].unique() == [10]
    assert (full["p_adjusted"] >= full["p"]).loc[full["p"].notna()].all()
    assert full.loc["options_kld", "note"] == "the items have no kl_options"


def test_held_out_correlations_are_those_of_the_simulated_worlds():
    """ρ with the observed score of other items, N = 1,000, lowest 14 of 28 quants: −KLD, margin shift, expected net."""
    expected = {0.0: (0.26, -0.01, 0.17), 0.15: (0.13, 0.71, 0.73)}
    names = ("item_kld", "margin_shift", "expected_net")
    for drift, rho in expected.items():
        rng, found = np.random.default_rng(11), []
        for _ in range(60):
            kld = np.sort(np.exp(rng.uniform(np.log(0.003), np.log(0.6), 28)))[:14]
            margin, margins = drawn(rng, kld, drift_of(rng, kld, drift), 2000)
            own = {"margin": margins, DIVERGENCE: np.broadcast_to(kld, margins.shape)}
            shifts = Shifts(margins > 0, margin > 0, own, {"margin": margin})
            first, second = shifts.of(slice(0, 1000)), shifts.of(slice(1000, None))
            by = {m.name: m for m in metrics_of(DIVERGENCE)}
            found.append([correlation(by[name].compute(first), second.net) for name in names])
        assert np.mean(found, axis=0) == pytest.approx(rho, abs=0.12), drift


def test_a_subset_of_too_few_quants_says_so(rng):
    items, cohort = table_of(rng, np.geomspace(0.01, 0.5, 5), items=40)
    quants = list(quants_of(cohort)["label"])
    table = directional_table(
        tasks_of(items, cohort), cohort, cohort["label"].isin(["q00", "q01"]), quants, divergence=DIVERGENCE,
        splits=5, resampling=RESAMPLING, rng=rng,
    )  # fmt: skip
    zone = table[table["subset"] == "zone"]
    assert zone["estimate"].isna().all()
    assert zone["note"].str.contains("at least").sum() == zone["metric"].nunique() - 2
    assert not zone["beats_kld"].any()


def test_the_seed_decides_the_table():
    tables = [ranked(np.random.default_rng(21), 0.2, items=60) for _ in range(2)]
    pd.testing.assert_frame_equal(*tables)
