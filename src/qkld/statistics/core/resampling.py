"""How often and from which seed quants are resampled and permuted; drawn once for all rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from qkld.statistics.core.correlations_of_resamples import resample_counts
from qkld.statistics.core.permutation import permuted_orders


@dataclass(frozen=True)
class Resampling:
    """How uncertainty is computed: level, bootstrap resamples, permutations, and the seed of both."""

    confidence: float
    resamples: int
    permutations: int
    seed: int

    def counts(self, n: int) -> np.ndarray:
        """How often each of n quants was drawn in each resample, (resamples, n), read-only; a function of the seed."""
        return _counts(n, self.resamples, self.seed)

    def orders(self, families: Sequence[str] | np.ndarray) -> np.ndarray:
        """`permuted_orders` of quants within their families, (orders, n), read-only; a function of the seed."""
        return _orders(tuple(families), self.permutations, self.seed)

    def item_rng(self) -> np.random.Generator:
        """A generator for drawing items, independent of the one that draws quants."""
        return np.random.default_rng([self.seed, 1])


@lru_cache(maxsize=4)
def _counts(n: int, resamples: int, seed: int) -> np.ndarray:
    return _read_only(resample_counts(n, resamples, rng=np.random.default_rng(seed)))


@lru_cache(maxsize=4)
def _orders(families: tuple, permutations: int, seed: int) -> np.ndarray:
    return _read_only(permuted_orders(np.asarray(families), permutations, rng=np.random.default_rng(seed)))


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
