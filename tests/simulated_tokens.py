"""Token tables drawn from a model with an effect of the window; nothing is measured here."""

from __future__ import annotations

from collections.abc import Mapping
from zlib import crc32

import numpy as np
import pandas as pd


def token_table(
    rng: np.random.Generator, *, corpus: str = "prose", context: int = 512, windows: int = 8, tokens: int = 50
) -> pd.DataFrame:
    """A token table of plausible values; each window is a cluster and scores the window's last tokens."""
    rows = windows * tokens
    window = np.repeat(np.arange(windows), tokens)
    nll = rng.exponential(2.0, rows)
    quant = np.maximum(nll + rng.normal(0, 0.1, rows), 1e-6)
    hard = np.exp(rng.normal(0, 0.3, windows))[window]
    return pd.DataFrame(
        {
            "corpus": corpus,
            "context": context,
            "window": window,
            "cluster": window,
            "position": np.tile(np.arange(context - tokens, context), windows),
            "token": rng.integers(0, 1000, rows),
            "kl": rng.exponential(0.01, rows) * hard,
            "kl_reverse": rng.exponential(0.01, rows) * hard,
            "nll_reference": nll,
            "nll_quant": quant,
            "same_top1": rng.random(rows) < 0.9,
            "top5_shared": rng.integers(3, 6, rows) / 5,
            "entropy_reference": rng.exponential(2.0, rows),
            "p_reference": np.exp(-nll),
            "p_quant": np.exp(-quant),
        }
    )


def tokens_of_quant(
    label: str, means: Mapping[tuple[str, int], float], *, windows: int = 4, tokens: int = 12
) -> pd.DataFrame:
    """A quant's token table: (corpus, context) → mean KL; every label has the same tokens and its own KL.

    A context of 0, a chat's, has windows of 64 tokens.
    """
    parts = []
    for (corpus, context), mean in means.items():
        rng = np.random.default_rng(crc32(f"{corpus}{context}".encode()))
        part = token_table(rng, corpus=corpus, context=context or 64, windows=windows, tokens=tokens)
        own = np.random.default_rng(crc32(f"{label}{corpus}{context}".encode())).lognormal(0, 0.3, len(part))
        shape = own * part["kl"]
        parts.append(part.assign(context=context, kl=shape * mean / shape.mean()))
    return pd.concat(parts, ignore_index=True)


def moved(table: pd.DataFrame, rng: np.random.Generator, *, by: float = 0.0, spread: float = 0.0) -> pd.DataFrame:
    """Another quant on the same tokens: its KL is higher ``by`` plus an effect of each window of this spread."""
    effect = rng.normal(by, spread, table["window"].max() + 1) if spread else np.full(table["window"].max() + 1, by)
    return table.assign(kl=table["kl"] + effect[table["window"]])
