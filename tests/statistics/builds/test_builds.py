"""Variance components of builds against their definitions, simulated truths and the traps of such designs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from qkld.errors import StatisticsError
from qkld.statistics.builds.components import (
    between_contrasts,
    between_moment,
    between_p,
    fit,
    profile,
    scatter_of_builds,
    shapes_of_within,
    slopes,
    variance_components,
    within_moment,
)
from qkld.statistics.builds.design import Builds, builds_of
from qkld.statistics.builds.recipes import leave_one_recipe_out, r2_by_design, recipe_correlations, recipe_orders
from qkld.statistics.items.covariance import NetNoise, noise_of_differences
from qkld.statistics.noise.dispersion import Scatter, dispersion

SE = 0.004
"""Standard error of one build's score difference in simulated worlds, a fraction of 1."""


def noise_of(net, covariance):
    return NetNoise(tuple(map(str, range(len(net)))), np.asarray(net), covariance, 6000, 6000, True)


def world(rng, *, recipes=10, builds=3, beta=-0.1, between=0.0, within=0.0, shared=0.3, by_kld=False):
    """Builds whose truth is known; V is known too, with a part that all differences share."""
    names = tuple(f"r{i}" for i in range(recipes) for _ in range(builds))
    level = np.repeat(np.geomspace(0.002, 0.2, recipes), builds)
    kld = level * rng.uniform(0.95, 1.05, level.size)
    members = np.repeat(np.arange(recipes), builds)
    covariance = SE**2 * ((1 - shared) * np.eye(level.size) + shared)
    own = within * rng.standard_normal(level.size) * (np.sqrt(kld / kld.mean()) if by_kld else 1)
    net = beta * np.sqrt(kld) + between * rng.standard_normal(recipes)[members] + own
    net += np.linalg.cholesky(covariance) @ rng.standard_normal(level.size)
    return builds_of(noise_of(net, covariance), names, kld, ["rotate"] * level.size)


def restricted(builds, between, within, shape):
    """The restricted log-likelihood by its literal definition, but for a constant."""
    x, y = builds.design, builds.noise.net
    own = np.diag(within * profile(builds, shape))
    sigma = builds.noise.covariance + between * builds.members @ builds.members.T + own
    inverse = np.linalg.inv(sigma)
    b = np.linalg.solve(x.T @ inverse @ x, x.T @ inverse @ y)
    r = y - x @ b
    return -0.5 * (np.linalg.slogdet(sigma)[1] + np.linalg.slogdet(x.T @ inverse @ x)[1] + r @ inverse @ r)


@pytest.mark.parametrize("shape", ["constant", "proportional"])
@pytest.mark.parametrize("unequal", [False, True])
def test_the_fit_is_the_maximum_of_the_literal_restricted_likelihood(rng, shape, unequal):
    builds = world(rng, between=0.006, within=0.005)
    if unequal:
        kept = [i for i in range(30) if i not in (1, 2, 7, 20)]
        noise = builds.noise.of([builds.noise.labels[i] for i in kept])
        builds = Builds(noise, tuple(builds.recipes[i] for i in kept), builds.kld[kept])
    found = fit(builds, shape)
    best = restricted(builds, found.between, found.within, shape)
    grid = [f * f for f in np.linspace(0, 0.02, 41)]
    assert best >= max(restricted(builds, u, w, shape) for u in grid for w in grid) - 1e-9
    one, other = fit(builds, "constant"), fit(builds, "proportional")
    literal = [restricted(builds, f.between, f.within, f.shape) for f in (one, other)]
    assert one.log_likelihood - other.log_likelihood == pytest.approx(literal[0] - literal[1], abs=1e-6)


def test_a_balanced_design_without_item_noise_is_a_nested_analysis_of_variance(rng):
    """With V next to 0 and equal displacement within recipes, σ_w² is the mean square within."""
    builds = world(rng, between=0.02, within=0.01)
    level = np.repeat(np.geomspace(0.002, 0.2, 10), 3)
    flat = Builds(noise_of(builds.noise.net, 1e-14 * np.eye(30)), builds.recipes, level)
    y = flat.noise.net.reshape(10, 3)
    mean_square = y.var(axis=1, ddof=1).mean()
    x = np.sqrt(level[::3])
    residual = y.mean(axis=1) - np.polyval(np.polyfit(x, y.mean(axis=1), 1), x)
    between = residual @ residual / 8 - mean_square / 3
    found = fit(flat)
    assert (found.within, found.between) == pytest.approx((mean_square, between), rel=1e-3)
    assert within_moment(flat) == pytest.approx(mean_square, rel=1e-6)
    assert between_moment(flat) == pytest.approx(between, rel=1e-6)
    assert not flat.has_spread
    assert list(slopes(found, confidence=0.95)["slope"]) == ["beta"]


