"""Per-token divergence of two models in one walk over the vocabulary.

Both models' logits come tile by tile from a `LogitSource`: a head applied to hidden states, or a block of full logits.
The walk keeps running maxima and sums in float64 (online softmax, Milakov & Gimelshein 2018, here for two
distributions at once), so no more than one tile of logits exists at a time. llama.cpp's
``llama-perplexity --kl-divergence`` gives the same quantities from full logits of both models.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor

from qkld.errors import ModelError, explain
from qkld.models.head import Head

ROWS_AT_ONCE = 32
"""Rows of a tile whose exponentials are taken together: 32 × 8,192 float64 values stay in a CPU core's caches."""

LEADERS = 5
"""Tokens of each side that ``top5_shared`` compares."""

CHUNK = 128
"""Columns of a tile that are reduced to their maximum first; the leaders are looked for in the best chunks only."""


class LogitSource(Protocol):
    """Logits of one model for some tokens, given tile by tile."""

    @property
    def shape(self) -> tuple[int, int]:
        """(tokens, vocab)."""
        ...

    def tile(self, start: int, stop: int) -> Tensor:
        """Logits of vocabulary rows ``start:stop``, shape (tokens, stop − start), any float dtype."""
        ...


@dataclass(frozen=True)
class HeadLogits:
    """Logits that a head gives for hidden states, shape (tokens, width); made tile by tile and never kept."""

    hidden: Tensor
    head: Head

    @property
    def shape(self) -> tuple[int, int]:
        return self.hidden.shape[0], self.head.vocabulary

    def tile(self, start: int, stop: int) -> Tensor:
        return self.head.logits(self.hidden, start, stop)


@dataclass(frozen=True)
class FullLogits:
    """Logits that an engine gave in full, shape (tokens, vocab)."""

    logits: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return self.logits.shape[0], self.logits.shape[1]

    def tile(self, start: int, stop: int) -> Tensor:
        return self.logits[:, start:stop]


@dataclass(frozen=True)
class TokenDivergence:
    """Quantities of one scored token each, shape (tokens,). float64, in nats; NaN where a logit is not finite.

    Attributes
    ----------
    kl : KL(reference ‖ quant) = Σ p_reference · ln(p_reference / p_quant)
    kl_reverse : KL(quant ‖ reference)
    nll_reference, nll_quant : −ln p(target)
    same_top1 : bool, whether the most probable tokens are equal; False where a logit is not finite
    top5_shared : share of the reference's five most probable tokens (of all, where there are fewer) that are among the
        quant's five; on both sides the lower token id goes first among equal logits
    entropy_reference : −Σ p_reference · ln p_reference
    p_reference, p_quant : p(target)
    greedy_quant : bool, whether the target is the quant's most probable token; False where a logit is not finite
    """

    kl: Tensor
    kl_reverse: Tensor
    nll_reference: Tensor
    nll_quant: Tensor
    same_top1: Tensor
    top5_shared: Tensor
    entropy_reference: Tensor
    p_reference: Tensor
    p_quant: Tensor
    greedy_quant: Tensor

    @classmethod
    def cat(cls, parts: list[TokenDivergence]) -> TokenDivergence:
        """Several blocks of tokens, one after the other."""
        return cls(**{f.name: torch.cat([getattr(p, f.name) for p in parts]) for f in fields(cls)})

    def columns(self) -> dict[str, Tensor]:
        """Name → values, as the columns of a token table; ``greedy_quant`` is none: only benchmarks ask for it."""
        return {f.name: getattr(self, f.name).cpu() for f in fields(self) if f.name != "greedy_quant"}


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


