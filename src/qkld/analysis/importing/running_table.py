"""Running means of KLD, window by window, as far as their printed rounding lets them tell.

llama-perplexity prints after each window the mean over all windows so far, to five decimals. A window's own mean is a
difference, i·m_i − (i − 1)·m_{i−1}, so its rounding grows with its place. Over blocks of neighbouring windows the
rounding shrinks as the block grows, while their scatter shrinks only with its root: tests rest on the smallest blocks
at which the rounding is small enough to be left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qkld.statistics.tokens.clusters import clustered_mean, cr1_error, few_clusters_note
from qkld.statistics.tokens.differences import t_p_value

Floats = NDArray[np.float64]

SMALL = 0.2
"""The rounding's bound over the standard error, below which it is left out."""

FEWEST_BLOCKS = 10
"""Blocks below which no standard error is taken from them."""


@dataclass(frozen=True)
class Blocks:
    """Means of blocks of windows, one after the other, all of one size.

    Attributes
    ----------
    means : mean KLD of each block, nats, shape (blocks,)
    size : windows a block
    mean, error : the mean of the whole, and the standard error of the blocks' mean
    bound : by how much the printed rounding can alter that standard error, or the mean, whichever is more
    """

    means: Floats
    size: int
    mean: float
    error: float
    bound: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean: t on blocks − 1 degrees of freedom."""
        whole = clustered_mean(self.means, np.arange(len(self.means)), 0.95)
        return whole.low - whole.estimate + self.mean, whole.high - whole.estimate + self.mean

    @property
    def p(self) -> float:
        """Two-sided p that the mean is 0, by t."""
        return t_p_value(self.mean, self.error, len(self.means))

    @property
    def note(self) -> str:
        return few_clusters_note(len(self.means))


def window_means(cumulative: Floats, step: float) -> tuple[Floats, Floats]:
    """Each window's own mean and the bound of its rounding, nats, shape (windows,).

    ``cumulative`` are means over windows 1 … i, printed in units of ``step``.
    """
    places = np.arange(1, len(cumulative) + 1)
    sums = places * cumulative
    return np.diff(sums, prepend=0.0), 0.5 * step * (2 * places - 1)


def blocks_of(cumulative: Floats, step: float) -> Blocks | None:
    """The smallest blocks whose standard error the rounding alters by less than `SMALL` of itself.

    None where there are fewer than `FEWEST_BLOCKS` such blocks. Windows behind the last whole block are in the mean and
    not in the error.
    """
    windows = len(cumulative)
    for size in range(1, windows // FEWEST_BLOCKS + 1):
        found = _blocks(np.asarray(cumulative, dtype=np.float64), step, size)
        if found.bound < SMALL * found.error:
            return found
    return None


def _blocks(cumulative: Floats, step: float, size: int) -> Blocks:
    ends = np.arange(size, len(cumulative) + 1, size)
    means = np.diff(ends * cumulative[ends - 1], prepend=0.0) / size
    bounds = 0.5 * step * (ends + np.append(0, ends[:-1])) / size
    count = len(means)
    of_error = float(np.sqrt((bounds**2).sum() / (count * (count - 1))))
    return Blocks(means, size, float(cumulative[-1]), cr1_error(means, np.arange(count)), max(of_error, 0.5 * step))
