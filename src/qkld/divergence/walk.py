"""The walk over the vocabulary, tile by tile.

Both models' logits come from a `LogitSource`, so no more than one tile of logits exists at a time. llama.cpp's
``llama-perplexity --kl-divergence`` gives the same quantities from full logits of both models.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import torch
from torch import Tensor

from qkld.divergence.sources import LogitSource
from qkld.divergence.sums import MASKED, RunningSums

ROWS_ON_CPU, ROWS_ELSEWHERE = 32, 1024
"""Rows of a tile whose exponentials are taken together: 32 × 8,192 float64 values stay in a CPU core's caches."""

SMALLEST = torch.finfo(torch.float64).tiny
"""Under a logarithm in place of 0, whose product with its logarithm is 0."""

Pair: TypeAlias = tuple[Tensor, Tensor]
"""The reference's and the quant's."""


def running_sums(
    reference: LogitSource, quant: LogitSource, targets: Tensor, *, tile: int
) -> tuple[RunningSums, RunningSums]:
    """First walk: the reference's and the quant's sums over the whole vocabulary, on the device of the targets."""
    tokens, device = targets.shape[0], targets.device
    sums = RunningSums.none(tokens, device), RunningSums.none(tokens, device)
    for start, tiles in _tiles(reference, quant, device, tile):
        index = targets - start
        here = (index >= 0) & (index < tiles[0].shape[1])
        index = index.clamp(0, tiles[0].shape[1] - 1)[:, None]
        for side, logits in zip(sums, tiles, strict=True):
            side.leaders.add(logits, start)
            side.target = torch.where(here, logits.gather(1, index)[:, 0].double(), side.target)
        masked = _masked_rows(tiles)
        for rows, blocks in _blocks(tiles):
            own, other = _without_masked(blocks) if masked else blocks
            gap = own - other
            sums[0].add(rows, own, gap)
            sums[1].add(rows, other, gap.neg_())
    return sums


def overlap_of(
    reference: LogitSource, quant: LogitSource, sums: tuple[RunningSums, RunningSums], *, tile: int
) -> tuple[Tensor, Tensor]:
    """Second walk: total variation, and Jensen–Shannon divergence in nats as H(m) − ½ H(reference) − ½ H(quant)."""
    normalisers = [side.log_normaliser for side in sums]
    difference, entropy = torch.zeros_like(normalisers[0]), torch.zeros_like(normalisers[0])
    for _, tiles in _tiles(reference, quant, normalisers[0].device, tile):
        for rows, blocks in _blocks(tiles):
            p, q = (torch.exp(b - z[rows, None]) for b, z in zip(blocks, normalisers, strict=True))
            difference[rows] += (p - q).abs().sum(dim=1)
            middle = (p + q) / 2
            entropy[rows] -= torch.linalg.vecdot(middle, torch.log(middle.clamp(min=SMALLEST)))
    jensen_shannon = entropy - (sums[0].entropy + sums[1].entropy) / 2
    return difference / 2, jensen_shannon.clamp(min=0.0)  # rounding alone goes below 0


def _tiles(reference: LogitSource, quant: LogitSource, device: torch.device, tile: int) -> Iterator[tuple[int, Pair]]:
    """First token and logits of every tile, of both models."""
    vocabulary = reference.shape[1]
    for start in range(0, vocabulary, tile):
        stop = min(start + tile, vocabulary)
        yield start, (reference.tile(start, stop).to(device), quant.tile(start, stop).to(device))


def _blocks(tiles: Pair) -> Iterator[tuple[slice, Pair]]:
    """A tile in float64, some rows at a time."""
    step = ROWS_ON_CPU if tiles[0].device.type == "cpu" else ROWS_ELSEWHERE
    for first in range(0, tiles[0].shape[0], step):
        rows = slice(first, first + step)
        yield rows, (tiles[0][rows].double(), tiles[1][rows].double())


def _masked_rows(tiles: Pair) -> bool:
    """Whether some row may hold a token that both models exclude."""
    return bool(((tiles[0].amin(dim=1) == -torch.inf) & (tiles[1].amin(dim=1) == -torch.inf)).any())


def _without_masked(blocks: Pair) -> Pair:
    masked = (blocks[0] == -torch.inf) & (blocks[1] == -torch.inf)
    return blocks[0].masked_fill(masked, MASKED), blocks[1].masked_fill(masked, MASKED)
