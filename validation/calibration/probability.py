"""Tests of the second score, the probability of the right choice, in worlds where they have nothing to find.

An item has four choices with normal scores, the right one ahead. A quant's scores are noised in proportion to √KLD, a
fifth of the variance in common to all quants, by Student's t on 3 degrees of freedom: most items hardly move, and a few
carry the difference. Where quants are to be equal, each change of a probability has a random sign: mean differences are
0 exactly, whatever their size, and an item's change has the size that noise of this KLD gives it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np

from qkld.errors import StatisticsError
from qkld.statistics.flips.decision import holm_of_both
from qkld.statistics.items.covariance import NetNoise, composite_noise, noise_of_differences
from qkld.statistics.items.paired_means import PairedMeans, paired_means
from qkld.statistics.items.temperature import choices_of, explained_by_scale
from qkld.statistics.items.units import Floats
from qkld.statistics.noise.heterogeneity import cochran_q
from qkld.statistics.noise.verdict import CLAIMS, headline
from validation.calibration.correlation_nulls import Draw, Null
from validation.calibration.few_items import labels_of
from validation.calibration.worlds import draw_cohort

CHOICES = 4
SPREAD, AHEAD = 2.0, 1.5
"""Standard deviation of a choice's score and the lead of the right one, nats: right on 47 %, mean probability .43."""

FREE = 3.0
"""Degrees of freedom of the noise."""

MARGIN = 0.01
SCALES = (0.95, 1.05)
"""Scales of log-probabilities that 5-bit quants of SmolLM2-135M have on ARC-Easy, as a temperature."""


def reference_scores(items: int, *, rng: np.random.Generator) -> Floats:
    """Scores of the choices, (items, choices); the right one is the first."""
    scores = SPREAD * rng.standard_normal((items, CHOICES))
    scores[:, 0] += AHEAD
    return scores


def noised(scores: Floats, kld: Floats, *, rng: np.random.Generator) -> Floats:
    """Scores of each quant, (quants, items, choices)."""
    shape = (len(kld), *scores.shape)
    shared = rng.standard_t(FREE, shape[1:])
    noise = np.sqrt(0.2) * shared + np.sqrt(0.8) * rng.standard_t(FREE, shape)
    return scores + np.sqrt(kld)[:, None, None] * noise


def right_probability(scores: Floats) -> Floats:
    """Probability of the first choice, (…, items)."""
    below = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return below[..., 0] / below.sum(axis=-1)


def equal_differences(kld: Floats, items: int, *, rng: np.random.Generator) -> Floats:
    """Differences to the reference, (items, quants), whose true means are 0: each of random sign, half of them shared.

    Their excess kurtosis is 39 at a KLD of .003, 15 at .03 and 4 at .3.
    """
    scores = reference_scores(items, rng=rng)
    moved = right_probability(noised(scores, kld, rng=rng)) - right_probability(scores)
    own = rng.choice([-1.0, 1.0], size=moved.shape)
    common = rng.choice([-1.0, 1.0], size=items)
    together = rng.random(items) < 0.5
    return (np.abs(moved) * np.where(together, common, own)).T


def _klds(quants: int, rng: np.random.Generator) -> Floats:
    return draw_cohort("WN", quants, quants, rng=rng).kld


def _smallest(p: Floats) -> float:
    return min(1.0, p.size * float(p.min()))


# --- decisions --------------------------------------------------------------------------------------------------------


def _decided(quants: int, items: int, shift: float, p_of: Callable[[PairedMeans], Floats]) -> Draw:
    """The smallest p after Holm of quants whose true difference is ``shift``."""

    def draw(rng: np.random.Generator) -> float:
        moved = equal_differences(_klds(quants, rng), items, rng=rng) + shift
        return _smallest(p_of(paired_means({"task": moved})))

    return draw


def _equal_and_at_the_margin(quants: int, items: int) -> Draw:
    """The smallest adjusted p of a true hypothesis: half of the quants equal the reference, half are at the margin."""

    def draw(rng: np.random.Generator) -> float:
        shift = np.repeat([0.0, -MARGIN], quants)
        found = paired_means({"task": equal_differences(_klds(2 * quants, rng), items, rng=rng) + shift})
        difference, equivalent = holm_of_both(found.difference_p(), found.equivalence_p(MARGIN))
        return float(min(difference[:quants].min(), equivalent[quants:].min()))

    return draw


