"""Simulated cohorts whose truth is known: quants as noise on the margins of items.

An item is answered right where its margin is above 0. The reference's margins are m ~ N(Φ⁻¹(.75), 1), so it is right
on three items of four. A quant adds noise of standard deviation s = 1.18 √KLD, a fifth of whose variance all quants
share, and a drift:

=====  ==========================  =====================================================
world  drift                       true scores
=====  ==========================  =====================================================
WN     Φ⁻¹(.75) (√(1 + s²) − 1)    equal: the drift makes up for the loss, no differences
W0     0                           fall with KLD, to second order only
W1     .15 s z                     sized by KLD, of random sign: KLD lacks direction
W2     −.25 s                      fall with √KLD
W3:a   −.25 s + a s z              between W2 and W1: the larger a, the smaller R²_true
=====  ==========================  =====================================================

z ~ N(0, 1) anew for each quant. KLD is log-uniform on .003 to .6 nats; the zone is the lowest few of the cohort.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special, stats

from qkld.statistics.items.units import Floats

RIGHT = 0.75
"""Share of items that the reference has right."""

MARGIN = float(stats.norm.ppf(RIGHT))
NOISE_PER_ROOT_KLD = 1.18
"""Standard deviation of the margin's noise by √KLD: 3 % flips at a KLD of .01, 9.5 % at .1."""

SHARED = 0.2
"""Share of the noise variance that all quants have in common on an item."""

KLD_RANGE = (0.003, 0.6)

BROKEN = -0.03
"""Net score by which a broken file stands apart, a fraction of 1."""

WORLDS = ("WN", "W0", "W1", "W2", "W3:.03", "W3:.05", "W3:.08", "W3:.12")
ZONES = ((28, 12), (41, 16))
"""Quants of the cohort, and those of them in the zone: the sizes of the two cohorts of arXiv:2606.19558."""

ITEMS = (500, 1000, 2000, 4000, 8000, 16000)

_HALF_MARGINS, _HALF_WEIGHTS = np.polynomial.legendre.leggauss(60)
_SHARED_NODES, _SHARED_WEIGHTS = np.polynomial.hermite_e.hermegauss(9)


@dataclass(frozen=True)
class Cohort:
    """Quants of one simulated zone: their KLD (nats, ascending) and the drift of each one's margins."""

    world: str
    kld: Floats
    drift: Floats

    @property
    def scale(self) -> Floats:
        """Standard deviation of each quant's noise on a margin."""
        return NOISE_PER_ROOT_KLD * np.sqrt(self.kld)

    @cached_property
    def net(self) -> Floats:
        """True net scores: expected share right minus the reference's."""
        return special.ndtr((MARGIN + self.drift) / np.sqrt(1 + self.scale**2)) - RIGHT

    @cached_property
    def item_covariance(self) -> Floats:
        """Covariance over items of right − reference right (quants, quants), by quadrature; / N that of net scores.

        Gauss–Legendre over both halves of the margin, where the reference's answer is constant, times Gauss–Hermite
        over the shared noise.
        """
        s, drift = self.scale, self.drift
        reach = 0.5 * (7 * s.max() + np.abs(drift).max())
        half = reach * (_HALF_MARGINS + 1)
        margins = np.concatenate([-half[::-1], half])
        density = reach * np.concatenate([_HALF_WEIGHTS[::-1], _HALF_WEIGHTS]) * stats.norm.pdf(margins - MARGIN)
        shared = s * np.sqrt(SHARED) * _SHARED_NODES[:, None]
        right = special.ndtr((margins[:, None, None] + drift + shared) / (s * np.sqrt(1 - SHARED)))
        moved = (right - (margins > 0)[:, None, None]).reshape(-1, self.kld.size)
        weights = (density[:, None] * _SHARED_WEIGHTS / _SHARED_WEIGHTS.sum()).ravel()[:, None]
        second = (moved * weights).T @ moved
        np.fill_diagonal(second, (np.abs(moved) * weights).sum(axis=0))
        return second - np.outer(self.net, self.net)

    def answers(
        self,
        items: int,
        *,
        rng: np.random.Generator,
        clusters: np.ndarray | None = None,
        margins_alike: float = 0.0,
        noise_alike: float = 0.0,
    ) -> np.ndarray:
        """Right or wrong on freshly drawn items, bool, (items, 1 + quants); the first column is the reference's.

        Items of one of the ``clusters`` (items,) have these shares of the variance of margins, and of each quant's own
        noise, in common.
        """
        margin = MARGIN + _alike(margins_alike, clusters, (items,), rng)
        shared, own = rng.standard_normal(items), _alike(noise_alike, clusters, (items, self.kld.size), rng)
        noise = self.scale * (np.sqrt(SHARED) * shared[:, None] + np.sqrt(1 - SHARED) * own)
        return np.column_stack([margin > 0, margin[:, None] + self.drift + noise > 0])


def _alike(share: float, clusters: np.ndarray | None, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Standard normal numbers of which each cluster has ``share`` of the variance in common."""
    own = rng.standard_normal(shape)
    if clusters is None:
        return own
    common = rng.standard_normal((int(clusters.max()) + 1, *shape[1:]))
    return np.sqrt(share) * common[clusters] + np.sqrt(1 - share) * own


def cohort_of_scores(net: Floats, kld: Floats) -> Cohort:
    """Quants of these KLDs whose true net scores are these, each above −`RIGHT` and below 1 − `RIGHT`."""
    spread = np.sqrt(1 + NOISE_PER_ROOT_KLD**2 * kld)
    return Cohort("given scores", kld, special.ndtri(RIGHT + net) * spread - MARGIN)


def draw_cohort(world: str, size: int, zone: int, *, rng: np.random.Generator) -> Cohort:
    """The zone of a fresh cohort: the ``zone`` lowest KLDs of ``size``, and new drifts."""
    low, high = np.log(KLD_RANGE)
    kld = np.sort(np.exp(rng.uniform(low, high, size)))[:zone]
    return Cohort(world, kld, _drift(world, NOISE_PER_ROOT_KLD * np.sqrt(kld), rng.standard_normal(zone)))


def _drift(world: str, scale: Floats, z: Floats) -> Floats:
    if world == "WN":
        return MARGIN * (np.sqrt(1 + scale**2) - 1)
    if world == "W0":
        return 0 * scale
    if world == "W1":
        return 0.15 * scale * z
    if world == "W2":
        return -0.25 * scale
    if world.startswith("W3:"):
        return -0.25 * scale + float(world.removeprefix("W3:")) * scale * z
    raise ValueError(f"no world {world!r}: one of {WORLDS}")


def true_r2(net: Floats, kld: Floats) -> tuple[float, float]:
    """R²_true of true net scores along √KLD, and the sign of their slope; NaN and 0 where they do not differ."""
    t, x = net - net.mean(), np.sqrt(kld) - np.sqrt(kld).mean()
    if t @ t < 1e-20:
        return np.nan, 0.0
    return float((t @ x) ** 2 / ((t @ t) * (x @ x))), float(np.sign(t @ x))
