"""What is drawn independently: items, or clusters of them, with what sign flips of them do to net scores.

Where true scores are equal, a unit's differences between quants are as likely to have the opposite sign. Scores under
random signs of whole units (one sign for all quants) so show the noise of every contrast between quants, without a
covariance that would have to be inverted: it serves as few units as there are.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qkld.errors import StatisticsError

Floats = NDArray[np.float64]

FLIPS = 1999
"""Random sign flips of a test: with the observed signs 2,000, so that a level of 5 % is met exactly."""

_SIGNS_AT_ONCE = 4_000_000
"""Signs held at once: 16 MB in single precision."""


def unit_sums(values: ArrayLike, clusters: ArrayLike | None = None) -> Floats:
    """Sums of the rows of ``values`` (items, quants) within each cluster, shape (clusters, quants); rows where None."""
    values = np.asarray(values, dtype=float)
    if clusters is None:
        return values
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    if index.size != len(values):
        raise StatisticsError(
            "Clusters and items do not match.",
            expected=f"one cluster for each of {len(values)} items",
            found=f"{index.size} clusters",
            do="name one cluster per item",
        )
    sums = np.zeros((int(index.max()) + 1, values.shape[1]))
    np.add.at(sums, index, values)
    return sums


def effective_units(sizes: ArrayLike) -> float:
    """Units of equal size that would count as much as units of these ``sizes``: (Σ n)²/Σ n² (Kish 1965)."""
    sizes = np.asarray(sizes, dtype=float)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


@dataclass(frozen=True, eq=False)
class Units:
    """The units of one benchmark: differences summed in each, ``sums`` (units, quants), and its items.

    Differences are whole numbers, or multiples of a power of two that are few enough for their sums to be exact.

    ``name`` is the benchmark's: its signs are drawn from numbers of their own.
    """

    name: str
    sums: NDArray
    sizes: NDArray

    @property
    def items(self) -> int:
        return int(self.sizes.sum())

    @property
    def effective(self) -> float:
        """See `effective_units`."""
        return effective_units(self.sizes)

    @cached_property
    def moment(self) -> Floats:
        """Σ_u s_u s_uᵀ, not centred, (quants, quants): sign flips leave it as it is."""
        sums = self.sums.astype(np.float64)
        return sums.T @ sums

    @cached_property
    def flipped(self) -> Floats:
        """Σ_u ± s_u under `FLIPS` random signs of the units, (FLIPS, quants); exact, so the same in any order."""
        rng = np.random.default_rng([zlib.crc32(self.name.encode()), len(self.sums)])
        whole = np.issubdtype(self.sums.dtype, np.integer)
        small = whole and np.abs(self.sums).sum(axis=0, dtype=np.int64).max(initial=0) < 2**24
        exact = np.float32 if small else np.float64
        sums, step = self.sums.astype(exact), max(1, _SIGNS_AT_ONCE // len(self.sums))
        blocks = [min(step, FLIPS - start) for start in range(0, FLIPS, step)]
        drawn = (rng.integers(0, 2, (rows, len(sums)), dtype=np.int8) for rows in blocks)
        return np.concatenate([(2 * signs - 1).astype(exact) @ sums for signs in drawn]).astype(np.float64)


def units_of(name: str, differences: NDArray, clusters: ArrayLike | None = None) -> Units:
    """The units of a benchmark from differences (items, quants), as of `Units`, and the items' clusters, if any."""
    if clusters is None:
        return Units(name, differences, np.ones(len(differences), dtype=np.int64))
    sizes = unit_sums(np.ones((len(differences), 1)), clusters)[:, 0]
    kind = np.int32 if np.issubdtype(differences.dtype, np.integer) else np.float64
    return Units(name, unit_sums(differences, clusters).astype(kind), sizes.astype(np.int64))


@dataclass(frozen=True, eq=False)
class Part:
    """One benchmark's share in net scores: its ``units``, the quants taken of them, the weight of a summed difference
    (share of the benchmark / its items), and what it adds to the covariance of net scores, (quants, quants).

    ``louder`` is by how much item noise is taken to be larger than it is, as a variance.
    """

    units: Units
    columns: NDArray[np.int64]
    weight: float
    covariance: Floats
    louder: float = 1.0

    @property
    def count(self) -> int:
        return len(self.units.sums)

    @cached_property
    def telling(self) -> int:
        """Units in which not all of these quants have the same: the others say nothing of differences between them."""
        sums = self.units.sums[:, self.columns]
        return int((sums != sums[:, :1]).any(axis=1).sum())

    @property
    def moment(self) -> Floats:
        """Its share of Σ_u s_u s_uᵀ, as a covariance of net scores about 0."""
        return self.louder * self.weight**2 * self.units.moment[np.ix_(self.columns, self.columns)]

    @property
    def flipped(self) -> Floats:
        """Its share of net scores under random signs of its units, (FLIPS, quants)."""
        return np.sqrt(self.louder) * self.weight * self.units.flipped[:, self.columns]

    def of(self, index: Sequence[int]) -> Part:
        """The same for some of the quants."""
        return replace(self, columns=self.columns[list(index)], covariance=self.covariance[np.ix_(index, index)])

    def shared(self, share: float) -> Part:
        """The same as this share of a composite."""
        return replace(self, weight=share * self.weight, covariance=share**2 * self.covariance)

    def noisier(self, times: float) -> Part:
        """The same with so many times the item noise."""
        return replace(self, louder=times * self.louder, covariance=times * self.covariance)
