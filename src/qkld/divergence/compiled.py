"""A tile's share of the first walk as machine code for CPUs: leaders, exponentials and every sum in one pass.

Importing this module needs numba, which compiles at the first use and keeps what it made, beside this file or where
``NUMBA_CACHE_DIR`` says. `qkld.divergence.walk.Blocks` is its fallback and its oracle: torch goes over a block anew for
each of a dozen operations; here a logit is read while it lies in the cache, and its exponential never leaves the
registers.

Compiled functions use no constant of another module: numba makes them anew where this file changed, not where that did.
Logits are float32 or float64, of both models alike, so that there are two versions of each function and no more.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

from qkld.divergence.sums import MASKED, RunningSums

CHUNK = 128
"""Columns that are compared with a row's last leader at once; one by one only where some of them is above it."""

LOG2_E = math.log2(math.e)

SMALLEST = -1022.0 * math.log(2)
"""Exponentials of what is below it are taken for 0: they are no normal float64, and the largest weight is 1."""

ROUNDING = 1.5 * 2.0**52
"""Added to a number of small magnitude, it leaves the nearest whole number in the lowest bits of the float64."""

TAYLOR = tuple(math.log(2) ** k / math.factorial(k) for k in range(13))
"""2^x = Σ (x · ln 2)^k / k!; where |x| ≤ ½, all that follows the twelfth power is below 2e-16 of the sum."""


@intrinsic
def _bits(_context: Any, number: types.Type) -> tuple[Any, Any]:
    """The 64 bits of a float64, as an integer."""
    return types.int64(types.float64), lambda _c, builder, _s, given: builder.bitcast(given[0], ir.IntType(64))


@intrinsic
def _from_bits(_context: Any, bits: types.Type) -> tuple[Any, Any]:
    """The float64 of these 64 bits."""
    return types.float64(types.int64), lambda _c, builder, _s, given: builder.bitcast(given[0], ir.DoubleType())


def _compiled(**options: Any) -> Any:
    """Decorator: machine code beside which other threads run, kept on disk where some place can be written to."""

    def decorated(function: Any) -> Any:
        try:
            return njit(function, nogil=True, error_model="numpy", cache=True, **options)
        except RuntimeError:  # numba found no such place
            return njit(function, nogil=True, error_model="numpy", **options)

    return decorated


@_compiled(fastmath={"contract"})
def exponential(x: float) -> float:
    """exp(x) for x ≤ 0, to about 2e-16 · (1 + |x|) of it; NaN for NaN. Without a branch: loops of it become vectors."""
    rounded = x * LOG2_E + ROUNDING
    whole = rounded - ROUNDING
    part, value = x * LOG2_E - whole, 0.0
    for k in range(len(TAYLOR) - 1, -1, -1):
        value = value * part + TAYLOR[k]
    scale = _from_bits((_bits(rounded) + 1023) << 52)  # 2^whole: 1023 is the exponent's bias
    return 0.0 if x < SMALLEST else value * scale


@_compiled(fastmath={"reassoc", "contract", "nsz"})  # any order of a sum; NaN and infinity keep their meaning
def _weighted(reference: Any, quant: Any, maxima: tuple[float, float], masked: float) -> tuple[float, ...]:
    """Σ weight, Σ weight · logit and Σ weight · (reference − quant) over a row, by the reference and by the quant."""
    p_sum = q_sum = p_logit = q_logit = p_gap = q_gap = 0.0
    for column in range(reference.shape[0]):
        a, b = np.float64(reference[column]), np.float64(quant[column])
        if a == -np.inf and b == -np.inf:
            a = b = masked
        p, q, gap = exponential(a - maxima[0]), exponential(b - maxima[1]), a - b
        p_sum += p
        q_sum += q
        p_logit += p * a
        q_logit += q * b
        p_gap += p * gap
        q_gap += q * gap
    return p_sum, p_logit, p_gap, q_sum, q_logit, q_gap


@_compiled()
def _place(logit: float, token: int, values: Any, ids: Any) -> None:
    """Put one logit among a row's leaders, after its equals: tokens come in rising order, and the lower goes first."""
    place = values.shape[0]
    while place > 0 and logit > values[place - 1]:
        if place < values.shape[0]:
            values[place], ids[place] = values[place - 1], ids[place - 1]
        place -= 1
    if place < values.shape[0]:
        values[place], ids[place] = logit, token


