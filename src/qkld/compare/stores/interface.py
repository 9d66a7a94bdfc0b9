"""The one way in which stores of every kind are read: window by window, and of a window a few positions at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from numpy.typing import NDArray

from qkld.compare.stores.enclosure import Enclosure
from qkld.divergence import FullLogits, HeadLogits, LogitSource
from qkld.reference.store import ReferenceStore
from qkld.sources.windows import Window


class Rows(Protocol):
    """One window of a store: a row for each kept position."""

    def enclosure(self, rows: NDArray | slice) -> Enclosure:
        """What is known of these rows' distributions."""
        ...


class Store(Protocol):
    """Next-token distributions of some windows; the row of position p predicts token p + 1."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def windows(self) -> Sequence[Window]:
        """Its windows, in order."""
        ...

    @property
    def vocabulary(self) -> int:
        """Tokens of a distribution."""
        ...

    def rows(self, index: int) -> Rows:
        """One window's rows, in the order of its positions; checked when they are read."""
        ...


@dataclass(frozen=True)
class LogitRows:
    """Rows of exact logits, from a head or in full."""

    source: LogitSource

    def enclosure(self, rows: NDArray | slice) -> Enclosure:
        logits = self.source.tile(0, self.source.shape[1])[rows].double()
        return Enclosure.exact(torch.log_softmax(logits, dim=-1).cpu().numpy())


@dataclass(frozen=True)
class HiddenStates:
    """A store of hidden states behind the common interface: its rows are exact."""

    store: ReferenceStore

    @property
    def name(self) -> str:
        return self.store.header.name

    @property
    def windows(self) -> Sequence[Window]:
        return self.store.header.windows

    @property
    def vocabulary(self) -> int:
        return self.store.head.vocabulary

    def source(self, index: int) -> HeadLogits:
        """One window's logits, for the walk of `token_divergence`."""
        return HeadLogits(self.store.hidden(index), self.store.head)

    def rows(self, index: int) -> LogitRows:
        """One window's logits, made for all its rows at once: another shape of the product would round otherwise."""
        return LogitRows(FullLogits(self.source(index).tile(0, self.vocabulary)))
