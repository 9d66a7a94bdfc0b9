"""Differences between quants beyond item noise, and what is left of them once KLD has explained its part.

Meta-regression with correlated noise: net = Xb + u + e, e ~ N(0, V) item noise, u what X does not explain. Everything
is computed on contrasts orthogonal to X; how they are tested depends on what V was estimated from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import checked_kld
from qkld.statistics.items.covariance import NetNoise
from qkld.statistics.items.units import Floats
from qkld.statistics.noise.contrast_tests import Tested, TestName, hotelling_p, invertible, satterthwaite_df, sign_flip

RANK = 1e-10
"""Share of the largest variance below which a contrast has no item noise but rounding."""

CERTAIN = 1e-6
"""Share of the largest net score beyond which a contrast without item noise is not 0 by rounding."""

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
            "KLD is missing for some quants.",
            expected=f"a finite number for each of {values.size} quants",
            found=f"{int(bad.sum())} missing or not finite",
            do="measure these quants, or leave them out",
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
            "The logarithm of a KLD of 0 is not defined.",
            expected="KLD above 0 for every quant",
            found=f"{zeros} of {values.size} at 0",
            do="use the shapes linear and sqrt, or leave out quants with KLD 0",
        )
    return SHAPES[shape](values)


@dataclass(frozen=True, eq=False)
class Contrasts:
    """What is left of net scores orthogonal to a design: ``basis`` (quants, contrasts), orthonormal columns."""

    noise: NetNoise
    basis: Floats

    @property
    def count(self) -> int:
        return self.basis.shape[1]

    @cached_property
    def projection(self) -> Floats:
        """Onto the contrasts, (quants, quants): what a least-squares fit of the design leaves."""
        return self.basis @ self.basis.T

    @cached_property
    def _rotated(self) -> tuple[Floats, Floats, Floats]:
        """Directions (quants, rank) in which contrasts are independent with item noise of variance 1, net scores along
        them, and net scores along those without noise.

        Quants that answer every item alike have no noise between them, and U items give no more than U directions any.
        """
        self.check_noise()
        variances, rotation = np.linalg.eigh(self.basis.T @ self.noise.covariance @ self.basis)
        noisy, directions = variances > RANK * variances.max(), self.basis @ rotation
        scaled = directions[:, noisy] / np.sqrt(variances[noisy])
        return scaled, scaled.T @ self.noise.net, directions[:, ~noisy].T @ self.noise.net

    @cached_property
    def _shares(self) -> list[Floats]:
        """What each benchmark adds to the variance 1 of the noisy directions: matrices V_b V⁻¹ but for a rotation."""
        directions = self._rotated[0]
        return [directions.T @ part.covariance @ directions for part in self.noise.parts]

    @property
    def df(self) -> float:
        """Degrees of freedom ν of V, of a composite by Satterthwaite; infinite where V is known."""
        parts = self.noise.parts
        return satterthwaite_df(self._shares, [part.count - 1 for part in parts]) if parts else np.inf

    def q(self) -> float:
        """Cochran's Q = r'V⁻¹r, r the least-squares residuals: Hotelling's T² where V is estimated from the items."""
        return float((self._rotated[1] ** 2).sum())

    @cached_property
    def test(self) -> TestName:
        """The test that the items allow: χ² only where V is known, sign flips where V cannot be inverted."""
        parts = self.noise.parts
        if not parts:
            return "chi-square"
        if self._certain or not invertible(parts, self._shares, self._rotated[1].size):
            return "sign-flip"
        return "hotelling" if len(parts) == 1 else "satterthwaite"

    @property
    def _certain(self) -> bool:
        """Whether a contrast without any item noise is not 0."""
        return bool(np.abs(self._rotated[2]).max(initial=0.0) > CERTAIN * np.abs(self.noise.net).max())

    @cached_property
    def tested(self) -> Tested:
        """Whether item noise may be all that the design leaves.

        Raises
        ------
        StatisticsError
            As `check_noise`.
        """
        if self.test == "sign-flip":
            return sign_flip(self.noise, self.projection)
        q, rank = np.inf if self._certain else self.q(), self._rotated[1].size
        p = special.chdtrc(rank, q) if self.test == "chi-square" else hotelling_p(q, rank, self.df)
        return Tested(self.test, q, float(p))

    @property
    def p(self) -> float:
        """p of `tested`."""
        return self.tested.p

    def check_noise(self) -> None:
        """Refuse quants that no item tells from each other.

        Raises
        ------
        StatisticsError
            Saying what would be needed.
        """
        between = float((self.projection * self.noise.covariance).sum())
        if not between > RANK * float(np.trace(self.noise.covariance)):
            raise StatisticsError(
                "There is no item noise between the quants.",
                expected="items that some of these quants answer right and others wrong",
                found="none",
                do="use more items or other quants",
            )


def contrasts(noise: NetNoise, predictor: ArrayLike | None = None) -> Contrasts:
    """Net scores orthogonal to an intercept and, where given, a predictor (quants,).

    Raises
    ------
    StatisticsError
        If there are too few quants, or the predictor is constant.
    """
    n = len(noise.labels)
    columns = [np.ones(n)] if predictor is None else [np.ones(n), np.asarray(predictor, dtype=float)]
    if n < len(columns) + 1:
        raise StatisticsError(
            "Too few quants for differences beyond noise.",
            expected=f"at least {len(columns) + 1} quants",
            found=f"{n}",
            do="measure more quants, or widen the subset",
        )
    if predictor is not None and np.ptp(columns[1]) == 0:
        raise StatisticsError(
            "The metric is constant.",
            expected="at least 2 distinct values",
            found=f"{columns[1][0]:g} for all {n} quants",
            do="widen the subset",
        )
    complement = np.linalg.qr(np.stack(columns, axis=1), mode="complete")[0][:, len(columns) :]
    return Contrasts(noise, complement)


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
            "There is no item noise: every quant answers every item as the reference does.",
            expected="items on which some quants differ",
            found="none",
            do="use more items or other quants",
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
