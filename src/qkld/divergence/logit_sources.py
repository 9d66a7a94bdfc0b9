"""Where the walk takes a model's logits from: a head applied to hidden states, or logits given in full."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from qkld.models.head import Head


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
        return self.head.tile(self.hidden, start, stop)


@dataclass(frozen=True)
class FullLogits:
    """Logits that an engine gave in full, shape (tokens, vocab)."""

    logits: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return self.logits.shape[0], self.logits.shape[1]

    def tile(self, start: int, stop: int) -> Tensor:
        return self.logits[:, start:stop]