def test_unbiased_moments_are_0_on_average_where_components_are_and_not_cut_off(rng):
    """A bootstrap of items, or variances cut off at 0, would put the mean at about the item noise instead."""
    found = np.array([(within_moment(b), between_moment(b)) for b in (world(rng) for _ in range(400))])
    error = found.std(axis=0) / 20
    assert (np.abs(found.mean(axis=0)) < 3.5 * error).all()
    assert (error < 0.05 * SE**2).all()
    assert ((found < 0).mean(axis=0) > 0.4).all()


def test_moments_and_fits_find_components_that_are_there(rng):
    worlds = [world(rng, recipes=14, between=0.008, within=0.006) for _ in range(60)]
    within = np.array([within_moment(b) for b in worlds])
    between = np.array([between_moment(b) for b in worlds])
    assert abs(within.mean() - 0.006**2) < 3.5 * within.std() / np.sqrt(60)
    assert abs(between.mean() - 0.008**2) < 3.5 * between.std() / np.sqrt(60)
    fits = [fit(b) for b in worlds[:20]]
    assert np.mean([f.coefficients[1] for f in fits]) == pytest.approx(-0.1, abs=0.03)


def test_the_within_component_does_not_depend_on_what_recipes_are(rng):
    builds = world(rng, within=0.005)
    steps = builds.members @ rng.normal(0, 0.3, 10) + 5 * builds.off_recipe
    moved = Builds(replace(builds.noise, net=builds.noise.net + steps), builds.recipes, builds.kld)
    assert within_moment(moved) == pytest.approx(within_moment(builds), rel=1e-8)
    rows = [variance_components(b, confidence=0.95).set_index("component").loc["within"] for b in (builds, moved)]
    assert rows[0][["low", "high", "p"]].tolist() == pytest.approx(rows[1][["low", "high", "p"]].tolist(), rel=1e-5)


def test_components_hold_their_truth_and_find_nothing_where_nothing_is(rng):
    held, found = [], []
    for _ in range(30):
        rows = variance_components(world(rng, between=0.01, within=0.006), confidence=0.95).set_index("component")
        held += [rows.loc["within", "low"] <= 0.006 <= rows.loc["within", "high"],
                 rows.loc["between", "low"] <= 0.01 <= rows.loc["between", "high"]]  # fmt: skip
        found.append(variance_components(world(rng), confidence=0.95)["p"].to_numpy())
    assert np.mean(held) > 0.85
    assert stats.binomtest(int((np.array(found) < 0.05).sum()), 60, 0.05, "greater").pvalue > 0.01


def test_with_v_from_few_items_the_test_is_hotellings_or_flips_signs(rng):
    differences = rng.choice([-1, 0, 1], size=(300, 12), p=[0.05, 0.9, 0.05]).astype(np.int8)
    names = [f"r{i // 3}" for i in range(12)]
    kld = np.repeat([0.01, 0.02, 0.05, 0.1], 3) * rng.uniform(0.98, 1.02, 12)
    few = noise_of_differences("task", differences, tuple(map(str, range(12))))
    rows = variance_components(builds_of(few, names, kld, ["rotate"] * 12), confidence=0.95).set_index("component")
    assert rows.loc["within", "test"] == "hotelling"
    assert rows.loc["within", "contrasts"] == 12 - 4 - 1
    fewer = noise_of_differences("task", differences[:30], tuple(map(str, range(12))))
    left = builds_of(fewer, names, kld, ["rotate"] * 12).within
    assert left.tested.test == "sign-flip"


def test_a_variance_in_proportion_to_kld_is_told_from_a_constant_one(rng):
    gains = []
    for by_kld in (True, False):
        fits = [shapes_of_within(world(rng, recipes=14, within=0.03, by_kld=by_kld)) for _ in range(15)]
        gains.append(np.mean([f["proportional"].log_likelihood - f["constant"].log_likelihood for f in fits]))
    assert gains[0] > 2 > -2 > gains[1]


