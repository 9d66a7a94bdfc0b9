"""Variance components of builds: d_rb = a + β m_r + γ (√k_rb − m_r) + u_r + w_rb + e, e ~ N(0, V).

u ~ (0, σ_u²) is direction between recipes, w ~ (0, σ_w²) direction between builds at equal displacement. V is the
covariance that the shared items give all differences; items are never resampled here, as that would add V once more.
Fitted by restricted maximum likelihood with V given (Patterson and Thompson 1971, Biometrika 58:545), on contrasts
orthogonal to the design, so that it is the plain likelihood of what is left of the scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from scipy import optimize, stats

from qkld.errors import StatisticsError
from qkld.statistics.builds.design import Builds
from qkld.statistics.items.covariance import NetNoise
from qkld.statistics.items.units import Floats
from qkld.statistics.noise.dispersion import Scatter, dispersion
from qkld.statistics.noise.heterogeneity import Contrasts, contrasts, ridged

Shape = Literal["constant", "proportional"]
"""Of σ_w²: the same at every KLD, or in proportion to it."""

AT_ZERO = 1e-6
"""Share of the mean item noise below which a fitted variance is 0."""

STARTS = ((0.0, 0.0), (1.0, 0.1), (0.1, 1.0), (1.0, 1.0))
"""Variances between recipes and builds, over that of what the design leaves, from which the likelihood is climbed."""


def profile(builds: Builds, shape: Shape) -> Floats:
    """What σ_w² is multiplied by for each build: 1, or k_rb over the mean of all; (builds,)."""
    return np.ones(builds.kld.size) if shape == "constant" else builds.kld / builds.kld.mean()


@dataclass(frozen=True, eq=False)
class Fit:
    """Fitted components.

    Attributes
    ----------
    between, within : σ_u² and σ_w², squared fractions of 1, not below 0; the latter at the mean KLD where proportional
    log_likelihood : restricted, up to a constant that depends on the design alone
    """

    builds: Builds
    shape: Shape
    between: float
    within: float
    log_likelihood: float

    @cached_property
    def covariance(self) -> Floats:
        """Σ = V + σ_u² ZZᵀ + σ_w² D of the differences, (builds, builds)."""
        members = self.builds.members
        own = np.diag(self.within * profile(self.builds, self.shape))
        return ridged(self.builds.noise.covariance) + self.between * members @ members.T + own

    @cached_property
    def _solved(self) -> tuple[Floats, Floats]:
        design = self.builds.design
        weighted = np.linalg.solve(self.covariance, design)
        spread = np.linalg.inv(design.T @ weighted)
        return spread @ (weighted.T @ self.builds.noise.net), spread

    @property
    def coefficients(self) -> Floats:
        """a, β and, where builds differ in displacement, γ, by generalised least squares."""
        return self._solved[0]

    @property
    def coefficient_covariance(self) -> Floats:
        """Of `coefficients`, with the components as fitted."""
        return self._solved[1]

    def at_zero(self, variance: float) -> bool:
        """Whether a fitted variance was cut off at 0."""
        return variance <= AT_ZERO * float(np.trace(self.builds.noise.covariance)) / self.builds.kld.size


def fit(builds: Builds, shape: Shape = "constant") -> Fit:
    """Maximise the restricted likelihood over σ_u² ≥ 0 and σ_w² ≥ 0.

    Raises
    ------
    StatisticsError
        If no item tells any build from the reference, or builds are too few for the design.
    """
    noise, design = ridged(builds.noise.covariance), builds.design
    basis = np.linalg.qr(design, mode="complete")[0][:, design.shape[1] :]
    if basis.shape[1] < 2:
        raise StatisticsError(
            "Too few builds for two variance components.",
            expected=f"at least {design.shape[1] + 2} builds",
            found=f"{builds.kld.size}",
            do="add recipes and builds",
        )
    free = basis.T @ builds.noise.net
    unit = float(free @ free) / free.size + float(np.trace(noise)) / builds.kld.size
    parts = [builds.members @ builds.members.T, np.diag(profile(builds, shape))]
    rotated = [basis.T @ part @ basis for part in parts]
    left, fixed = free / np.sqrt(unit), basis.T @ noise @ basis / unit

    def climbed(variances: Floats) -> tuple[float, Floats]:
        """−2 × the restricted log-likelihood with its gradient, variances over ``unit``."""
        inverse = np.linalg.inv(fixed + variances[0] * rotated[0] + variances[1] * rotated[1])
        pulled = inverse @ left
        value = -np.linalg.slogdet(inverse)[1] + left @ pulled
        return value, np.array([np.sum(inverse * part) - pulled @ part @ pulled for part in rotated])

    found = [optimize.minimize(climbed, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * 2) for start in STARTS]
    best = min(found, key=lambda one: one.fun)
    likelihood = -0.5 * (float(best.fun) + left.size * np.log(unit))
    return Fit(builds, shape, float(best.x[0]) * unit, float(best.x[1]) * unit, likelihood)


# --- each component by itself -----------------------------------------------------------------------------------------


def within_moment(builds: Builds) -> float:
    """σ_w² from contrasts within recipes alone: (r'r − tr PV)/tr P with P the projection onto them.

    Unbiased and below 0 about as often as above where σ_w is 0: so it can be averaged, and is not cut off.
    """
    return _moment(builds.within)


def between_contrasts(builds: Builds, within: float, shape: Shape = "constant") -> Contrasts:
    """Contrasts of recipes' means orthogonal to a line in m_r, with the noise of items and of builds of variance σ_w².

    The noise counts as known here, as σ_w² is part of it; what it is as an estimate, `scatter_of_builds` says.
    """
    noise, averaging = builds.noise, builds.averaging
    covariance = averaging @ noise.covariance @ averaging.T + noise_of_builds(builds, within, shape)
    means = NetNoise(builds.names, averaging @ noise.net, covariance, noise.items, noise.units, noise.has_reference)
    return contrasts(means, builds.root_of_recipe)


def noise_of_builds(builds: Builds, within: float, shape: Shape = "constant") -> Floats:
    """Covariance that builds of variance σ_w² give the means of their recipes, (recipes, recipes)."""
    return builds.averaging * (within * profile(builds, shape)) @ builds.averaging.T


def scatter_of_builds(fitted: Fit) -> Scatter | None:
    """The noise of builds in recipes' means, as estimated within recipes; None where it was fitted as 0."""
    if fitted.at_zero(fitted.within):
        return None
    builds = fitted.builds
    return Scatter(noise_of_builds(builds, fitted.within), item_noise(builds) / fitted.within, builds.within.count)


def item_noise(builds: Builds) -> float:
    """Mean variance that items give a contrast within recipes, a squared fraction of 1."""
    return float((builds.within.projection * builds.noise.covariance).sum()) / builds.within.count


def between_moment(builds: Builds) -> float:
    """σ_u² from recipes' means about a line in m_r, unbiased and not cut off at 0; σ_w² is `within_moment`."""
    return _moment(between_contrasts(builds, within_moment(builds)))


def _moment(left: Contrasts) -> float:
    residual = left.projection @ left.noise.net
    noise = float((left.projection * left.noise.covariance).sum())
    return float((residual @ residual - noise) / np.trace(left.projection))


def variance_components(builds: Builds, *, confidence: float) -> pd.DataFrame:
    """σ_w and σ_u with intervals and tests; a row each, standard deviations as fractions of 1.

    Columns: component (``within`` recipes, ``between`` them), sd (restricted maximum likelihood), low, high (every sd
    that the contrasts of this component alone do not reject: a Q-profile, `noise.dispersion`), moment (the variance,
    unbiased and of either sign), p (of no such differences), test, contrasts, at_zero (whether sd was cut off at 0).
    Within recipes V counts as estimated from the items. Between them the noise holds the fitted σ_w², which p and the
    interval take for the estimate that it is.
    """
    fitted = fit(builds)
    between = between_contrasts(builds, fitted.within)
    rows = {
        "within": (builds.within, fitted.within, within_moment(builds)),
        "between": (between, fitted.between, between_moment(builds)),
    }
    return pd.DataFrame([_component(name, fitted, *row, confidence=confidence) for name, row in rows.items()])


def between_p(fitted: Fit, left: Contrasts) -> float:
    """P(recipes' means as far from a line by chance): Q over its contrasts against F, as σ_w² is an estimate itself.

    σ_w² is what builds of a recipe lie apart beyond their item noise v: its variance is 2 (σ_w² + v)²/ν, on the ν
    degrees of freedom within recipes. So the noise has ν/s² of them, s being σ_w²'s share in it times (σ_w² + v)/σ_w²
    (Satterthwaite 1946); where σ_w is fitted as 0, Q is χ². With σ_w² taken as known the size of the test is about .1
    in the calibration's worlds.
    """
    if fitted.at_zero(fitted.within):
        return left.p
    builds, within = fitted.builds, fitted.builds.within
    noise = float((left.projection * left.noise.covariance).sum())
    of_items = builds.averaging @ builds.noise.covariance @ builds.averaging.T
    of_builds = noise - float((left.projection * of_items).sum())
    share = of_builds / noise * (fitted.within + item_noise(builds)) / fitted.within
    return float(stats.f.sf(left.q() / left.count, left.count, within.count / share**2))


def _component(
    name: str, fitted: Fit, left: Contrasts, variance: float, moment: float, *, confidence: float
) -> dict[str, object]:
    scatter = scatter_of_builds(fitted) if name == "between" else None
    interval, tested = dispersion(left, confidence, scatter), left.tested
    p = tested.p if name == "within" else between_p(fitted, left)
    return {
        "component": name,
        "sd": np.sqrt(variance),
        "low": interval.low,
        "high": interval.high,
        "moment": moment,
        "p": p,
        "test": tested.test if name == "within" else "satterthwaite",
        "contrasts": left.count,
        "at_zero": fitted.at_zero(variance),
    }


def slopes(fitted: Fit, *, confidence: float) -> pd.DataFrame:
    """β and γ with standard errors and t intervals, fractions of 1 a √nat; without γ where builds have no spread.

    β has as many degrees of freedom as there are recipes beside a line, γ as there are contrasts within recipes.
    """
    free = {"beta": len(fitted.builds.names) - 2}
    if fitted.builds.has_spread:
        free["gamma"] = fitted.builds.within.count
    rows = []
    for place, (name, df) in enumerate(free.items(), start=1):
        estimate = float(fitted.coefficients[place])
        error = float(np.sqrt(fitted.coefficient_covariance[place, place]))
        reach = float(stats.t.ppf((1 + confidence) / 2, df)) * error
        p = float(2 * stats.t.sf(abs(estimate) / error, df))
        rows.append({"slope": name, "estimate": estimate, "se": error, "low": estimate - reach,
                     "high": estimate + reach, "p": p, "df": df})  # fmt: skip
    return pd.DataFrame(rows)


def shapes_of_within(builds: Builds) -> Mapping[Shape, Fit]:
    """The fit with σ_w² constant and the one with σ_w² ∝ k: as many parameters, so their likelihoods compare directly.

    From 8 to 3 bits it is not constant; where σ_w is 0 both are the same fit and nothing is said.
    """
    return {shape: fit(builds, shape) for shape in ("constant", "proportional")}
