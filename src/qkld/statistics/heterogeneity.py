"""Differences between quants beyond item noise, and what is left of them once KLD has explained its part.

Meta-regression with known, correlated noise: net = Xb + u + e, e ~ N(0, V) item noise, u ~ N(0, τ²I) what X does not
explain. Everything is computed on contrasts orthogonal to X, where the covariance is Λ + τ²I after one rotation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

from qkld.errors import StatisticsError, explain
from qkld.statistics.checks import checked_kld
from qkld.statistics.covariance import Floats, NetNoise

RIDGE = 1e-9
"""Share of the mean variance put on the diagonal: two quants that answer every item alike have no noise between."""

SHAPES: Mapping[str, object] = {"linear": lambda k: k, "sqrt": np.sqrt, "log": np.log}
"""Curves of the net score in KLD that residual heterogeneity is tested against, each beside an intercept."""


def known_kld(kld: ArrayLike) -> Floats:
    """KLD of quants in nats, none missing; what lies below 0 by no more than rounding is 0.

    Raises
    ------
    StatisticsError
        If a value is missing or not finite, or as `checks.checked_kld`.
    """
    values = checked_kld(kld)
    bad = ~np.isfinite(values)
    if bad.any():
        raise StatisticsError(
            explain(
                "KLD is not known for every quant.",
                expected=f"a finite number for each of {values.size} quants",
                found=f"{int(bad.sum())} missing or not finite",
                do="measure those quants, or leave them out by name",
            )
        )
    return values


def shape_values(shape: str, kld: ArrayLike) -> Floats:
    """A curve of `SHAPES` at each KLD.

    Raises
    ------
    StatisticsError
        If the shape is ``log`` and a KLD is 0: it has no logarithm; the message counts them.
    """
    values = known_kld(kld)
    zeros = int((values == 0).sum())
    if shape == "log" and zeros:
        raise StatisticsError(
            explain(
                "A KLD of 0 has no logarithm.",
                expected="KLD above 0 for every quant",
                found=f"{zeros} of {values.size} at 0",
                do="use the shapes linear and sqrt, or leave quants without any divergence out",
            )
        )
    return SHAPES[shape](values)


@dataclass(frozen=True)
class Contrasts:
    """What is left of net scores orthogonal to a design: ``values`` independent with variances ``noise`` + τ²."""

    values: Floats
    noise: Floats

    @property
    def df(self) -> int:
        return self.values.size

    def q(self, tau2: float = 0.0) -> float:
        """Generalised Q(τ²) = r'(V + τ²I)⁻¹r, r the least-squares residuals; χ² on ``df`` at the true τ²."""
        return float((self.values**2 / (self.noise + tau2)).sum())

    @property
    def p(self) -> float:
        """P(Q ≥ the one seen) if item noise were all that the design leaves."""
        return float(special.chdtrc(self.df, self.q()))


def contrasts(noise: NetNoise, predictor: ArrayLike | None = None) -> Contrasts:
    """Net scores orthogonal to an intercept and, where given, a predictor (quants,).

    Raises
    ------
    StatisticsError
        If there are too few quants, the predictor is constant, or there is no item noise at all.
    """
    n = len(noise.labels)
    columns = [np.ones(n)] if predictor is None else [np.ones(n), np.asarray(predictor, dtype=float)]
    if n < len(columns) + 1:
        raise StatisticsError(
            explain(
                "Too few quants for differences beyond noise.",
                expected=f"at least {len(columns) + 1} quants",
                found=f"{n}",
                do="measure more quants, or widen the subset",
            )
        )
    if predictor is not None and np.ptp(columns[1]) == 0:
        raise StatisticsError(
            explain(
                "The metric is constant.",
                expected="at least 2 distinct values",
                found=f"{columns[1][0]:g} for all {n} quants",
                do="widen the subset",
            )
        )
    complement = np.linalg.qr(np.stack(columns, axis=1), mode="complete")[0][:, len(columns) :]
    variances, rotation = np.linalg.eigh(complement.T @ ridged(noise.covariance) @ complement)
    return Contrasts(rotation.T @ (complement.T @ noise.net), variances)


def ridged(covariance: Floats) -> Floats:
    """A covariance with `RIDGE` times its mean variance on the diagonal.

    Raises
    ------
    StatisticsError
        If all variances are 0: no item tells any quant from the reference.
    """
    mean = float(np.trace(covariance)) / len(covariance)
    if not mean > 0:
        raise StatisticsError(
            explain(
                "There is no item noise: every quant answers every item as the reference does.",
                expected="items on which some quants differ",
                found="none",
                do="use more items or other quants",
            )
        )
    return covariance + RIDGE * mean * np.eye(len(covariance))


def cochran_q(noise: NetNoise) -> Contrasts:
    """Cochran's (1954) Q of equal true scores, generalised least squares under the item noise, on n − 1 contrasts."""
    return contrasts(noise)


def residual_heterogeneity(noise: NetNoise, kld: ArrayLike) -> dict[str, Contrasts]:
    """What each of `SHAPES` leaves unexplained; a shape that is not defined at a KLD of 0 is left out.

    Q_res asks whether KLD explains all true differences. With enough items it rejects a KLD that explains most of
    them, so it is reported and decides nothing.
    """
    values = known_kld(kld)
    shapes = [shape for shape in SHAPES if shape != "log" or (values > 0).all()]
    return {shape: contrasts(noise, shape_values(shape, values)) for shape in shapes}


@dataclass(frozen=True)
class Dispersion:
    """Standard deviation τ of true differences, a fraction of 1, with its interval."""

    estimate: float
    low: float
    high: float


def dispersion(left: Contrasts, confidence: float) -> Dispersion:
    """τ by Paule and Mandel (1982), Q(τ²) = df, with the Q-profile interval of Viechtbauer (2007).

    The interval holds every τ ≥ 0 that a χ² test of Q(τ²) does not reject; it is 0 to 0 where scores lie closer
    together than noise alone would put them.
    """
    tail = (1 - confidence) / 2
    targets = (left.df, *(stats.chi2.isf(tail, left.df), stats.chi2.ppf(tail, left.df)))
    return Dispersion(*(float(np.sqrt(_tau2_at(left, target))) for target in targets))


def _tau2_at(left: Contrasts, target: float) -> float:
    """The τ² ≥ 0 with Q(τ²) = target; 0 where Q is below it at 0 already. Q falls as τ² grows."""
    if left.q() <= target:
        return 0.0
    above = float((left.values**2).sum()) / target
    return float(optimize.brentq(lambda t: left.q(t) - target, 0.0, above, xtol=1e-18, rtol=1e-12))


def least_dispersion(noise: NetNoise, *, predictors: int = 1, level: float = 0.05, power: float = 0.8) -> float:
    """Smallest τ that Q finds with the given power: s √(χ²_{1−level}/χ²_{1−power} − 1), s² = tr(CV)/(n − 1).

    ``predictors`` beside the intercept. Exact for noise of one variance and one correlation, near that otherwise.
    """
    n = len(noise.labels)
    df = n - 1 - predictors
    if df < 1:
        raise StatisticsError(
            explain(
                "Too few quants for the least dispersion that can be seen.",
                expected=f"at least {predictors + 2} quants",
                found=f"{n}",
                do="measure more quants, or widen the subset",
            )
        )
    contrast = (np.trace(noise.covariance) - noise.covariance.sum() / n) / (n - 1)
    ratio = stats.chi2.isf(level, df) / stats.chi2.isf(power, df)
    return float(np.sqrt(contrast * (ratio - 1)))
