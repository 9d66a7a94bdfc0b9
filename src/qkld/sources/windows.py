"""Windows of tokens: what is run together, and which of its positions are scored."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np

ANSWERS_AT_ONCE = 32
"""Chats whose answers the reference writes together; their keys and values lie in memory meanwhile."""


@dataclass(frozen=True)
class Window:
    """Tokens that are run together. The hidden state at position p, if kept, predicts token p + 1.

    ``clusters`` share context; ``positions`` rise.
    """

    name: str
    tokens: tuple[int, ...]
    positions: tuple[int, ...]
    cluster: int = 0

    def digest(self, bits: np.ndarray) -> str:
        """SHA-256 over what the window is and the bits of its hidden states."""
        head = json.dumps([self.name, self.tokens, self.positions, self.cluster, list(bits.shape), str(bits.dtype)])
        return hashlib.sha256(head.encode() + np.ascontiguousarray(bits).tobytes()).hexdigest()


def scored_positions(context: int, score_from: float) -> tuple[int, ...]:
    """Positions of the scored tokens of a window: from ``score_from`` of its length on (llama.cpp: the second half)."""
    return tuple(range(max(1, int(context * score_from)), context))


def kept_positions(contexts: tuple[int, ...], score_from: float) -> tuple[int, ...]:
    """Positions whose hidden state predicts a token that is scored at one of these contexts."""
    return tuple(sorted({p - 1 for c in contexts for p in scored_positions(c, score_from)}))