@_compiled()
def _lead(logits: Any, start: int, values: Any, ids: Any) -> None:
    """Put a row's new leaders, of a tile whose first column is token ``start``, among those found before."""
    columns = logits.shape[0]
    in_chunks = columns - columns % CHUNK
    for first in range(0, in_chunks, CHUNK):
        last, above = logits.dtype.type(values[-1]), np.int32(0)
        for column in range(first, first + CHUNK):  # of constant length, so that it becomes vectors
            above += np.int32(logits[column] > last)
        if above:
            for column in range(first, first + CHUNK):
                _place(logits[column], start + column, values, ids)
    for column in range(in_chunks, columns):
        _place(logits[column], start + column, values, ids)


@_compiled()
def _fade(side: Any, row: int, highest: float, weight: float, weighted_logit: float, weighted_gap: float) -> None:
    """As `RunningSums.add`, for one row."""
    maximum, weights, weighted_logits, weighted_gaps = side[:4]
    fade = math.exp(maximum[row] - highest)
    maximum[row] = highest
    weights[row] = weights[row] * fade + weight
    weighted_logits[row] = weighted_logits[row] * fade + weighted_logit
    weighted_gaps[row] = weighted_gaps[row] * fade + weighted_gap


@_compiled()
def _add_rows(sides: Any, targets: Any, tiles: Any, start: int, masked: float, first: int, last: int) -> None:
    """Take rows ``first:last`` of both models' tiles, shape (tokens, tile), into their sides' arrays."""
    (reference, quant), (own, other) = tiles, sides
    for row in range(first, last):
        column = targets[row] - start
        if 0 <= column < reference.shape[1]:
            own[4][row], other[4][row] = reference[row, column], quant[row, column]
        _lead(reference[row], start, own[5][row], own[6][row])
        _lead(quant[row], start, other[5][row], other[6][row])
        maxima = max(own[5][row, 0], masked), max(other[5][row, 0], masked)
        sums = _weighted(reference[row], quant[row], maxima, masked)
        _fade(own, row, maxima[0], sums[0], sums[1], sums[2])
        _fade(other, row, maxima[1], sums[3], sums[4], -sums[5])


class CompiledSums:
    """Takes tiles into the sums of tokens on a CPU; their rows are shared out among as many threads as torch takes."""

    def __init__(self, sums: tuple[RunningSums, RunningSums], targets: Tensor) -> None:
        self._sides, self._targets = tuple(_arrays(side) for side in sums), targets.numpy()
        tokens, threads = len(targets), torch.get_num_threads()
        share = math.ceil(tokens / threads)
        self._shares = [(first, min(first + share, tokens)) for first in range(0, tokens, share or 1)]
        self._pool = ThreadPoolExecutor(threads)

    def add(self, tiles: tuple[Tensor, Tensor], start: int) -> None:
        """Take in one tile of both models' logits, shape (tokens, tile), whose first column is token ``start``."""
        dtype = torch.promote_types(*(tile.dtype for tile in tiles))
        logits = tuple(tile.detach().to(dtype).contiguous().numpy() for tile in tiles)
        added = partial(_add_rows, self._sides, self._targets, logits, start, MASKED)
        others = [self._pool.submit(added, *share) for share in self._shares[1:]]
        for share in self._shares[:1]:
            added(*share)
        for other in others:
            other.result()


def check_machine_code() -> None:
    """Take a float32 tile of one logit, so that its code is made or loaded; raises whatever numba does where not."""
    targets = torch.zeros(1, dtype=torch.int64)
    sums = RunningSums.none(1, targets.device), RunningSums.none(1, targets.device)
    CompiledSums(sums, targets).add((torch.zeros(1, 1), torch.zeros(1, 1)), 0)


def _arrays(side: RunningSums) -> tuple[NDArray[Any], ...]:
    """The memory of a side's sums, in the order of `RunningSums`; the leaders' values and ids at the end."""
    sums = (side.maximum, side.weight, side.weighted_logit, side.weighted_gap, side.target)
    return tuple(tensor.numpy() for tensor in (*sums, side.leaders.values, side.leaders.ids))