class _Leaders:
    """The five largest logits of the tiles seen so far and their token ids, shape (tokens, 5); −inf where fewer."""

    def __init__(self, tokens: int, device: torch.device) -> None:
        self.values = torch.full((tokens, LEADERS), -torch.inf, dtype=torch.float64, device=device)
        self.ids = torch.zeros((tokens, LEADERS), dtype=torch.int64, device=device)

    def add(self, tile: Tensor, start: int) -> None:
        """Take in one tile, shape (tokens, tile), whose first column is token ``start``."""
        chunks = torch.nn.functional.pad(tile, (0, -tile.shape[1] % CHUNK), value=-torch.inf).unflatten(1, (-1, CHUNK))
        _, best = first_largest(chunks.amax(dim=2), min(LEADERS, chunks.shape[1]))
        best = best.sort(dim=1).values  # so that columns rise again within what is gathered
        candidates = chunks.take_along_dim(best[:, :, None], dim=1).flatten(1)
        values, where = first_largest(candidates, LEADERS)
        ids = start + best.gather(1, where // CHUNK) * CHUNK + where % CHUNK
        values, ids = torch.cat([self.values, values.double()], dim=1), torch.cat([self.ids, ids], dim=1)
        self.values, order = first_largest(values, LEADERS)
        self.ids = ids.gather(1, order)

    def shared_with(self, other: _Leaders) -> Tensor:
        """Share of these leaders that are among the other's, shape (tokens,); NaN without any."""
        own, others = self.values > -torch.inf, other.values > -torch.inf
        same = (self.ids[:, :, None] == other.ids[:, None, :]) & own[:, :, None] & others[:, None, :]
        return same.any(dim=2).sum(dim=1).double() / own.sum(dim=1)


class _Side:
    """Running sums of one distribution over the tiles seen so far; weights are exp(logit − running maximum)."""

    def __init__(self, tokens: int, device: torch.device) -> None:
        self.maximum = torch.full((tokens,), -torch.inf, dtype=torch.float64, device=device)
        self.leaders = _Leaders(tokens, device)
        self.weight = torch.zeros(tokens, dtype=torch.float64, device=device)
        self.weighted_logit = torch.zeros_like(self.weight)
        self.weighted_gap = torch.zeros_like(self.weight)
        self.target = torch.full_like(self.weight, torch.nan)

    @property
    def top(self) -> Tensor:
        """The most probable token."""
        return self.leaders.ids[:, 0]

    def add(self, rows: slice, logits: Tensor, gap: Tensor) -> None:
        """Take in one tile, the leaders being done: logits (rows, tile) float64, gap = own logits − the other's."""
        old, new = self.maximum[rows], self.leaders.values[rows, 0]
        weights = torch.exp(logits - new[:, None])
        fade = torch.exp(old - new)
        self.weight[rows] = self.weight[rows] * fade + weights.sum(dim=1)
        self.weighted_logit[rows] = self.weighted_logit[rows] * fade + torch.linalg.vecdot(weights, logits)
        self.weighted_gap[rows] = self.weighted_gap[rows] * fade + torch.linalg.vecdot(weights, gap)
        self.maximum[rows] = new

    @property
    def log_normaliser(self) -> Tensor:
        """ln Σ exp(logit)."""
        return self.maximum + torch.log(self.weight)


def token_divergence(
    reference: LogitSource, quant: LogitSource, targets: Tensor, *, tile: int = 8192
) -> TokenDivergence:
    """Divergence of the quant's next-token distribution from the reference's, per token, in nats.

    Parameters
    ----------
    reference, quant : LogitSource, shape (tokens, vocab)
        The same tokens, vocabulary and device.
    targets : Tensor, shape (tokens,), int64
        The true next token of each row.
    tile : int
        Vocabulary rows taken at a time; it need not divide the vocabulary.

    Returns
    -------
    TokenDivergence
        With float64 accumulators its error against a float64 computation from the same logits is below
        1e-12 · (1 + largest absolute logit). Rows with a non-finite logit are NaN; callers count them.

    Raises
    ------
    ModelError
        If the shapes differ, or a target lies outside the vocabulary.
    """
    tokens, vocabulary = _checked_shape(reference, quant, targets)
    device = torch.device("cpu") if targets.device.type == "mps" else targets.device  # MPS has no float64
    targets = targets.to(device)
    sides = _Side(tokens, device), _Side(tokens, device)
    for start in range(0, vocabulary, tile):
        stop = min(start + tile, vocabulary)
        tiles = (source.tile(start, stop).to(device) for source in (reference, quant))
        _add_tile(sides, *tiles, targets, start, stop)
    return _finished(*sides, targets)


def _checked_shape(reference: LogitSource, quant: LogitSource, targets: Tensor) -> tuple[int, int]:
    if reference.shape != quant.shape or (reference.shape[0],) != tuple(targets.shape):
        raise ModelError(
            explain(
                "Reference and quant give logits of different shapes.",
                expected=f"(tokens, vocabulary) = {reference.shape} and as many targets",
                found=f"{quant.shape} and targets {tuple(targets.shape)}",
                do="give both models the same tokens and cut both heads to the tokenizer's rows",
            )
        )
    tokens, vocabulary = reference.shape
    if tokens and not (int(targets.min()) >= 0 and int(targets.max()) < vocabulary):
        raise ModelError(
            explain(
                "A scored token lies outside the vocabulary.",
                expected=f"token ids in [0, {vocabulary})",
                found=f"[{int(targets.min())}, {int(targets.max())}]",
                do="tokenize the corpus with the reference's own tokenizer",
            )
        )
    return tokens, vocabulary


def _add_tile(
    sides: tuple[_Side, _Side], reference: Tensor, quant: Tensor, targets: Tensor, start: int, stop: int
) -> None:
    for side, logits in zip(sides, (reference, quant), strict=True):
        side.leaders.add(logits, start)
    for first in range(0, targets.shape[0], ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        blocks = reference[rows].double(), quant[rows].double()
        gap = blocks[0] - blocks[1]
        sides[0].add(rows, blocks[0], gap)
        sides[1].add(rows, blocks[1], gap.neg_())
        here = (targets[rows] >= start) & (targets[rows] < stop)
        index = (targets[rows] - start).clamp(0, stop - start - 1)[:, None]
        for side, block in zip(sides, blocks, strict=True):
            side.target[rows] = torch.where(here, block.gather(1, index)[:, 0], side.target[rows])


def _finished(reference: _Side, quant: _Side, targets: Tensor) -> TokenDivergence:
    normalisers = reference.log_normaliser, quant.log_normaliser
    shift = normalisers[0] - normalisers[1]
    kl = (reference.weighted_gap / reference.weight - shift).clamp(min=0.0)  # rounding alone can go below 0
    kl_reverse = (quant.weighted_gap / quant.weight + shift).clamp(min=0.0)
    nll = normalisers[0] - reference.target, normalisers[1] - quant.target
    finite = torch.isfinite(kl) & torch.isfinite(kl_reverse) & torch.isfinite(nll[0]) & torch.isfinite(nll[1])
    quantities = {
        "kl": kl,
        "kl_reverse": kl_reverse,
        "nll_reference": nll[0],
        "nll_quant": nll[1],
        "top5_shared": reference.leaders.shared_with(quant.leaders),
        "entropy_reference": normalisers[0] - reference.weighted_logit / reference.weight,
        "p_reference": torch.exp(-nll[0]),
        "p_quant": torch.exp(-nll[1]),
    }
    nan = torch.tensor(torch.nan, dtype=torch.float64, device=kl.device)
    return TokenDivergence(
        **{name: torch.where(finite, values, nan) for name, values in quantities.items()},
        same_top1=(reference.top == quant.top) & finite,
        greedy_quant=(quant.top == targets) & finite,
    )
