"""R²_true: the share of quants' true differences that lies along √KLD, free of item noise.

The estimand is finite: t'Pt / t'Ct of the true net scores t of these quants (C centres, P projects on centred √KLD).
Item noise is the only randomness, so no population of quants, prior or resampling enters. Noise is subtracted, not
counted as unexplained.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import optimize

from qkld.errors import StatisticsError
from qkld.statistics.items.covariance import NetNoise
from qkld.statistics.items.units import Floats
from qkld.statistics.noise.heterogeneity import known_kld, ridged

_GRID = np.linspace(0.0, 1.0, 201)


@dataclass(frozen=True)
class Explained:
    """The quadratic forms of net scores d, their noise V and x = centred √KLD of length 1, for every c at once.

    With A_c = P − cC, T_c = d'A_c d − tr(A_c V) is unbiased for t'A_c t, whose sign is that of R²_true − c.
    """

    net: Floats
    covariance: Floats
    axis: Floats

    @cached_property
    def _parts(self) -> dict[str, Floats]:
        """V-products that do not depend on c."""
        v, x = self.covariance, self.axis
        centred_v = v - v.mean(axis=0)
        return {
            "vx": v @ x,
            "cv": centred_v,
            "along": x * float(x @ self.net),
            "centred": self.net - self.net.mean(),
        }

    @property
    def slope(self) -> float:
        """x'd: below 0 where scores fall as KLD grows."""
        return float(self.axis @ self.net)

    @property
    def slope_z(self) -> float:
        """Standard errors of item noise by which scores rise with √KLD: x'd / √x'Vx."""
        return self.slope / float(np.sqrt(self.axis @ self._parts["vx"]))

    @property
    def along(self) -> float:
        """S_P = (x'd)² − x'Vx: unbiased for the true variation along √KLD."""
        return self.slope**2 - float(self.axis @ self._parts["vx"])

    @property
    def total(self) -> float:
        """S_C = d'Cd − tr(CV): unbiased for the true variation of the quants; at or below 0 where none is seen."""
        centred = self._parts["centred"]
        return float(centred @ centred) - float(np.trace(self._parts["cv"]))

    @property
    def estimate(self) -> float:
        """R²_true within 0 and 1; NaN where no true variation is seen, as there is nothing to explain then."""
        return float(np.clip(self.along / self.total, 0, 1)) if self.total > 0 else np.nan

    def variance_terms(self, c: Floats | float) -> tuple[Floats, Floats]:
        """Both terms of var T_c: 2 tr(A_cVA_cV), and 4 times the unbiased t'A_cVA_c t, not below 0."""
        c = np.asarray(c, dtype=float)
        p, x, v = self._parts, self.axis, self.covariance
        xvx, xvcvx = float(x @ p["vx"]), float(p["vx"] @ p["vx"]) - float(p["vx"].sum()) ** 2 / x.size
        traces = xvx**2 - 2 * c * xvcvx + c**2 * float((p["cv"] * p["cv"].T).sum())
        a, b = p["along"], p["centred"]
        seen = float(a @ v @ a) - 2 * c * float(a @ v @ b) + c**2 * float(b @ v @ b)
        return 2 * traces, 4 * np.maximum(0.0, seen - traces)

    def contrast(self, c: Floats | float) -> Floats:
        """T_c: above 0 where the estimate of R²_true lies above c."""
        return self.along - np.asarray(c, dtype=float) * self.total

    def z(self, c: Floats | float = 0.5) -> Floats:
        """z_c = T_c / √var T_c: standard errors by which R²_true lies above c."""
        return self.contrast(c) / np.sqrt(np.sum(self.variance_terms(c), axis=0))

    def interval(self, limit: float) -> tuple[float, float]:
        """All c within 0 and 1 with |z_c| ≤ limit, as their ends; the end it ran off, twice, where there is none."""
        z = self.z(_GRID)
        inside = np.flatnonzero(np.abs(z) <= limit)
        if not inside.size:
            return self._crossing(z)
        first, last = int(inside[0]), int(inside[-1])
        low = self._end(first - 1, first, limit) if first else 0.0
        high = self._end(last, last + 1, limit) if last < _GRID.size - 1 else 1.0
        return low, high

    def _crossing(self, z: Floats) -> tuple[float, float]:
        """No grid point inside: the interval lies beyond an end, or is narrower than the grid."""
        if z[-1] > 0:
            return 1.0, 1.0
        if z[0] < 0:
            return 0.0, 0.0
        c = float(np.clip(self.along / self.total, 0, 1))
        return c, c

    def _end(self, left: int, right: int, limit: float) -> float:
        return float(optimize.brentq(lambda c: abs(float(self.z(c))) - limit, _GRID[left], _GRID[right], xtol=1e-9))


def explained(noise: NetNoise, kld: np.ndarray) -> Explained:
    """R²_true of these quants' net scores along √KLD (nats, 0 allowed).

    √KLD stands for every smooth monotone curve: a loss in KLD itself has R² of .97 or more along it.

    Raises
    ------
    StatisticsError
        If KLD is constant, negative or missing, or there is no item noise.
    """
    root = np.sqrt(known_kld(kld))
    axis = root - root.mean()
    length = float(np.sqrt(axis @ axis))
    if np.ptp(root) == 0:
        raise StatisticsError(
            "KLD is constant.",
            expected=f"at least 2 distinct values among {root.size} quants",
            found=f"√KLD = {root[0]:g} for all",
            do="widen the subset",
        )
    return Explained(noise.net, ridged(noise.covariance), axis / length)
