"""Two stores compared position by position: bounds of the divergence, with Eq. 5's form beside them, streamed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qkld.compare.stores.bounds import kl_bounds
from qkld.compare.stores.enclosure import Enclosure
from qkld.compare.stores.interface import Rows, Store
from qkld.compare.stores.topk import check_same_k, floor_form, top_k_of
from qkld.compare.stores.topk_store import TopKStore
from qkld.errors import StoreError

ROWS_AT_ONCE = 16
"""Positions whose intervals are in memory together: a few float64 arrays of this many times the vocabulary."""

_MEANS = ["kl_low", "kl_high", "kl_floor", "floored_share"]


@dataclass(frozen=True)
class Lists:
    """What Eq. 5 is taken from: lists of the ``k`` top tokens, and ``floor`` for a token that the quant's lacks."""

    k: int
    floor: float


def compare_stores(
    reference: Store, quant: Store, *, k: int | None = None, floor: float | None = None
) -> Iterator[pd.DataFrame]:
    """Bounds of KL(reference ‖ quant) on the positions that both stores have, a table a window.

    Parameters
    ----------
    reference, quant : Store
        Of any kinds; the same windows of tokens and the same vocabulary.
    k, floor : int and float, optional
        With a floor, Eq. 5 of arXiv:2606.19558 is taken from both sides' k top tokens: ``floor`` is the log-probability
        of a token missing from the quant's. A top-k store's own k is taken where none is given.

    Yields
    ------
    DataFrame
        ``window``, ``cluster``, ``position`` and ``token`` of each scored token as in token tables, ``kl_low`` and
        ``kl_high`` in nats (inf where no upper bound exists), NaN where a logit was no number; with a floor also
        ``kl_floor`` in nats and ``floored``, the number of tokens that got the floor.

    Raises
    ------
    StoreError
        If windows, vocabularies or ks differ.
    """
    check_same_windows(reference, quant)
    lists = _lists(reference, quant, k, floor)
    for index, window in enumerate(reference.windows):
        positions, rows = _shared(window.positions, quant.windows[index].positions)
        places = _places(index, window.cluster, window.tokens, positions)
        figures = _figures((reference.rows(index), quant.rows(index)), rows, lists)
        yield pd.concat([places, figures], axis=1)


def _figures(sides: tuple[Rows, Rows], rows: tuple[NDArray, NDArray], lists: Lists | None) -> pd.DataFrame:
    """Bounds for pairs of rows of one window, a few at a time, so that memory does not grow with the window."""
    parts = []
    for start in range(0, len(rows[0]), ROWS_AT_ONCE):
        known = [side.enclosure(own[start : start + ROWS_AT_ONCE]) for side, own in zip(sides, rows, strict=True)]
        bounds = kl_bounds(*known)
        columns = {"kl_low": bounds.lower, "kl_high": bounds.upper}
        parts.append(pd.DataFrame(columns | (_floor_columns(*known, lists) if lists else {})))
    return pd.concat(parts, ignore_index=True)


def _floor_columns(reference: Enclosure, quant: Enclosure, lists: Lists) -> dict[str, NDArray]:
    """Eq. 5 of rows that are numbers; NaN and no floored token elsewhere."""
    good = ~(np.isnan(reference.low) | np.isnan(quant.low)).any(axis=1)
    kl, floored = np.full(len(good), np.nan), np.zeros(len(good), dtype=np.int64)
    if good.any():
        form = floor_form(*(top_k_of(side[good], lists.k) for side in (reference, quant)), lists.floor)
        kl[good], floored[good] = form.kl, form.floored
    return {"kl_floor": kl, "floored": floored}


def _lists(reference: Store, quant: Store, k: int | None, floor: float | None) -> Lists | None:
    own = [store.k for store in (reference, quant) if isinstance(store, TopKStore)]
    if len(own) == 2:
        check_same_k(*own)
    if floor is None:
        return None
    chosen = k if k is not None else min(own, default=0)
    if not 1 <= chosen <= min([reference.vocabulary, *own]):
        raise StoreError(
            "The top-k estimate (Eq. 5) needs two lists of top tokens.",
            expected=f"a k from 1 to {min([reference.vocabulary, *own])}, which both stores contain",
            found=k,
            do="give k as well as the floor",
        )
    return Lists(chosen, floor)


@dataclass(frozen=True)
class BoundsSummary:
    """Means over all finite positions, nats; None where no floor was given.

    Attributes
    ----------
    tokens, nonfinite : int
        Positions that the means are over, and those left out because a logit was no number.
    kl_low, kl_high : float
        Ends of mean KL(reference ‖ quant); inf where a position has no upper bound.
    kl_floor : float or None
        Mean of Eq. 5's form, which is no bound.
    floored_share : float or None
        Share of positions at which at least one token got the floor.
    """

    tokens: int
    nonfinite: int
    kl_low: float
    kl_high: float
    kl_floor: float | None = None
    floored_share: float | None = None


def summarise_bounds(tables: Iterable[pd.DataFrame]) -> BoundsSummary:
    """Means of what `compare_stores` yields, a table at a time.

    Raises
    ------
    StoreError
        If no position is finite.
    """
    sums, tokens, positions = pd.Series(dtype=float), 0, 0
    for table in tables:
        finite = table[table["kl_low"].notna()]
        if "floored" in finite:
            finite = finite.assign(floored_share=finite["floored"] > 0)
        sums = sums.add(finite[finite.columns.intersection(_MEANS)].sum(), fill_value=0.0)
        tokens, positions = tokens + len(finite), positions + len(table)
    if not tokens:
        raise StoreError(
            "No position has finite logits.",
            expected="finite logits",
            found=f"{positions} positions, none of them finite",
            do="check both models, or run them in compute_dtype float32",
        )
    return BoundsSummary(tokens, positions - tokens, **(sums / tokens).to_dict())


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
    for index, pair in enumerate(zip(reference.windows, quant.windows, strict=False)):
        if pair[0].tokens != pair[1].tokens:
            facts[f"window {index}"] = tuple(f"{list(w.tokens[:8])} …" for w in pair)
            break
    for what, (expected, found) in facts.items():
        if expected != found or what.startswith("window"):
            raise StoreError(
                f"The stores {reference.name} and {quant.name} do not match: different {what}.",
                expected=expected,
                found=found,
                do="make both from the same corpus with the same tokenizer",
            )


def _shared(reference: tuple[int, ...], quant: tuple[int, ...]) -> tuple[NDArray[np.int64], tuple[NDArray, NDArray]]:
    """Positions that both have, rising, and their rows in each."""
    positions, own, other = np.intersect1d(reference, quant, assume_unique=True, return_indices=True)
    if not len(positions):
        raise StoreError(
            "The stores have no position in common.",
            expected=f"some of {reference[:3]} …",
            found=f"{quant[:3]} …",
            do="keep the second half of each window in both, as llama.cpp does",
        )
    return positions, (own, other)


def _places(index: int, cluster: int, tokens: tuple[int, ...], positions: NDArray[np.int64]) -> pd.DataFrame:
    scored = positions + 1
    return pd.DataFrame({"window": index, "cluster": cluster, "position": scored, "token": np.asarray(tokens)[scored]})
