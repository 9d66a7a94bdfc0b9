"""Zones chosen on one half of the items against a count by hand, and what must not change them."""

import numpy as np
import pytest

from qkld.errors import StatisticsError
from qkld.statistics.zone.split_zone import chosen, split_halves, split_table, split_zone
from qkld.study.registry import registered

KLD = np.exp(np.linspace(-6, -1, 14))
RULES = {"kld_cut": 0.05, "score_margin": 0.03, "equivalence": 0.06, "break_point": None}


def answers(rng, items=400, kld=KLD):
    """Reference and quants that lose a little with KLD and flip a lot."""
    margin = rng.normal(0.6, 1, items)
    noise = rng.normal(-0.2, 1, (len(kld), items)) * np.sqrt(kld)[:, None]
    return margin > 0, margin + noise > 0


def halves_of(rng, splits=60, seed=1, **more):
    reference, quants = answers(rng)
    return split_halves({"t": quants}, {"t": reference}, splits=splits, rng=np.random.default_rng(seed), **more)


def test_halves_are_halves(rng):
    reference, quants = answers(rng, items=401)
    first, second = split_halves({"t": quants}, {"t": reference}, splits=30, rng=rng)
    assert (first.items == 200).all()
    assert (second.items == 201).all()
    for name, all_of_it in (
        ("right", quants),
        ("leapfrogs", quants & ~reference),
        ("drops", ~quants & reference),
    ):
        total = getattr(first, name) + getattr(second, name)
        assert (total == all_of_it.sum(axis=1)[None, :, None]).all(), name
    assert len(np.unique(first.right[:, 0, 0])) > 3
    counted = first.right - (first.leapfrogs - first.drops)
    assert (counted == counted[:, :1]).all(), "every quant is compared with the reference on the same items"


def test_tasks_count_alike_whatever_their_size(rng):
    reference, quants = answers(rng)
    small = {"a": quants, "b": quants[:, :40]}
    first, _ = split_halves(small, {"a": reference, "b": reference[:40]}, splits=5, rng=rng)
    assert first.scores == pytest.approx((first.right / [200, 20]).mean(axis=-1))
    assert first.net == pytest.approx(((first.leapfrogs - first.drops) / [200, 20]).mean(axis=-1))


def test_clusters_stay_together(rng):
    reference, quants = answers(rng, items=40)
    wide = {"t": np.repeat(quants, 3, axis=1)}
    passages = {"t": np.repeat(np.arange(40), 3)}
    first, _ = split_halves(wide, {"t": np.repeat(reference, 3)}, splits=20, rng=rng, clusters=passages)
    assert (first.right % 3 == 0).all()
    assert (first.items == 60).all()


def test_permuting_items_changes_nothing(rng):
    reference, quants = answers(rng)
    order = rng.permutation(400)
    one, other = (
        split_halves({"t": q}, {"t": r}, splits=20, rng=np.random.default_rng(2))
        for q, r in ((quants, reference), (quants[:, order], reference[order]))
    )
    for rule, cut in RULES.items():
        assert split_zone(one, KLD, rule=rule, cut=cut) == split_zone(other, KLD, rule=rule, cut=cut)


def test_swapping_reference_and_quant_flips_the_net(rng):
    reference, quants = answers(rng)
    one = split_halves({"t": quants[:1]}, {"t": reference}, splits=9, rng=rng)
    other = split_halves({"t": reference[None]}, {"t": quants[0]}, splits=9, rng=rng)
    net = [sum((half.leapfrogs - half.drops)[..., 0] for half in halves) for halves in (one, other)]
    assert (net[0] == -net[1]).all()
    assert (net[0] == quants[0].sum() - reference.sum()).all()


