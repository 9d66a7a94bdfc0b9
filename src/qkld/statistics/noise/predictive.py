"""What a perfect monotone KLD would show: the predictive range of ρ from the fitted curve and the item noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import paired_columns
from qkld.statistics.core.correlations_of_resamples import correlation, spearman_of_draws
from qkld.statistics.items.covariance import NetNoise
from qkld.statistics.items.units import Floats
from qkld.statistics.noise.heterogeneity import known_kld, ridged


def monotone_fit(noise: NetNoise, kld: ArrayLike) -> Floats:
    """Net scores (quants,) that fall with KLD, nearest the observed ones by weights 1/V_qq (isotonic regression).

    Measured from a reference they are capped at 0, the score of no divergence. Quants of one KLD get one value.
    """
    values, weights = known_kld(kld), 1 / np.diag(ridged(noise.covariance))
    _, group = np.unique(values, return_inverse=True)
    weight = np.bincount(group, weights)
    mean = np.bincount(group, weights * noise.net) / weight
    fitted = optimize.isotonic_regression(mean, weights=weight, increasing=False).x
    return (np.minimum(fitted, 0.0) if noise.has_reference else fitted)[group]


def noise_draws(noise: NetNoise, truth: Floats, draws: int, *, rng: np.random.Generator) -> Floats:
    """Net scores (draws, quants) on other items were ``truth`` the true ones: normal with the items' covariance."""
    root = np.linalg.cholesky(ridged(noise.covariance))
    return truth + rng.standard_normal((draws, truth.size)) @ root.T


@dataclass(frozen=True)
class PredictiveRange:
    """ρ that new items would show were the true scores monotone in KLD, and where the observed one lies.

    ``p``: share of draws at or above the observed ρ, the observed one counted; small where even noise does not explain
    so weak a fall. It keeps its size and finds little: the range is what to read.
    """

    observed: float
    low: float
    median: float
    high: float
    p: float


def predictive_range(
    noise: NetNoise,
    kld: ArrayLike,
    members: ArrayLike,
    *,
    draws: int,
    rng: np.random.Generator,
    coverage: float = 0.9,
) -> PredictiveRange:
    """Range of Spearman's ρ among ``members`` (bool, quants) under the monotone curve fitted to all quants.

    Central ``coverage`` of ``draws`` redrawn net scores. A plug-in range: the curve's own uncertainty is not in it.

    Raises
    ------
    StatisticsError
        If there are fewer than 2 distinct KLDs or scores among the members, or fewer quants than a correlation needs.
    """
    inside: NDArray[np.bool_] = np.asarray(members, dtype=bool)
    k = known_kld(kld)
    paired_columns(k[inside], noise.net[inside], names=("KLD", "score"))
    part = noise.of([label for label, kept in zip(noise.labels, inside, strict=True) if kept])
    observed = correlation(k[inside], part.net)
    rho = spearman_of_draws(k[inside], noise_draws(part, monotone_fit(noise, k)[inside], draws, rng=rng))
    if draws < 1 or np.isnan(rho).any():
        raise StatisticsError(
            "No simulated scores were requested.", expected="at least 1 draw", found=f"{draws}", do="use more draws"
        )
    low, median, high = np.quantile(rho, [(1 - coverage) / 2, 0.5, (1 + coverage) / 2])
    p = (1 + int((rho >= observed - 1e-12).sum())) / (1 + draws)
    return PredictiveRange(float(observed), float(low), float(median), float(high), p)
