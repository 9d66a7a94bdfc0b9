"""Two stores, or a store and a quant's logits, compared position by position: bounds of the divergence, streamed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qkld.errors import StoreError, explain
from qkld.stores.bounds import KLBounds, kl_bounds
from qkld.stores.interface import Rows, Store
from qkld.stores.topk import check_same_k, floor_form
from qkld.stores.topk_store import TopKStore

ROWS_AT_ONCE = 16
"""Positions whose intervals are in memory together: a few float64 arrays of this many times the vocabulary."""


def compare_stores(reference: Store, quant: Store, *, floor: float | None = None) -> Iterator[pd.DataFrame]:
    """Bounds of KL(reference ‖ quant) on the positions that both stores have, a table a window.

    Parameters
    ----------
    reference, quant : Store
        Of any kinds; the same windows of tokens and the same vocabulary.
    floor : float, optional
        For two top-k stores, the log-probability that the paper's Eq. 5 gives to a token missing from the quant's list;
        adds ``kl_floor`` and ``floored``.

    Yields
    ------
    DataFrame
        ``window``, ``cluster``, ``position`` and ``token`` of each scored token as in token tables, ``kl_low`` and
        ``kl_high`` in nats (inf where no upper bound exists), NaN where a logit was no number.

    Raises
    ------
    StoreError
        If windows, vocabularies or ks differ, or a floor is given for stores that are not top-k.
    """
    check_same_windows(reference, quant)
    both = isinstance(reference, TopKStore) and isinstance(quant, TopKStore)
    if both:
        check_same_k(reference.k, quant.k)
    if floor is not None and not both:
        raise StoreError(
            explain(
                "Eq. 5 is taken from two lists of top tokens.",
                expected="two top-k stores",
                found=f"{type(reference).__name__} and {type(quant).__name__}",
                do="convert both with `to_top_k`, with one k",
            )
        )
    for index, window in enumerate(reference.windows):
        positions, rows = _shared(window.positions, quant.windows[index].positions)
        sides = reference.rows(index), quant.rows(index)
        table = _places(index, window.cluster, window.tokens, positions)
        bounds = bounds_of_rows(*sides, *rows)
        table = table.assign(kl_low=bounds.lower, kl_high=bounds.upper)
        if floor is not None:
            form = floor_form(sides[0].top_k[rows[0]], sides[1].top_k[rows[1]], floor)
            table = table.assign(kl_floor=form.kl, floored=form.floored)
        yield table


def bounds_of_rows(
    reference: Rows, quant: Rows, reference_rows: NDArray[np.int64], quant_rows: NDArray[np.int64]
) -> KLBounds:
    """Bounds for pairs of rows of one window, a few at a time, so that memory does not grow with the window."""
    parts = [
        kl_bounds(
            reference.enclosure(reference_rows[i : i + ROWS_AT_ONCE]), quant.enclosure(quant_rows[i : i + ROWS_AT_ONCE])
        )
        for i in range(0, len(reference_rows), ROWS_AT_ONCE)
    ]
    return KLBounds(np.concatenate([p.lower for p in parts]), np.concatenate([p.upper for p in parts]))


def check_same_windows(reference: Store, quant: Store) -> None:
    """Refuse stores of other tokens or vocabularies.

    Raises
    ------
    StoreError
        Naming the first difference.
    """
    facts = {
        "vocabulary": (reference.vocabulary, quant.vocabulary),
        "number of windows": (len(reference.windows), len(quant.windows)),
    }
    pairs = zip(reference.windows, quant.windows, strict=False)
    other = next((i for i, (a, b) in enumerate(pairs) if a.tokens != b.tokens), None)
    if other is not None:
        facts[f"tokens of window {other}"] = (
            f"{reference.windows[other].tokens[:8]} …",
            f"{quant.windows[other].tokens[:8]} …",
        )
    for what, (expected, found) in facts.items():
        if expected != found or what.startswith("tokens"):
            raise StoreError(
                explain(
                    f"The stores {reference.name} and {quant.name} do not belong together: another {what}.",
                    expected=expected,
                    found=found,
                    do="make both from the same corpus with the same tokenizer",
                )
            )


def _shared(reference: tuple[int, ...], quant: tuple[int, ...]) -> tuple[NDArray[np.int64], tuple[NDArray, NDArray]]:
    """Positions that both have, rising, and their rows in each."""
    positions, own, other = np.intersect1d(reference, quant, assume_unique=True, return_indices=True)
    if not len(positions):
        raise StoreError(
            explain(
                "The stores share no position of a window.",
                expected=f"some of {reference[:3]} …",
                found=f"{quant[:3]} …",
                do="keep the second half of each window in both, as llama.cpp does",
            )
        )
    return positions, (own, other)


def _places(index: int, cluster: int, tokens: tuple[int, ...], positions: NDArray[np.int64]) -> pd.DataFrame:
    scored = positions + 1
    return pd.DataFrame({"window": index, "cluster": cluster, "position": scored, "token": np.asarray(tokens)[scored]})
