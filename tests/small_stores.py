"""Small stores of every kind, made from the same windows and the same random head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from qkld.compare.stores import HiddenStates
from qkld.compare.stores.base_file import base_positions
from qkld.models.head import Head
from qkld.reference.store import ReferenceStore, StoreHeader, StoreWriter
from qkld.sources.windows import Window

CONTEXT, VOCABULARY, WIDTH, WINDOWS = 12, 101, 16, 3


def small_windows(first: int = CONTEXT // 2) -> tuple[Window, ...]:
    """Three windows of one length, kept from position ``first`` on; the vocabulary is odd, so rows have a pad word."""
    rng = np.random.default_rng(5)
    return tuple(
        Window(f"w{i}", tuple(rng.integers(0, VOCABULARY, CONTEXT).tolist()), tuple(range(first, CONTEXT - 1)), i)
        for i in range(WINDOWS)
    )


def small_head(shift: float = 0.0, spread: float = 2.5) -> Head:
    """A head whose logits span more than 16 nats in most rows; ``shift`` disturbs it, as a quant's would be."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(VOCABULARY, WIDTH, generator=generator) * spread
    return Head(weight + shift * torch.randn(VOCABULARY, WIDTH, generator=generator))


def hidden_store(root: Path, windows: tuple[Window, ...] | None = None, shift: float = 0.0) -> HiddenStates:
    """A sealed store of hidden states, float32."""
    windows, head = windows or small_windows(), small_head(shift)
    header = StoreHeader("corpus", "prose", "m" * 64, "t" * 64, "float32", "cpu", head.sha256(), WIDTH, windows)
    generator = torch.Generator().manual_seed(2)
    with StoreWriter(root, header, head) as store:
        for i, window in enumerate(windows):
            states = torch.randn(2 * CONTEXT, WIDTH, generator=generator)
            store.write(i, states[list(window.positions)])
        store.seal()
    return HiddenStates(ReferenceStore.open(header.folder(root)))


def small_tokens() -> np.ndarray:
    """The windows' tokens, shape (windows, context)."""
    return np.array([w.tokens for w in small_windows()])


def small_logits(spread: float = 6.0, vocabulary: int = VOCABULARY) -> list[np.ndarray]:
    """Random logits for every row of a base file of these windows."""
    rng = np.random.default_rng(3)
    rows = len(base_positions(CONTEXT))
    return [(spread * rng.standard_normal((rows, vocabulary))).astype(np.float32) for _ in range(WINDOWS)]


def second_version_row(logits: np.ndarray) -> np.ndarray:
    """One row of ``_logits2``: the whole finite range in 65,534 steps, code 0 for −inf."""
    finite = logits[np.isfinite(logits)]
    largest, least = np.float32(finite.max()), np.float32(finite.min())
    floor = np.float32(least - largest - np.float32(np.log(np.exp((finite - largest).astype(float)).sum())))
    scale = np.float32((largest - least) / np.float32(65534))
    row = np.zeros(2 * ((len(logits) + 1) // 2) + 4, dtype="<u2")
    row[:4] = np.array([scale, floor], dtype="<f4").view("<u2")
    for i, x in enumerate(logits):
        row[4 + i] = 0 if np.isneginf(x) else 1 + round(float(np.float32(x - least) / scale)) if scale else 1
    return row
