"""Row 4: bytes of the reference a scored token, against llama.cpp's base file and against the data's entropy."""

from __future__ import annotations

import numpy as np

from qkld.compare.stores.base_format import BaseHeader
from qkld.models.tensors import tensor_to_bits
from qkld.reference.store import ReferenceStore, head_file
from validation.bench.figures import Figure
from validation.bench.stage import CONTEXT

RAW_TARGET, COMPRESSED_TARGET = 1 / 85, 1 / 110

TOTALS = (4_000, 100_000, 1_000_000)
"""Scored tokens at which totals with the head are given."""

ENTROPY = "the order-0 entropy of the data: that of the bytes of each significance, added up"


def base_file_bytes(vocabulary: int) -> int:
    """Bytes of one row of llama.cpp's base file, which is one scored token."""
    return 2 * BaseHeader(context=CONTEXT, vocabulary=vocabulary, chunks=1).row_words


def order0_entropy_bytes(bits: np.ndarray) -> float:
    """Mean order-0 entropy of a value, in bytes: each byte of the value is coded by the frequencies of its place."""
    places = np.ascontiguousarray(bits).reshape(-1).view(np.uint8).reshape(-1, bits.dtype.itemsize)
    total = 0.0
    for place in places.T:
        shares = np.bincount(place, minlength=256) / len(place)
        shares = shares[shares > 0]
        total -= float((shares * np.log2(shares)).sum()) / 8
    return total


def all_bits(store: ReferenceStore) -> np.ndarray:
    """The bits of every hidden state of a store, shape (scored tokens, width)."""
    return np.concatenate([tensor_to_bits(store.hidden(i)) for i in range(len(store.header.windows))])


def head_bytes(store: ReferenceStore) -> int:
    """Size of the file that holds the head."""
    return head_file(store.root, store.header.head_sha256).stat().st_size


def store_row(store: ReferenceStore) -> list[Figure]:
    """The figures of row 4, from a store in bfloat16."""
    tokens, base = store.header.scored_tokens, base_file_bytes(store.head.vocabulary)
    raw, stored = (store.manifest[name] / tokens for name in ("raw_bytes", "stored_bytes"))
    entropy = order0_entropy_bytes(all_bits(store)) * store.header.width
    note = (
        f"llama.cpp's base file has {base:,} bytes a scored token. Counted over {tokens:,} scored tokens; the entropy "
        "is no bound for a coder that sees more than single bytes. The head lies once beside all stores of a study, "
        "under its content hash."
    )
    figures = [
        Figure(4, f"raw, 1/{base / raw:.1f} of the base file", raw, "B", target=RAW_TARGET * base, note=note),
        Figure(
            row=4,
            what=f"compressed, 1/{base / stored:.1f} of the base file",
            value=stored,
            unit="B",
            limit=entropy,
            limit_formula=ENTROPY,
            target=COMPRESSED_TARGET * base,
        ),
    ]
    head = head_bytes(store)
    for count in TOTALS:
        ours, theirs = (head + stored * count) / 1e6, base * count / 1e6
        what = f"{count:,} tokens with the head ({head / 1e6:.1f} MB): 1/{theirs / ours:.1f} of {theirs:,.0f} MB"
        figures.append(Figure(4, what, ours, "MB"))
    without = stored * TOTALS[0] / 1e6
    what = f"{TOTALS[0]:,} tokens without it, the head named by the model's hash"
    return [*figures, Figure(4, what, without, "MB")]