def test_shapes_of_a_component_that_is_not_there_are_one_fit(rng):
    """Scores on a line of √KLD, whose residuals are smaller than the noise they are said to have."""
    builds = world(rng)
    exact = Builds(replace(builds.noise, net=-0.1 * np.sqrt(builds.kld)), builds.recipes, builds.kld)
    fits = shapes_of_within(exact)
    assert all(f.at_zero(f.within) and f.at_zero(f.between) for f in fits.values())
    assert fits["constant"].log_likelihood == pytest.approx(fits["proportional"].log_likelihood, abs=1e-9)


def test_one_recipe_that_carries_the_fit_is_seen_when_it_is_left_out(rng):
    """The traps' 3-bit recipe: far out and far down."""
    builds = world(rng, recipes=8, beta=0.0)
    kld, net = builds.kld.copy(), builds.noise.net.copy()
    kld[-3:], net[-3:] = 1.5 * rng.uniform(0.98, 1.02, 3), net[-3:] - 0.3
    carried = Builds(replace(builds.noise, net=net), builds.recipes, kld)
    rows = leave_one_recipe_out(carried).set_index("left_out")
    assert list(rows.index) == ["", *builds.names]
    assert rows.loc["", "beta"] < -0.15
    assert abs(rows.loc["r7", "beta"]) < 0.05
    assert rows.drop(["", "r7"])["beta"].max() < -0.15
    assert rows.loc["r7", "builds"] == 21


def test_whole_recipes_change_places_and_n_counts_recipes(rng):
    builds = world(rng, recipes=6, beta=-0.5)
    table = recipe_correlations(builds, permutations=999, rng=rng).set_index("level")
    assert table["n"].to_dict() == {"recipes": 6, "builds": 18}
    assert table.loc["recipes", "rearrangements"] == 720
    means = builds.averaging @ np.column_stack([builds.kld, builds.noise.net])
    assert table.loc["recipes", "rho"] == pytest.approx(stats.spearmanr(*means.T).statistic, abs=1e-12)
    assert table.loc["builds", "rho"] == pytest.approx(
        stats.spearmanr(builds.kld, builds.noise.net).statistic, abs=1e-12
    )
    assert table.loc["builds", "p"] >= 1 / 720
    moved = recipe_orders(builds, 999, rng=rng)
    assert (moved[-1] == np.arange(18)).all()
    assert (np.sort(moved, axis=1) == np.arange(18)).all()
    of = np.array(builds.recipes)[moved].reshape(-1, 6, 3)
    assert (of == of[:, :, :1]).all(), "builds of a recipe stay together"


def test_recipes_of_other_numbers_of_builds_change_places_among_their_equals(rng):
    builds = world(rng, recipes=8)
    kept = [i for i in range(24) if i not in (2, 5)]
    some = Builds(builds.noise.of([str(i) for i in kept]), tuple(builds.recipes[i] for i in kept), builds.kld[kept])
    moved = recipe_orders(some, 500, rng=rng)
    assert (np.sort(moved, axis=1) == np.arange(22)).all()
    assert set(np.unique(np.array(some.recipes)[moved[:, :4]])) == {"r0", "r1"}
    assert 0 < recipe_correlations(some, permutations=500, rng=rng)["p"].min() <= 1


def test_permuting_builds_singly_would_find_what_is_not_there(rng):
    """With direction between recipes and no slope, whole recipes keep the level and single builds do not."""
    from qkld.statistics.core.permutation import permutation_p

    whole, single = [], []
    for _ in range(120):
        builds = world(rng, recipes=6, builds=4, beta=0.0, between=0.03)
        whole.append(recipe_correlations(builds, permutations=199, rng=rng).set_index("level").loc["builds", "p"])
        single.append(permutation_p(builds.kld, builds.noise.net, permutations=199, rng=rng))
    assert np.mean(np.array(whole) <= 0.05) < 0.12
    assert np.mean(np.array(single) <= 0.05) > 0.2


@pytest.mark.long
def test_r2_by_design_rises_with_the_range_of_kld_and_holds_the_truth(rng):
    builds = world(rng, recipes=14, beta=-0.2, between=0.01, within=0.005)
    table = r2_by_design(fit(builds), np.array([0.005, 0.05, 0.5]), confidence=0.95, rng=rng)
    truth = 0.04 * table["kld"] / 12 / (0.04 * table["kld"] / 12 + 0.01**2 + 0.005**2)
    assert table["r2"].is_monotonic_increasing
    assert ((table["low"] <= truth) & (truth <= table["high"])).all()
    assert (table["sd_within"] > 0).all()
    again = r2_by_design(fit(builds), np.array([0.05]), confidence=0.95, rng=np.random.default_rng(1))
    same = r2_by_design(fit(builds), np.array([0.05]), confidence=0.95, rng=np.random.default_rng(1))
    assert again.equals(same)


