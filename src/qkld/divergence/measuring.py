"""Stage 02: one quant against the stores of the reference, window by window → its token table."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from qkld.divergence import HeadLogits, token_divergence
from qkld.errors import StoreError
from qkld.models import OpenedModel
from qkld.reference.store import NOTEBOOK, ReferenceStore
from qkld.sources.windows import Window
from qkld.study.large_tables import SpooledTable, spooled
from qkld.study.locks import LOCK_PATIENCE, locked
from qkld.study.precision import rounded_table
from qkld.study.progress import steps
from qkld.study.provenance import METRICS_VERSION, key_of
from qkld.study.schemas import TOKENS, read_table, write_table

Scored = list[dict[int, tuple[int, ...]]]
"""For each window: context → positions of its scored tokens."""


def measure(
    model: OpenedModel,
    stores: Sequence[tuple[ReferenceStore, Scored]],
    partial: Path,
    *,
    tile: int,
    windows: int | None = None,
    batch: int = 1,
    same_dtype: bool = True,
    second_walk: bool = False,
    significant_bits: int | None = None,
) -> SpooledTable:
    """Token table of one quant on every corpus: a table of schema ``tokens``.

    Memory does not grow with the tokens: hidden states, logits and rows of one window are in memory at a time, or of
    ``batch``; the table lies on disk below ``partial``.

    Parameters
    ----------
    model : OpenedModel
        The quant, with the reference's tokenizer.
    stores
        Each corpus's store with its scored positions.
    partial : Path
        Finished windows are kept below it, so that a killed run goes on where it was, and the table until
        `forget_partial`.
    tile : int
        Vocabulary rows taken at a time.
    windows : int, optional
        Take only the first ones of each corpus, as the floor rows do.
    batch : int
        Windows run in one forward pass; reference and quants must run the same shapes, so only the floor that asks
        what another shape changes takes more than one.
    same_dtype : bool
        Refuse a model that computes in another dtype than the reference did; only the floor that asks what the dtype
        changes takes False.
    second_walk : bool
        Add total variation and Jensen–Shannon divergence, for about the time of the heads once more.
    significant_bits : int, optional
        Of the table's numbers; None for all of double precision.

    Raises
    ------
    StoreError
        If a store was made with another tokenizer, on another kind of device, or in another dtype.
    """
    finished: list[tuple[Path, dict[int, tuple[int, ...]]]] = []
    for store, scored in stores:
        check_comparable(store, model, same_dtype=same_dtype)
        chosen = range(len(store.header.windows) if windows is None else min(windows, len(store.header.windows)))
        folder = partial / partial_key(store, model, batch=batch, second_walk=second_walk)
        with locked(folder / ".lock", patience=LOCK_PATIENCE):
            _measure_missing(model, store, list(chosen), folder, tile=tile, batch=batch, second_walk=second_walk)
        finished += ((_part(folder, index), scored[index]) for index in chosen)
    blocks = (rounded_table(block, significant_bits) for block in _blocks(finished))
    return spooled(partial / "tokens.arrow", blocks)


def _blocks(finished: list[tuple[Path, dict[int, tuple[int, ...]]]]) -> Iterator[pd.DataFrame]:
    """Each finished window's rows, once for each context at which they are scored."""
    for part, scored in finished:
        table = read_table(part, TOKENS, made_in=TOKENS.made_in)
        for context, positions in scored.items():
            if positions:  # a context that is scored in the first windows alone
                yield table[table["position"].isin(positions)].assign(context=np.int32(context))


def partial_key(store: ReferenceStore, model: OpenedModel, **more: int) -> str:
    """Name of whatever changes the numbers of one model on one store; the store's key covers reference and tokens."""
    return key_of(
        {
            "metrics_version": METRICS_VERSION,
            "store": store.header.key,
            "weights": model.weights_sha256,
            "head": model.head.sha256(),
            "compute_dtype": str(model.compute_dtype),
            "device": model.device.type,
            **more,
        }
    )


