"""What a single item weighs: how much of a score difference one item, or one cluster of items, makes.

An item of a benchmark of N weighs 1/N of its score, and 1/(B N) of the unweighted mean of B benchmarks. So on a
benchmark of few items a rounding that decides one answer can be most of what a quant differs by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qkld.statistics.items.units import Floats, unit_sums

Clusters = Mapping[str, np.ndarray] | None

MOST = 0.5
"""Share of a difference above which one item is said to make it."""


@dataclass(frozen=True)
class OnePart:
    """The item, or cluster of items, that moves each quant's net score most in the direction of that net.

    Attributes
    ----------
    net, part : shape (quants,)
        The net score and what of it the item makes, fractions of 1 of equal sign; both 0 where the net is 0.
    unit
        ``item``, or ``cluster of items``.
    """

    net: Floats
    part: Floats
    unit: str

    @property
    def share(self) -> Floats:
        """``part`` as a share of the net: above 1 where the rest points the other way, NaN where the net is 0."""
        return np.divide(self.part, self.net, out=np.full(self.net.shape, np.nan), where=self.net != 0)

    def notes(self) -> list[str]:
        """For each quant: what one item makes of its difference, where that is more than `MOST`; else empty."""
        return [
            f"one {self.unit} makes {points(part)} of {points(net)} points" if share > MOST else ""
            for net, part, share in zip(self.net, self.part, self.share, strict=True)
        ]


@dataclass(frozen=True)
class LargestPart(OnePart):
    """That of answers right or wrong.

    Attributes
    ----------
    leapfrogs, drops : shape (quants, tasks)
        The item's own flips, so that what is left without it can be counted.
    """

    leapfrogs: Floats
    drops: Floats


def points(fraction: float) -> str:
    """A signed fraction of 1 in points, two decimals."""
    return f"{100 * fraction:+.2f}".replace("-", "−")


def item_weight(moved: Mapping[str, np.ndarray], clusters: Clusters = None) -> float:
    """The most that one item, or one cluster of items, weighs in the mean score of these tasks, a fraction of 1."""
    shares = [_units(np.ones((len(d), 1)), task, clusters).max() / len(d) for task, d in moved.items()]
    return float(max(shares)) / len(shares)


def largest_part(moved: Mapping[str, np.ndarray], clusters: Clusters = None) -> LargestPart:
    """What one item makes of each quant's net score on the unweighted mean of tasks.

    Parameters
    ----------
    moved : task → D of shape (items, quants): 1 leapfrog, −1 drop, 0 the same answer as the reference's
    clusters : task → the cluster of each item, where items are drawn in clusters
    """
    net = np.mean([d.mean(axis=0) for d in moved.values()], axis=0)
    quants, tasks = np.arange(net.size), len(moved)
    part, up, down = np.zeros(net.size), np.zeros((net.size, tasks)), np.zeros((net.size, tasks))
    for place, (task, d) in enumerate(moved.items()):
        gained, lost = (_units(sign * d > 0, task, clusters) for sign in (1, -1))
        made = (gained - lost) / (len(d) * tasks)
        unit = (made * np.sign(net)).argmax(axis=0)
        larger = np.sign(net) * (made[unit, quants] - part) > 0
        part = np.where(larger, made[unit, quants], part)
        up[larger], down[larger] = 0, 0
        up[larger, place], down[larger, place] = gained[unit, quants][larger], lost[unit, quants][larger]
    return LargestPart(net, part, _unit_name(moved, clusters), up, down)


def largest_change(moved: Mapping[str, np.ndarray], clusters: Clusters = None) -> OnePart:
    """What one item makes of each quant's net on the unweighted mean of tasks, where an item's change is a number.

    ``moved`` : task → D of shape (items, quants), differences of the items' scores to the reference's.
    """
    net = np.mean([d.mean(axis=0) for d in moved.values()], axis=0)
    made = [np.sign(net) * _units(d, task, clusters) / (len(d) * len(moved)) for task, d in moved.items()]
    largest = np.max([own.max(axis=0) for own in made], axis=0)
    return OnePart(net, np.sign(net) * np.maximum(largest, 0), _unit_name(moved, clusters))


def _unit_name(moved: Mapping[str, np.ndarray], clusters: Clusters) -> str:
    return "item" if drawn_one_by_one(moved, clusters) else "cluster of items"


def drawn_one_by_one(moved: Mapping[str, np.ndarray], clusters: Clusters) -> bool:
    """Whether every item of these tasks is a unit by itself."""
    return clusters is None or all(np.unique(clusters[task]).size == len(d) for task, d in moved.items())


def _units(values: np.ndarray, task: str, clusters: Clusters) -> Floats:
    return unit_sums(values, None if clusters is None else clusters[task])
