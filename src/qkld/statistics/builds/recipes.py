"""What recipes, not builds, are the units of: ρ on recipes' means, permutations of whole recipes, one recipe left out.

Builds of a recipe share its displacement: permuted singly they would shuffle ties, and n would count each recipe as
often as it was built.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from qkld.statistics.builds.components import Fit, Shape, fit
from qkld.statistics.builds.design import Builds
from qkld.statistics.core.correlations_of_resamples import correlation_columns
from qkld.statistics.core.permutation import p_of_orders, permuted_correlations, permuted_orders
from qkld.statistics.items.units import Floats

DRAWS = 199
"""Simulated cohorts of an interval of R²."""


def recipe_orders(builds: Builds, permutations: int, *, rng: np.random.Generator) -> np.ndarray:
    """Rearrangements of builds that move whole recipes, among those of equally many builds; the last one no change.

    All of them where they are few, as `permutation.permuted_orders` has it. Shape (rearrangements, builds).
    """
    places = [np.flatnonzero(builds.members[:, r]) for r in range(len(builds.names))]
    moved = permuted_orders(builds.sizes, permutations, rng=rng)
    orders = np.empty((len(moved), builds.kld.size), dtype=int)
    for target, place in enumerate(places):
        for source in np.unique(moved[:, target]):
            orders[np.ix_(moved[:, target] == source, place)] = places[source]
    return orders


def recipe_correlations(builds: Builds, *, permutations: int, rng: np.random.Generator) -> pd.DataFrame:
    """Spearman's ρ of mean KLD and score, over recipes' means and over builds; p by permuting whole recipes.

    Columns: level (``recipes``, ``builds``), n, rho, p, rearrangements. With recipes of unequal numbers of builds only
    equally many change places in ``builds``, and the distance is taken from the mean over rearrangements.
    """
    means = (builds.averaging @ builds.kld, builds.averaging @ builds.noise.net)
    whole = permuted_orders(np.zeros(len(builds.names)), permutations, rng=rng)
    moved, unequal = recipe_orders(builds, permutations, rng=rng), len(set(builds.sizes)) > 1
    by_level = {
        "recipes": (*means, whole, False),
        "builds": (builds.kld, builds.noise.net, moved, unequal),
    }
    rows = []
    for level, (kld, score, orders, centred) in by_level.items():
        x, y = correlation_columns(kld, score, "spearman")
        rho = float(permuted_correlations(x, y, orders[-1:], "spearman")[0])
        p = p_of_orders(x, y, orders, centred=centred)
        rows.append({"level": level, "n": x.size, "rho": rho, "p": p, "rearrangements": len(orders)})
    return pd.DataFrame(rows)


def leave_one_recipe_out(builds: Builds) -> pd.DataFrame:
    """β, both components and ρ on recipes' means without each recipe, and with all of them in the first row.

    Columns: left_out (empty: none), builds, beta, between, within (standard deviations), rho. Siblings share leverage,
    so that leaving out one build leaves its recipe's in.
    """
    sets = {"": builds} | {name: builds.without(name) for name in builds.names}
    return pd.DataFrame([{"left_out": name, **_in_short(some)} for name, some in sets.items()])


def _in_short(builds: Builds) -> dict[str, float]:
    fitted = fit(builds)
    means = correlation_columns(builds.averaging @ builds.kld, builds.averaging @ builds.noise.net, "spearman")
    order = np.arange(len(builds.names))[None]
    return {
        "builds": builds.kld.size,
        "beta": float(fitted.coefficients[1]),
        "between": float(np.sqrt(fitted.between)),
        "within": float(np.sqrt(fitted.within)),
        "rho": float(permuted_correlations(*means, order, "spearman")[0]),
    }


# --- what KLD explains by design --------------------------------------------------------------------------------------


def r2_by_design(fitted: Fit, grid: Floats, *, confidence: float, rng: np.random.Generator) -> pd.DataFrame:
    """R² = Var(β√k)/(Var(β√k) + σ_u² + σ_w²) of recipes whose √k lies evenly on 0 to √K, for each K of ``grid`` (nats).

    Var(√k) = K/12 then. It is stated by K because R² depends on the recipes chosen: wide enough a range of KLD makes it
    1. β² is corrected for the variance of its estimate and cut off at 0. The interval is that of scores simulated from
    the fit, with the noise V once; no item is resampled. Where a fit leaves no variance at all its R² is NaN; a
    simulated one may be anything then, and counts as 0 at the low end and as 1 at the high.

    Columns: kld (K), r2, low, high, sd_kld, sd_between, sd_within (fractions of 1).
    """
    spread = np.asarray(grid, dtype=float)
    centre = pd.DataFrame(_shares(fitted, spread))
    drawn = np.array([_shares(one, spread)["r2"] for one in _simulated(fitted, rng)])
    tail = (1 - confidence) / 2
    centre.insert(2, "low", np.quantile(np.nan_to_num(drawn, nan=0.0), tail, axis=0))
    centre.insert(3, "high", np.quantile(np.nan_to_num(drawn, nan=1.0), 1 - tail, axis=0))
    return centre


def _shares(fitted: Fit, grid: Floats) -> dict[str, Floats]:
    beta2 = max(0.0, float(fitted.coefficients[1] ** 2 - fitted.coefficient_covariance[1, 1]))
    by_kld, within = beta2 * grid / 12, fitted.within * _mean_profile(fitted, grid)
    total = by_kld + fitted.between + within
    r2 = np.divide(by_kld, total, out=np.full(grid.size, np.nan), where=total > 0)
    return {
        "kld": grid,
        "r2": r2,
        "sd_kld": np.sqrt(by_kld),
        "sd_between": np.full(grid.size, np.sqrt(fitted.between)),
        "sd_within": np.sqrt(within),
    }


def _mean_profile(fitted: Fit, grid: Floats) -> Floats:
    """Mean of what σ_w² is multiplied by, over k with √k even on 0 to √K: 1, or K/3 over the mean KLD of the builds."""
    return np.ones(grid.size) if fitted.shape == "constant" else grid / 3 / fitted.builds.kld.mean()


def _simulated(fitted: Fit, rng: np.random.Generator) -> list[Fit]:
    """Fits of scores drawn from the fit: its line, and normal deviations of covariance Σ."""
    builds, root = fitted.builds, np.linalg.cholesky(fitted.covariance)
    line = builds.design @ fitted.coefficients
    return [_refitted(builds, line + root @ rng.standard_normal(line.size), fitted.shape) for _ in range(DRAWS)]


def _refitted(builds: Builds, net: Floats, shape: Shape) -> Fit:
    return fit(Builds(replace(builds.noise, net=net), builds.recipes, builds.kld), shape)