@pytest.mark.long
@pytest.mark.parametrize(("recipes", "builds", "within"), [(10, 2, 0.004), (6, 2, 0.006)])
def test_recipes_are_not_told_apart_by_builds_about_as_far_apart_as_item_noise(rng, recipes, builds, within):
    """There the estimated σ_w² is as uncertain as its sum with the item noise, not as σ_w² alone."""
    rejected = 0
    for _ in range(400):
        fitted = fit(world(rng, recipes=recipes, builds=builds, within=within))
        rejected += between_p(fitted, between_contrasts(fitted.builds, fitted.within)) < 0.05
    assert stats.binomtest(rejected, 400, 0.06, "greater").pvalue > 0.01


@pytest.mark.long
def test_the_interval_between_recipes_counts_the_builds_variance_as_an_estimate(rng):
    """Taken for known, .864 of 250 cohorts of the calibration had an interval with the truth."""
    held = []
    for _ in range(120):
        builds = world(rng, builds=2, within=0.004)
        held.append(variance_components(builds, confidence=0.95).set_index("component").loc["between", "low"] == 0)
    assert stats.binomtest(sum(held), 120, 0.94, "less").pvalue > 0.01


def test_noise_of_builds_widens_the_interval_and_none_that_was_fitted_as_0_does(rng):
    fitted = fit(world(rng, builds=2, between=0.01, within=0.006))
    left, scatter = between_contrasts(fitted.builds, fitted.within), scatter_of_builds(fitted)
    known, estimated = dispersion(left, 0.95), dispersion(left, 0.95, scatter)
    assert estimated.estimate == known.estimate
    assert estimated.low < known.low
    assert scatter_of_builds(replace(fitted, within=0.0)) is None


def test_an_estimated_variance_is_drawn_with_the_item_noise_that_was_taken_off_it(rng):
    drawn = Scatter(np.eye(3), items=0.5, df=40).drawn(rng)
    assert drawn.mean() == pytest.approx(1, abs=0.05)
    assert drawn.var() == pytest.approx(2 * 1.5**2 / 40, rel=0.15)
    assert Scatter(np.eye(3), items=50, df=4).drawn(rng).min() == 0


@pytest.mark.long
def test_an_interval_of_r2_is_known_where_some_simulated_cohorts_have_no_variance(rng):
    grid, found = np.array([0.01, 0.1]), []
    for _ in range(8):
        builds = world(rng, beta=-0.02)
        found.append(r2_by_design(fit(builds), grid, confidence=0.95, rng=rng))
    ends = pd.concat(found)[["low", "high"]].to_numpy()
    assert np.isfinite(ends).all()
    assert ((ends >= 0) & (ends <= 1)).all()


@pytest.mark.parametrize(
    ("recipes", "kld", "kinds", "said"),
    [
        (["a", "a", "b", "b", "c", "c", "d", "d"], [0.1] * 8, ["rotate"] * 4 + ["permute"] * 4, "permute, rotate"),
        (["a", "a", "b", "b", "c", "c", "d", "d"], [0.1] * 8, ["rotate"] * 7 + ["given"], "given, rotate"),
        (["a", "a", "a", "b", "b", "b", "c", "c"], [0.1] * 8, ["rotate"] * 8, "at least 4 recipes"),
        (["a", "b", "c", "d", "e", "f", "g", "h"], [0.1] * 8, ["rotate"] * 8, "same mean KLD"),
        (["a", "a", "b", "b", "c", "c", "d"], [0.1] * 8, ["rotate"] * 8, "'recipes': 7"),
        (["a", "a", "b", "b", "c", "c", "d", "d"], [0.1] * 7 + [np.nan], ["rotate"] * 8, "1 missing"),
    ],
)  # fmt: skip
def test_what_is_no_design_of_builds_is_refused(recipes, kld, kinds, said):
    noise = noise_of(np.linspace(0, 0.1, 8), SE**2 * np.eye(8))
    with pytest.raises(StatisticsError, match=said):
        builds_of(noise, recipes, kld, kinds)


def test_one_build_a_recipe_says_that_builds_are_missing():
    noise = noise_of(np.linspace(0, 0.1, 8), SE**2 * np.eye(8))
    alone = builds_of(noise, list("abcdefgh"), np.geomspace(0.01, 0.1, 8), ["rotate"] * 8)
    with pytest.raises(StatisticsError, match="No recipe has builds"):
        variance_components(alone, confidence=0.95)
