"""The walk over the vocabulary, tile by tile.

Both models' logits come from a `LogitSource`, so no more than one tile of logits exists at a time. llama.cpp's
``llama-perplexity --kl-divergence`` gives the same quantities from full logits of both models.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from qkld.divergence.logit_sources import LogitSource
from qkld.divergence.sums import MASKED, RunningSums

BLOCK_ON_CPU, BLOCK_ELSEWHERE = (128, 1024), (1024, 8192)
"""Rows and columns of a tile whose exponentials are taken together: 128 × 1,024 float64 values are 1 MB, so that the
five arrays of a block stay in a CPU's last cache, and calls are few."""

LOG2_E = math.log2(math.e)
"""exp(x) is taken as exp2(x · log₂ e): torch's float64 exp2 needs half the time of its exp."""

SMALLEST = torch.finfo(torch.float64).tiny
"""Under a logarithm in place of 0, whose product with its logarithm is 0."""

Pair: TypeAlias = tuple[Tensor, Tensor]
"""The reference's and the quant's."""

Sums: TypeAlias = tuple[RunningSums, RunningSums]
"""The reference's and the quant's."""


class Adder(Protocol):
    """What takes tiles, in the order of the vocabulary, into both sides' sums; made from these and the targets."""

    def add(self, tiles: Pair, start: int) -> None:
        """Take in one tile of both models' logits, shape (tokens, tile), whose first column is token ``start``."""
        ...


@torch.no_grad()
def running_sums(
    reference: LogitSource,
    quant: LogitSource,
    targets: Tensor,
    *,
    tile: int,
    adder: Callable[[Sums, Tensor], Adder] | None = None,
) -> Sums:
    """First walk: the reference's and the quant's sums over the whole vocabulary, on the device of the targets.

    ``adder`` is `fastest_adder` where none is asked for; with any, the sums are the same up to rounding.
    """
    tokens, device = targets.shape[0], targets.device
    sums = RunningSums.none(tokens, device), RunningSums.none(tokens, device)
    adding = (adder or fastest_adder(device))(sums, targets)
    for start, tiles in _tiles(reference, quant, device, tile):
        adding.add(tiles, start)
    return sums


def fastest_adder(device: torch.device) -> Callable[[Sums, Tensor], Adder]:
    """Machine code on a CPU, where numba is installed and can make it; torch's operations elsewhere."""
    return (device.type == "cpu" and _compiled_sums()) or Blocks


@cache
def _compiled_sums() -> Callable[[Sums, Tensor], Adder] | None:
    """What numba made, or None, with a warning where it is installed and fails: once in a process."""
    if find_spec("numba") is None:
        return None
    try:
        from qkld.divergence.compiled import CompiledSums, check_machine_code  # imports numba

        check_machine_code()
    except Exception as error:  # numba's own, a broken installation, a full disk or a damaged file in numba's cache
        warnings.warn(f"numba cannot compile the walk here, so torch takes it: {error!r}", RuntimeWarning, stacklevel=4)
        return None
    return CompiledSums


