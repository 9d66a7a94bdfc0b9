"""How often and from which seed quants, items and scores are drawn anew; quants once for all rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from qkld.statistics.core.correlations_of_resamples import resample_counts
from qkld.statistics.core.permutation import permuted_orders

Stream = Literal[
    "quants", "orders", "noise", "thinning", "items", "halves", "break", "curve", "edge", "metrics", "builds"
]

STREAMS: Mapping[Stream, tuple[int, ...]] = {
    "quants": (),
    "orders": (),
    "noise": (),
    "thinning": (),
    "items": (1,),
    "halves": (2,),
    "break": (2,),
    "curve": (3,),
    "edge": (3,),
    "metrics": (4,),
    "builds": (5,),
}
"""What is drawn → what stands behind the seed of its generator.

``quants`` drawn anew and their permuted ``orders``; ``noise`` of scores under a monotone truth, and under the same in
the zone's ``curve``; ways of ``thinning`` flips; ``items`` drawn anew, their ``halves`` for the zone and for
``metrics`` with direction, their subsets for the zone's ``edge``; signs of residuals for the ``break``;
orders of recipes, and scores drawn from their fit, for ``builds``. Where two share a number they draw different things.
Another number here changes the numbers of every study.
"""


@dataclass(frozen=True)
class Resampling:
    """How uncertainty is computed: level, bootstrap resamples, permutations, and the seed of both."""

    confidence: float
    resamples: int
    permutations: int
    seed: int

    def counts(self, n: int) -> np.ndarray:
        """How often each of n quants was drawn in each resample, (resamples, n), read-only; a function of the seed."""
        return _counts(n, self)

    def orders(self, families: Sequence[str] | np.ndarray) -> np.ndarray:
        """`permuted_orders` of quants within their families, (orders, n), read-only; a function of the seed."""
        return _orders(tuple(families), self)

    def rng(self, stream: Stream) -> np.random.Generator:
        """The generator of one of `STREAMS`, at its beginning."""
        return np.random.default_rng([self.seed, *STREAMS[stream]])


@lru_cache(maxsize=4)
def _counts(n: int, drawn: Resampling) -> np.ndarray:
    return _read_only(resample_counts(n, drawn.resamples, rng=drawn.rng("quants")))


@lru_cache(maxsize=4)
def _orders(families: tuple, drawn: Resampling) -> np.ndarray:
    return _read_only(permuted_orders(np.asarray(families), drawn.permutations, rng=drawn.rng("orders")))


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