def forget_partial(partial: Path) -> None:
    """Drop the finished windows once the whole table lies on disk."""
    shutil.rmtree(partial, ignore_errors=True)


def check_comparable(store: ReferenceStore, model: OpenedModel, *, same_dtype: bool = True) -> None:
    """Refuse a model that reads other tokens, or computes with other roundings, than the store's reference did.

    Raises
    ------
    StoreError
        Naming what differs.
    """
    header = store.header
    facts = {
        "tokenizer": (header.tokenizer_sha256, model.tokenizer_sha256),
        "device": (header.device, model.device.type),
        "compute_dtype": (header.compute_dtype, str(model.compute_dtype).removeprefix("torch.")),
    }
    differing = {k: v for k, v in facts.items() if v[0] != v[1] and (same_dtype or k != "compute_dtype")}
    if differing:
        raise StoreError(
            f"The store of '{header.name}' was made with another {' and '.join(differing)} than '{model.label}'.",
            expected={k: recorded for k, (recorded, _) in differing.items()},
            found={k: own for k, (_, own) in differing.items()},
            do=f"run {NOTEBOOK} for this study's reference on this machine",
        )


def _part(folder: Path, window: int) -> Path:
    return folder / f"{window:06d}.parquet"


def _measure_missing(
    model: OpenedModel,
    store: ReferenceStore,
    chosen: list[int],
    folder: Path,
    *,
    tile: int,
    batch: int,
    second_walk: bool,
) -> None:
    """Measure the windows that have no part yet; a group with a missing one is run whole, in its own shape."""
    missing = {i for i in chosen if not _part(folder, i).exists()}
    head = store.head.to(device=model.device)
    with steps(f"{model.entry.label} on {store.header.name}", len(missing), unit="window") as progress:
        for group in _equal_lengths(chosen, store.header.windows, batch):
            if missing.isdisjoint(group):
                continue
            tokens = torch.tensor([store.header.windows[i].tokens for i in group], device=model.device)
            states = dict(zip(group, model.hidden(tokens), strict=True))
            for index in sorted(missing.intersection(group)):
                window = store.header.windows[index]
                reference = HeadLogits(store.hidden(index).to(model.device), head)
                table = window_table(store, window, index, reference, states[index], model, tile, second_walk)
                write_table(_part(folder, index), table, TOKENS, {"window": window.name})
                progress.advance(tokens=len(window.tokens))


def _equal_lengths(chosen: list[int], windows: Sequence[Window], batch: int) -> Iterator[list[int]]:
    """Groups of at most ``batch`` neighbouring windows of one length."""
    group: list[int] = []
    for index in chosen:
        if group and (len(group) == batch or len(windows[group[0]].tokens) != len(windows[index].tokens)):
            yield group
            group = []
        group.append(index)
    if group:
        yield group


@torch.inference_mode()
def window_table(
    store: ReferenceStore,
    window: Window,
    index: int,
    reference: HeadLogits,
    hidden: Tensor,
    model: OpenedModel,
    tile: int,
    second_walk: bool = False,
) -> pd.DataFrame:
    """Every kept position of one window, as rows of schema ``tokens``; hidden (tokens, width) is the quant's."""
    kept = list(window.positions)
    targets = torch.tensor([window.tokens[p + 1] for p in kept], device=model.device)
    quant = HeadLogits(hidden[kept], model.head)
    divergence = token_divergence(reference, quant, targets, tile=tile, second_walk=second_walk)
    facts: dict[str, Any] = {
        "corpus": store.header.name,
        "context": len(window.tokens),
        "window": index,
        "cluster": window.cluster,
        "position": [p + 1 for p in kept],
        "token": targets.cpu().numpy(),
    }
    return pd.DataFrame({**facts, **{name: values.numpy() for name, values in divergence.columns().items()}})