class Blocks:
    """Takes tiles into both sides' sums with torch's operations, a block after the other, in the same few arrays.

    A block's logits of both sides and their gap lie one below the other, shape (rows, 3, columns), its weights above
    them, shape (rows, 2, columns); so one batched product gives every weighted sum. The arrays are made once: memory
    that the system gives and takes for every temporary costs more than the exponentials.
    """

    def __init__(self, sums: Sums, targets: Tensor) -> None:
        self.sums, self.targets = sums, targets
        rows, self.columns = BLOCK_ON_CPU if targets.device.type == "cpu" else BLOCK_ELSEWHERE
        self.rows = min(rows, max(len(targets), 1))
        own = {"dtype": torch.float64, "device": targets.device}
        self.values = torch.empty((self.rows, 3, self.columns), **own)
        self.weights = torch.empty((self.rows, 2, self.columns), **own)

    def add(self, tiles: Pair, start: int) -> None:
        """Take in one tile of both models' logits, shape (tokens, tile), whose first column is token ``start``."""
        index = self.targets - start
        here = (index >= 0) & (index < tiles[0].shape[1])
        index = index.clamp(0, tiles[0].shape[1] - 1)[:, None]
        for side, logits in zip(self.sums, tiles, strict=True):
            side.target = torch.where(here, logits.gather(1, index)[:, 0].double(), side.target)
            side.leaders.add(logits, start)
        self._add_weights(tiles, masked=_masked_rows(tiles))

    def _add_weights(self, tiles: Pair, *, masked: bool) -> None:
        """`add` of all that takes exponentials, whose maxima the leaders hold already."""
        for rows in _slices(tiles[0].shape[0], self.rows):
            maxima = torch.stack([side.leaders.values[rows, 0] for side in self.sums], dim=1).clamp(min=MASKED)
            weight, weighted = maxima.new_zeros(maxima.shape), maxima.new_zeros((*maxima.shape, 3))
            for columns in _slices(tiles[0].shape[1], self.columns):
                values = self._values(tiles[0][rows, columns], tiles[1][rows, columns], masked)
                weights = self.weights[: values.shape[0], :, : values.shape[2]]
                torch.sub(values[:, :2], maxima[:, :, None], out=weights).mul_(LOG2_E).exp2_()
                weight += weights.sum(dim=2)
                weighted += torch.bmm(weights, values.mT)
            self.sums[0].add(rows, maxima[:, 0], weight[:, 0], weighted[:, 0, 0], weighted[:, 0, 2])
            self.sums[1].add(rows, maxima[:, 1], weight[:, 1], weighted[:, 1, 1], -weighted[:, 1, 2])

    def _values(self, reference: Tensor, quant: Tensor, masked: bool) -> Tensor:
        """A block's logits of both sides and, third, their gap, in float64."""
        values = self.values[: reference.shape[0], :, : reference.shape[1]]
        values[:, 0], values[:, 1] = reference, quant
        if masked:
            both = (reference == -torch.inf) & (quant == -torch.inf)
            values[:, :2].masked_fill_(both[:, None], MASKED)
        torch.sub(values[:, 0], values[:, 1], out=values[:, 2])
        return values


def overlap_of(reference: LogitSource, quant: LogitSource, sums: Sums, *, tile: int) -> tuple[Tensor, Tensor]:
    """Second walk: total variation, and Jensen–Shannon divergence in nats as H(m) − ½ H(reference) − ½ H(quant)."""
    normalisers = [side.log_normaliser for side in sums]
    difference, entropy = torch.zeros_like(normalisers[0]), torch.zeros_like(normalisers[0])
    for _, tiles in _tiles(reference, quant, normalisers[0].device, tile):
        for rows, blocks in _float64_blocks(tiles):
            p, q = ((b - z[rows, None]).mul_(LOG2_E).exp2_() for b, z in zip(blocks, normalisers, strict=True))
            difference[rows] += (p - q).abs().sum(dim=1)
            middle = (p + q) / 2
            entropy[rows] -= torch.linalg.vecdot(middle, torch.log(middle.clamp(min=SMALLEST)))
    jensen_shannon = entropy - (sums[0].entropy + sums[1].entropy) / 2
    return difference / 2, jensen_shannon.clamp(min=0.0)  # rounding alone goes below 0


def _tiles(reference: LogitSource, quant: LogitSource, device: torch.device, tile: int) -> Iterator[tuple[int, Pair]]:
    """First token and logits of every tile, of both models, in float32 or wider."""
    vocabulary = reference.shape[1]
    for start in range(0, vocabulary, tile):
        stop = min(start + tile, vocabulary)
        yield start, (_widened(reference.tile(start, stop).to(device)), _widened(quant.tile(start, stop).to(device)))


def _widened(logits: Tensor) -> Tensor:
    """16-bit logits in float32, which holds them exactly: torch finds maxima of 16-bit values slowly on a CPU."""
    return logits.float() if logits.element_size() < 4 else logits


def _slices(length: int, step: int) -> Iterator[slice]:
    """0 … length in steps."""
    yield from (slice(first, min(first + step, length)) for first in range(0, length, step))


def _float64_blocks(tiles: Pair) -> Iterator[tuple[slice, Pair]]:
    """A tile in float64, some rows and columns at a time."""
    step = BLOCK_ON_CPU if tiles[0].device.type == "cpu" else BLOCK_ELSEWHERE
    for rows in _slices(tiles[0].shape[0], step[0]):
        for columns in _slices(tiles[0].shape[1], step[1]):
            yield rows, (tiles[0][rows, columns].double(), tiles[1][rows, columns].double())


def _masked_rows(tiles: Pair) -> bool:
    """Whether some row may hold a token that both models exclude."""
    return bool(((tiles[0].amin(dim=1) == -torch.inf) & (tiles[1].amin(dim=1) == -torch.inf)).any())
