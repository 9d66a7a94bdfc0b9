"""From one kind of store to another, one window in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkld.compare.stores.base_file import BaseFile, base_positions, seal_of, write_base_file
from qkld.compare.stores.base_format import CLAMPS
from qkld.compare.stores.comparing import ROWS_AT_ONCE
from qkld.compare.stores.interface import HiddenStates, Store
from qkld.compare.stores.topk import TopK, top_k_of
from qkld.compare.stores.topk_store import TopKHeader, TopKStore, write_top_k_store
from qkld.errors import StoreError
from qkld.study.provenance import sha256_of_file
from qkld.study.storage import Place


def to_base_file(
    store: HiddenStates, path: str | Place, *, clamp: float = CLAMPS[0], bos: int | None = None
) -> BaseFile:
    """Write a base file of llama.cpp from a store of hidden states.

    Parameters
    ----------
    store : HiddenStates
        Every window of one length, with all positions of its second half kept. Its vocabulary must be the GGUF's:
        ``llama-perplexity`` only logs a difference, and goes on.
    path : str or path
    clamp : float
        16 as llama.cpp, 24 as ik_llama.cpp.
    bos : int, optional
        The token that the GGUF's model puts at the head of every window, where it does; windows that begin with
        another one are refused, because llama.cpp would compute its side from other tokens.

    Raises
    ------
    StoreError
        If the windows do not fit the format.
    """
    lengths = sorted({len(w.tokens) for w in store.windows})
    if len(lengths) != 1:
        raise _unfit("windows of one length", f"lengths {lengths[:5]}")
    wanted = base_positions(lengths[0])
    lacking = [w.name for w in store.windows if not set(wanted) <= set(w.positions)]
    if lacking:
        raise _unfit(f"positions {wanted[0]} to {wanted[-1]} of every window", f"{lacking[0]} lacks some")
    others = [w.name for w in store.windows if bos is not None and w.tokens[0] != bos]
    if others:
        raise _unfit(f"windows that begin with token {bos}", f"{others[0]} begins with another")
    tokens = np.array([w.tokens for w in store.windows])
    return write_base_file(path, tokens, _logits(store, wanted), store.vocabulary, clamp=clamp, made=source_of(store))


def _logits(store: HiddenStates, wanted: tuple[int, ...]) -> Iterator[NDArray[np.float32]]:
    for index, window in enumerate(store.windows):
        rows = [window.positions.index(p) for p in wanted]
        yield store.source(index).tile(0, store.vocabulary)[rows].float().cpu().numpy()


def _unfit(expected: str, found: str) -> StoreError:
    return StoreError(
        "The store does not fit into a base file.",
        expected=expected,
        found=found,
        do="record a text corpus with one context length and score_from 0.5",
    )


def to_top_k(store: Store, root: str | Place, k: int, *, name: str | None = None) -> TopKStore:
    """Write a top-k store below ``root`` from a store of any kind; finished windows of a killed call are kept.

    From a base file each position carries half a code step, and a row of which fewer than k tokens lie above the clamp
    lists the others with an upper end alone.

    Raises
    ------
    StoreError
        If k is not between 1 and the vocabulary, or the store is damaged.
    """
    header = TopKHeader(name or store.name, source_of(store), store.vocabulary, k, tuple(store.windows))
    return write_top_k_store(root, header, lambda index: _window_top_k(store, index, k))


def _window_top_k(store: Store, index: int, k: int) -> TopK:
    rows, number = store.rows(index), len(store.windows[index].positions)
    blocks = [
        top_k_of(rows.enclosure(slice(start, start + ROWS_AT_ONCE)), k) for start in range(0, number, ROWS_AT_ONCE)
    ]
    return TopK(**{name: np.concatenate([b.arrays()[name] for b in blocks]) for name in blocks[0].arrays()})


def source_of(store: Store) -> dict[str, Any]:
    """What a converted store records of the one it came from, as JSON."""
    if isinstance(store, HiddenStates):
        header = store.store.header
        return {"kind": "hidden states", "key": header.key, "model_sha256": header.model_sha256}
    if isinstance(store, TopKStore):
        return {"kind": "top-k", "key": store.header.key}
    if isinstance(store, BaseFile):
        sealed = seal_of(store.path).exists()
        return {"kind": "base file", "sha256": sha256_of_file(seal_of(store.path) if sealed else store.path)}
    raise StoreError(
        "This store cannot be converted.",
        expected="hidden states, a base file or a top-k store",
        found=type(store).__name__,
        do="open it with `open_store`",
    )
