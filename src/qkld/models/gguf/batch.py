"""What torch models are given (ids, positions, a mask) as llama.cpp takes it: tokens that belong to sequences.

llama.cpp has no block mask. A token belongs to one or more sequences and sees what came before it in any of them, which
says the same for a tree: a prompt belongs to the sequences of all its choices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from qkld.errors import ModelError


@dataclass(frozen=True)
class Batch:
    """Tokens for one ``llama_decode``.

    Attributes
    ----------
    tokens, positions : np.ndarray of int32, shape (tokens,)
    members : one tuple of sequence ids a token
    places : np.ndarray of int64, shape (tokens,)
        Where each token stood in the ids given, counted through rows.
    """

    tokens: np.ndarray
    positions: np.ndarray
    members: tuple[tuple[int, ...], ...]
    places: np.ndarray

    @property
    def sequences(self) -> int:
        """How many sequences there are."""
        return 1 + max(max(own) for own in self.members)


def as_batch(input_ids: Tensor, position_ids: Tensor | None = None, attention_mask: Tensor | None = None) -> Batch:
    """The batch that runs ids of shape (rows, tokens) under a mask.

    Parameters
    ----------
    position_ids : Tensor, shape (rows, tokens), optional
        By default 0, 1, 2, … along each row.
    attention_mask : Tensor of bool, optional
        (rows, tokens), true for tokens and false for padding at the end; or, for one row, (1, 1, tokens, tokens), true
        where a row may look. By default each row is a sequence without padding.

    Raises
    ------
    ModelError
        If the mask is no tree of sequences.
    """
    rows, tokens = input_ids.shape
    given = np.arange(tokens)[None].repeat(rows, 0) if position_ids is None else position_ids.cpu().numpy()
    if attention_mask is not None and attention_mask.dim() == 4:
        members = sequences_of(attention_mask[0, 0].cpu().numpy(), given[0])
        kept = np.arange(tokens)
    else:
        mask = np.ones((rows, tokens), bool) if attention_mask is None else attention_mask.cpu().numpy().astype(bool)
        kept = np.flatnonzero(mask)
        members = tuple((int(row),) for row in kept // tokens)
    ids = input_ids.cpu().numpy().reshape(-1)
    return Batch(ids[kept].astype(np.int32), given.reshape(-1)[kept].astype(np.int32), members, kept)


def sequences_of(seen: np.ndarray, positions: np.ndarray) -> tuple[tuple[int, ...], ...]:
    """Sequence ids of each token under a block mask; seen (tokens, tokens), true where a row may look.

    A sequence is what the last token of a branch sees: one that no other token sees.

    Raises
    ------
    ModelError
        If these sequences and positions do not give the mask back.
    """
    ends = np.flatnonzero(seen.sum(axis=0) == 1)
    member = seen[ends].astype(np.int64)
    together = (member.T @ member > 0) & (positions[:, None] >= positions)
    if not np.array_equal(together, seen):
        raise ModelError(
            "This attention mask cannot be given to llama.cpp.",
            expected="a tree: each token sees all earlier ones of its own sequences",
            found=f"{int((together != seen).sum())} of {seen.size} pairs of tokens that differ from a tree",
            do="run one text per row",
        )
    return tuple(tuple(int(s) for s in np.flatnonzero(column)) for column in member.T)
