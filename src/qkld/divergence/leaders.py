"""The most probable tokens of a distribution whose logits come tile by tile."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEADERS = 5
"""Tokens of each side that ``top5_shared`` compares."""

CHUNK = 128
"""Columns of a tile that are reduced to their maximum first; the leaders are looked for in the best chunks only."""


def first_largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest values of each row and their columns, falling; among equals the lower column first.

    `torch.topk` promises no order among equals, and 16-bit logits are often equal. Columns repeat where a row holds
    fewer than k values above −inf.
    """
    left, found = values.clone(), []
    for _ in range(k):
        best, where = left.max(dim=1, keepdim=True)  # torch gives the first of equal maxima
        left.scatter_(1, where, -torch.inf)
        found.append((best, where))
    return torch.cat([best for best, _ in found], dim=1), torch.cat([where for _, where in found], dim=1)


@dataclass
class Leaders:
    """The five largest logits seen so far, falling, and their token ids, shape (tokens, 5); −inf where fewer."""

    values: Tensor
    ids: Tensor

    @classmethod
    def none(cls, tokens: int, device: torch.device) -> Leaders:
        """Before the first tile."""
        values = torch.full((tokens, LEADERS), -torch.inf, dtype=torch.float64, device=device)
        return cls(values, torch.zeros((tokens, LEADERS), dtype=torch.int64, device=device))

    def add(self, tile: Tensor, start: int) -> None:
        """Take in one tile, shape (tokens, tile), whose first column is token ``start``; tiles come in order."""
        short = -tile.shape[1] % CHUNK
        padded = torch.nn.functional.pad(tile, (0, short), value=-torch.inf) if short else tile
        chunks = padded.unflatten(1, (-1, CHUNK))
        highest = chunks.amax(dim=2)
        rows = (~(highest.amax(dim=1) <= self.values[:, -1])).nonzero()[:, 0]  # NaN counts: it spoils its row
        if len(rows):
            self._add_rows(rows, chunks, highest[rows], start)

    def _add_rows(self, rows: Tensor, chunks: Tensor, highest: Tensor, start: int) -> None:
        """`add` for the rows in which a tile holds a new leader: an equal logit of a later token is none."""
        _, best = first_largest(highest, min(LEADERS, highest.shape[1]))
        best = best.sort(dim=1).values  # so that columns rise again within what is gathered
        again = torch.nn.functional.pad(best.diff(dim=1) == 0, (1, 0))  # where fewer chunks hold anything above −inf
        candidates = chunks[rows[:, None], best].masked_fill(again[:, :, None], -torch.inf).flatten(1)
        values, where = first_largest(candidates, LEADERS)
        ids = start + best.gather(1, where // CHUNK) * CHUNK + where % CHUNK
        values, ids = torch.cat([self.values[rows], values.double()], dim=1), torch.cat([self.ids[rows], ids], dim=1)
        self.values[rows], order = first_largest(values, LEADERS)
        self.ids[rows] = ids.gather(1, order)

    @property
    def top(self) -> Tensor:
        """The most probable token, shape (tokens,)."""
        return self.ids[:, 0]

    @property
    def empty(self) -> Tensor:
        """Whether no logit was above −inf, shape (tokens,)."""
        return self.values[:, 0] == -torch.inf

    def shared_with(self, other: Leaders) -> Tensor:
        """Share of these leaders that are among the other's, shape (tokens,), float64; NaN without any."""
        own, others = self.values > -torch.inf, other.values > -torch.inf
        same = (self.ids[:, :, None] == other.ids[:, None, :]) & own[:, :, None] & others[:, None, :]
        return same.any(dim=2).sum(dim=1).double() / own.sum(dim=1)