def _clustered(quants: int, clusters: int, each: int) -> Draw:
    """The same in clusters of items whose changes have one sign."""

    def draw(rng: np.random.Generator) -> float:
        groups = np.repeat(np.arange(clusters), each)
        moved = np.abs(equal_differences(_klds(quants, rng), clusters * each, rng=rng))
        signs = np.where(rng.random((clusters, quants)) < 0.5, -1.0, 1.0)
        mixed = np.where(rng.random(len(groups)) < 0.5, rng.choice([-1.0, 1.0], len(groups)), 1.0)
        return _smallest(
            paired_means({"task": moved * signs[groups] * mixed[:, None]}, {"task": groups}).difference_p()
        )

    return draw


# --- noise and verdict ------------------------------------------------------------------------------------------------


def _noise(kld: Floats, sizes: tuple[int, ...], rng: np.random.Generator) -> NetNoise:
    labels = labels_of(kld.size)
    parts = [noise_of_differences(f"task {i}", equal_differences(kld, n, rng=rng), labels) for i, n in enumerate(sizes)]
    return parts[0] if len(parts) == 1 else composite_noise(parts)


def _equal_p(quants: int, sizes: tuple[int, ...]) -> Draw:
    return lambda rng: cochran_q(_noise(_klds(quants, rng), sizes, rng)).p


def _claimed(quants: int, sizes: tuple[int, ...]) -> Draw:
    """0 where the verdict on equal quants claims something, else 1: its size is the share of claims."""

    def draw(rng: np.random.Generator) -> float:
        kld = _klds(quants, rng)
        return float(headline(_noise(kld, sizes, rng), kld)[0] not in CLAIMS)

    return draw


# --- one temperature --------------------------------------------------------------------------------------------------


def _beside_scale(items: int, scale: float, kld: float) -> Draw:
    """p of the rest of a quant that is as noisy as the reference, and sharper or flatter by ``scale`` alone."""

    def draw(rng: np.random.Generator) -> float:
        scores, right = reference_scores(items, rng=rng), np.zeros(items)
        reference, quant = (noised(scores, np.array([kld]), rng=rng)[0] for _ in range(2))
        sides = ({"task": choices_of(list(side), right)} for side in (reference, scale * quant))
        try:
            return float(explained_by_scale(*sides).rest.difference_p()[0])
        except StatisticsError:
            return 1.0

    return draw


def _every(items: int) -> int:
    """Of costly tests, on many items, one in four runs is done."""
    return 4 if items >= 2000 else 1


def probability_nulls() -> list[Null]:
    """Every test of the second score."""
    sizes = (100, 300, 2000)
    decided = {
        "t of probabilities, Holm over quants, any wrong": (0.0, PairedMeans.difference_p),
        "t equivalence of probabilities, Holm over quants, any wrong": (
            -MARGIN,
            lambda found: found.equivalence_p(MARGIN),
        ),
    }
    return [
        *(
            Null(test, f"{quants} quants, {items:,} items", _decided(quants, items, shift, p_of), every=_every(items))
            for (test, (shift, p_of)), quants, items in product(decided.items(), (4, 12), sizes)
        ),
        *(
            Null(
                "both t tests of every quant, Holm, any wrong",
                f"{n} quants equal and {n} at {MARGIN:g}, {items:,} items",
                _equal_and_at_the_margin(n, items),
                every=_every(items),
            )
            for n, items in product((2, 8), sizes)
        ),
        *(
            Null(
                "t of probabilities in clusters, Holm over quants, any wrong",
                f"4 quants, {clusters * each:,} items in {clusters} clusters",
                _clustered(4, clusters, each),
            )
            for clusters, each in ((15, 40), (57, 10))
        ),
        *(
            Null(test, f"{quants} quants, {' + '.join(map(str, own))} items", draw(quants, own), every=_every(sum(own)))
            for test, draw in {
                "Cochran's Q of probabilities, V from the items": _equal_p,
                "verdict by probabilities, a claim about equal quants": _claimed,
            }.items()
            for quants, own in product((6, 12), ((100,), (500,), (2000,), (300, 100)))
        ),
        *(
            Null(
                "t of what one temperature leaves",
                f"scale {scale:g}, {items:,} items, KLD {kld:g}",
                _beside_scale(items, scale, kld),
            )
            for items, scale, kld in product((150, 600), SCALES, (0.01, 0.1))
        ),
    ]
