"""The tokens that a server lists for a position, and what they say of the whole distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qkld.compare.stores.topk import TopK
from qkld.errors import ServerError

SERVED_ERROR = 1e-5
"""How far a server's log-probability may lie from its own logits', nats: a log-softmax in float32 over a vocabulary."""


@dataclass(frozen=True)
class Listed:
    """Token id → log-probability of one position, and how many entries no single token could be found for.

    A server that names tokens by their text gives one entry for all tokens of one text, so what was dropped may be
    more than what is counted.
    """

    values: dict[int, float]
    unresolved: int = 0


def check_enough(listed: Sequence[Listed], top_k: int, vocabulary: int, *, label: str) -> None:
    """Refuse answers with fewer log-probabilities than were asked for, unless entries by text could not be told apart.

    Raises
    ------
    ServerError
        Naming the first position.
    """
    wanted = min(top_k, vocabulary)
    for place, own in enumerate(listed):
        if len(own.values) < wanted and not own.unresolved:
            raise ServerError(
                f"The server of '{label}' returns too few log-probabilities.",
                expected=f"{wanted} at every position of the prompt",
                found=f"{len(own.values)} at position {place} of those asked for",
                do="raise the server's limit (vLLM: --max-logprobs), or ask for fewer with #model,top_k=N",
            )


def as_top_k(listed: Sequence[Listed], top_k: int, vocabulary: int) -> TopK:
    """Rows of a top-k store with ``top_k + 1`` places: the top k, and the text's own token where the server adds it.

    A token that is not listed is at most as probable as the k-th that is. Where entries could not be told apart, that
    does not hold: such a token may have all the probability that is left.
    """
    rows = [_row(own, top_k, vocabulary) for own in listed]
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    ids, values, known, cap, tail = columns
    return TopK(
        ids.astype(np.int32),
        values.astype(np.float32),
        np.full(len(rows), SERVED_ERROR, dtype=np.float32),
        known.astype(np.int32),
        np.nextafter(cap.astype(np.float32), np.float32(np.inf)),
        np.zeros(len(rows), dtype=np.float32),
        np.nextafter(tail.astype(np.float32), np.float32(np.inf)),
    )


def _row(listed: Listed, top_k: int, vocabulary: int) -> tuple[list[int], list[float], int, float, float]:
    """Ids, values, how many have one, the cap of all others, and the most that these can have together."""
    inside = [(value, -token) for token, value in listed.values.items() if 0 <= token < vocabulary]
    ordered = sorted(inside, reverse=True)[: top_k + 1]
    ids, values = [-token for _, token in ordered], [min(value, 0.0) for value, _ in ordered]
    tail = max(0.0, 1.0 - float(np.exp(np.array(values) - SERVED_ERROR).sum()))
    whole = not listed.unresolved and len(inside) == len(listed.values) and len(ids) >= min(top_k, vocabulary)
    cap = values[top_k - 1] + SERVED_ERROR if whole and len(ids) >= top_k else np.log(max(tail, 1e-300))
    others = (token for token in range(vocabulary) if token not in listed.values)
    width = min(top_k + 1, vocabulary)
    filled = [*ids, *(next(others) for _ in range(width - len(ids)))]
    return filled, [*values, *[cap] * (width - len(ids))], len(ids), float(min(cap, 0.0)), tail