@pytest.mark.parametrize("rule", ["score_margin", "equivalence"])
def test_the_zone_is_chosen_on_one_half_and_judged_on_the_other(rule, rng):
    from scipy import stats

    from qkld.statistics.items.score_differences import difference_interval

    first, second = halves_of(rng)
    found = split_zone((first, second), KLD, rule=rule, cut=RULES[rule])
    rho = []
    for s in range(60):
        net = (first.leapfrogs - first.drops)[s, :, 0] / 200
        inside = net >= -RULES[rule]
        if rule == "equivalence":
            low, high = difference_interval(first.leapfrogs[s], first.drops[s], first.items[s], 0.9)
            inside = (low > -RULES[rule]) & (high < RULES[rule])
        if inside.sum() >= 4:
            rho.append(stats.spearmanr(KLD[inside], second.right[s, inside, 0]).statistic)
    assert found.estimate == pytest.approx(np.median(rho), abs=1e-12)
    assert (found.split_low, found.split_high) == pytest.approx(tuple(np.quantile(rho, [0.025, 0.975])), abs=1e-12)
    assert found.undefined_splits == 60 - len(rho)
    assert found.n_low <= found.n_median <= found.n_high


def test_choosing_by_the_score_shows_on_the_half_that_chose(rng):
    kld = np.full(30, 0.05) * np.linspace(0.99, 1.01, 30)
    reference, quants = answers(rng, kld=kld)
    tilted = quants.copy()
    tilted[:, :200] &= rng.random((30, 200)) > np.linspace(0, 0.2, 30)[:, None]
    halves = split_halves({"t": tilted}, {"t": reference}, splits=100, rng=rng)
    by_score = split_zone(halves, kld, rule="score_margin", cut=0.05)
    by_kld = split_zone(halves, kld, rule="kld_cut", cut=1.0)
    assert by_score.selection_effect > 0.02, "selection on the score pulls a negative ρ toward 0 on its own items"
    assert abs(by_kld.selection_effect) < 0.05


def test_each_rule_has_its_row(rng):
    halves = halves_of(rng)
    table = split_table(halves, KLD, {**RULES, "score_margin": -0.9}, least=4)
    assert tuple(table.columns) == registered("zone_split").columns
    assert table["splits"].dropna().eq(60).all()
    broken = table.set_index("rule").loc["score_margin"]
    assert np.isnan(broken["estimate"])
    assert "too small in most splits" in broken["note"]
    shares = chosen(halves[0], KLD, rule="kld_cut", cut=0.05).mean(axis=0)
    assert shares.tolist() == (KLD <= 0.05).astype(float).tolist()


def test_break_points_are_chosen_above_zero_divergence(rng):
    reference, quants = answers(rng)
    kld = np.array([0.0, *KLD[1:]])
    halves = split_halves({"t": quants}, {"t": reference}, splits=7, rng=rng)
    inside = chosen(halves[0], kld, rule="break_point", cut=None)
    assert inside[:, 0].all()
    assert inside.sum(axis=1).min() >= 6


def test_answers_and_divergences_must_be_of_the_same_quants(rng):
    with pytest.raises(StatisticsError, match="one KLD for each of 14 quants"):
        split_zone(halves_of(rng, splits=3), KLD[:5], rule="kld_cut", cut=0.1)
    reference, quants = answers(rng)
    with pytest.raises(StatisticsError, match="0 and 1"):
        split_halves({"t": quants * 0.5}, {"t": reference}, splits=3, rng=rng)


def test_halves_of_clusters_choose_by_their_clusters(rng):
    """Every item three times: the same halves of clusters show no more quants to be near the reference than once."""
    right = rng.random(300) < 0.7
    quants = np.array([right ^ (rng.random(300) < rate) for rate in np.linspace(0.01, 0.2, 8)])
    kld = np.linspace(0.01, 0.2, 8)
    alone, _ = split_halves({"t": quants}, {"t": right}, splits=40, rng=np.random.default_rng(1))
    copies = {"t": np.repeat(quants, 3, axis=1)}, {"t": np.repeat(right, 3)}
    clusters = {"t": np.repeat(np.arange(300), 3)}
    thrice, _ = split_halves(*copies, splits=40, rng=np.random.default_rng(1), clusters=clusters)
    share = [chosen(half, kld, rule="equivalence", cut=0.06).mean() for half in (alone, thrice)]
    assert share[1] == pytest.approx(share[0], abs=0.02)
    assert thrice.wider.effect == pytest.approx(np.full(8, 3.0), rel=0.02)
