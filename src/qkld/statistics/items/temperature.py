"""What of a difference of probabilities is temperature: the reference made as sharp as the quant, and the rest.

Multiplying all of a model's choice scores by one number changes no answer and moves the probability of the right choice
all the same. So the reference's scores are multiplied by the number that gives them the quant's mean entropy; what that
does to the probability is the part that scale explains. The number is fitted on some items and applied to the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from qkld.errors import StatisticsError
from qkld.statistics.items.paired_means import Clusters, PairedMeans, paired_means
from qkld.statistics.items.probability import log_probabilities
from qkld.statistics.items.units import Floats

FOLDS = 5
"""Parts of the items; the scale for one is fitted on the others."""

LARGEST_SCALE = 50.0
"""Scales from 1/50 to 50 are tried: beyond that one model's choices are all alike, or all sure."""

ROUNDING = 1e-6
"""Mean probabilities below this are rounding: scores are stored in single precision."""


@dataclass(frozen=True)
class Choices:
    """Scores of the choices of one task's items under one model: (items, choices), −inf where an item has fewer."""

    scores: Floats
    right: np.ndarray

    def of(self, rows: np.ndarray) -> Choices:
        """The same for some items."""
        return Choices(self.scores[rows], self.right[rows])

    def log_probabilities(self, scale: float) -> Floats:
        """ln p of each choice at this scale."""
        scaled = np.where(np.isfinite(self.scores), scale * self.scores, -np.inf)
        return log_probabilities(scaled)

    def right_at(self, scale: float) -> Floats:
        """Probability of the right choice of each item at this scale."""
        return np.exp(self.log_probabilities(scale)[np.arange(len(self.right)), self.right])

    def entropy(self, scale: float = 1.0) -> Floats:
        """Entropy of each item's choices at this scale, nats."""
        logp = self.log_probabilities(scale)
        return -(np.exp(logp) * np.where(np.isfinite(logp), logp, 0.0)).sum(axis=1)

    @property
    def taken(self) -> np.ndarray:
        """The choice of the highest score of each item, the first of equal ones."""
        return self.scores.argmax(axis=1)


def choices_of(scores: Sequence[ArrayLike], right: ArrayLike) -> Choices:
    """From a list of scores an item, of any lengths."""
    widest = max(len(s) for s in scores)
    padded = np.full((len(scores), widest), -np.inf)
    for row, own in enumerate(scores):
        padded[row, : len(own)] = own
    return Choices(padded, np.asarray(right, dtype=int))


Tasks = Mapping[str, Choices]


def fitted_scale(reference: Tasks, quant: Tasks) -> float:
    """The scale of the reference's scores at which its mean entropy, over items and then tasks, is the quant's.

    Raises
    ------
    StatisticsError
        If there is none from 1/50 to 50, or if it cannot be told because no scale changes any choice's probability.
    """
    wanted = np.mean([choices.entropy().mean() for choices in quant.values()])

    def above(log_scale: float) -> float:
        at = np.exp(log_scale)
        return float(np.mean([choices.entropy(at).mean() for choices in reference.values()]) - wanted)

    ends = -np.log(LARGEST_SCALE), np.log(LARGEST_SCALE)
    if above(ends[0]) < 0 or above(ends[1]) > 0:
        raise StatisticsError(
            "No temperature gives the reference the entropy of a quant.",
            expected=f"a scale of log-probabilities from {1 / LARGEST_SCALE:g} to {LARGEST_SCALE:g}",
            found=f"a mean entropy of {wanted:.4g} nats",
            do="leave out quants whose choices all have the same probability",
        )
    if wanted == 0 or above(ends[0]) == above(ends[1]):
        raise StatisticsError(
            "The temperature is not identifiable: all choices are certain, or all have the same probability.",
            expected="probabilities of an item's choices that differ and lie between 0 and 1",
            found=f"a mean entropy of {wanted:.4g} nats at more than one scale",
            do="give log-probabilities of the choices, not answers as 0 and 1",
        )
    return float(np.exp(optimize.brentq(above, *ends, xtol=1e-13, rtol=1e-13)))


@dataclass(frozen=True)
class Explained:
    """The part of one quant's difference that scale explains, the rest, the scale, and how many choices changed."""

    scale: float
    by_scale: PairedMeans
    rest: PairedMeans
    changed: int


def explained_by_scale(reference: Tasks, quant: Tasks, clusters: Clusters = None) -> Explained:
    """A quant's difference of probabilities as what one cross-fitted scale of the reference explains, and the rest.

    Items are put into `FOLDS` parts in turn, whole clusters of them. Errors hold that of the scale itself: an item's
    influence on it is its difference of entropies over the slope of the mean entropy (infinitesimal jackknife).
    """
    folds = {task: _folds(len(c.right), None if clusters is None else clusters[task]) for task, c in reference.items()}
    whole = fitted_scale(reference, quant)
    scaled = {task: np.empty(len(choices.right)) for task, choices in reference.items()}
    for fold in range(FOLDS):
        others = {task: part != fold for task, part in folds.items()}
        scale = fitted_scale(*({t: c.of(others[t]) for t, c in side.items()} for side in (reference, quant)))
        for task, choices in reference.items():
            scaled[task][~others[task]] = choices.of(~others[task]).right_at(scale)
    influence = _influence(reference, quant, whole)
    by_scale = {task: scaled[task] - c.right_at(1.0) for task, c in reference.items()}
    rest = {task: c.right_at(1.0) - scaled[task] for task, c in quant.items()}
    return Explained(
        whole,
        _with_scale(by_scale, influence, 1.0, clusters),
        _with_scale(rest, influence, -1.0, clusters),
        int(sum((c.taken != quant[task].taken).sum() for task, c in reference.items())),
    )


def _with_scale(parts: Mapping[str, Floats], influence: Mapping[str, Floats], sign: float, clusters: Clusters):
    """The mean of ``parts`` with the error of their sum with the scale's ``influence``, whose own mean is 0."""
    net = np.mean([part.mean() for part in parts.values()])
    spread = {task: (part + sign * influence[task])[:, None] for task, part in parts.items()}
    found = paired_means(spread, clusters)
    return PairedMeans(np.array([net]), found.error, found.df)


def _influence(reference: Tasks, quant: Tasks, scale: float) -> dict[str, Floats]:
    """What each item adds to the probability that the reference has at the fitted scale, through that scale alone."""
    step = 1e-4

    def slope(of_choices) -> float:
        ends = [np.mean([of_choices(c, scale * np.exp(s)).mean() for c in reference.values()]) for s in (step, -step)]
        return float(ends[0] - ends[1]) / (2 * step)

    gain = slope(Choices.right_at) / slope(Choices.entropy)
    return {task: gain * (quant[task].entropy() - choices.entropy(scale)) for task, choices in reference.items()}


def _folds(items: int, clusters: np.ndarray | None) -> np.ndarray:
    """The part that each item belongs to, in turn."""
    if clusters is None:
        return np.arange(items) % FOLDS
    return np.unique(np.asarray(clusters), return_inverse=True)[1] % FOLDS
