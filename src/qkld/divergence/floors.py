"""Floor rows: what the measurement itself adds, shown beside the quants and subtracted from none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from qkld.divergence.measuring import Scored, measure
from qkld.errors import ModelError
from qkld.models import OpenedModel, open_model
from qkld.models.devices import choose_device, choose_dtype
from qkld.reference.store import ReferenceStore
from qkld.study.large_tables import SpooledTable
from qkld.study.params import FLOOR_BATCH, FLOOR_DTYPE, Study
from qkld.study.paths import StudyPaths
from qkld.study.schemas import FIDELITY, TOKENS, read_table


@dataclass(frozen=True)
class Run:
    """How a row of the KLD stage is run: its model, its share of the windows, windows a forward pass, and dtype."""

    model: OpenedModel
    windows: int | None = None
    batch: int = 1
    same_dtype: bool = True


def packed_tokens(params: Study, label: str) -> int:
    """Token positions of the items that are run together: half as many for `FLOOR_BATCH`, as another batch shape."""
    own = params.benchmark_scores.pack_tokens
    return own // 2 if label == FLOOR_BATCH else own


WIDER = {torch.bfloat16: "float32", torch.float16: "float32", torch.float32: "float64"}
"""Compute dtype → the wider one whose difference from it is the floor of the dtype."""


@contextmanager
def opened_run(params: Study, label: str) -> Iterator[Run]:
    """Open what a row measures: a quant, or the reference under the condition that a floor label names.

    ``floor-batch`` runs two windows at a time with another number of threads. ``floor-dtype`` runs the reference in the
    next wider dtype on every window, so that its mean compares with a quant's: the row is what the rounding of the
    study's own compute dtype does.
    """
    reference = params.reference
    if label == FLOOR_BATCH:
        threads = torch.get_num_threads()
        torch.set_num_threads(2 if threads == 1 else 1)
        try:
            model = open_model(reference, reference=reference, compute=params.compute)
            yield Run(model, windows=params.quant_kld.floor_windows, batch=2)
        finally:
            torch.set_num_threads(threads)
    elif label == FLOOR_DTYPE:
        own = choose_dtype(params.compute, choose_device(params.compute.device))
        compute = params.compute.model_copy(update={"compute_dtype": WIDER[own]})
        yield Run(open_model(reference, reference=reference, compute=compute), same_dtype=False)
    else:
        yield Run(open_model(params.entry(label), reference=reference, compute=params.compute))


def known_floor(params: Study) -> float | None:
    """Mean KLD of `FLOOR_DTYPE` on the headline text, nats; None where it is not measured yet, or could not be."""
    path = StudyPaths(params.study).fidelity(FLOOR_DTYPE)
    if not path.exists():
        return None
    rows = read_table(path, FIDELITY, made_in=f"{FIDELITY.made_in} for '{FLOOR_DTYPE}'")
    head = params.headline
    own = (rows["corpus"] == head.corpus) & (rows["context"] == head.context) & (rows["metric"] == "kl_mean")
    value = float(rows.loc[own, "estimate"].iloc[0])
    return value if np.isfinite(value) else None


# --- rows of the KLD stage --------------------------------------------------------------------------------------------

NOT_COMPUTED = (ModelError, RuntimeError, MemoryError)
"""What a model raises that cannot be run in the wider dtype: an operation that has none, or too little memory."""


@dataclass(frozen=True)
class Row:
    """A row of the KLD stage: its tokens (schema ``tokens``), its model's facts, and why it was not measured, if so."""

    tokens: SpooledTable | pd.DataFrame
    model: dict[str, Any] = field(default_factory=dict)
    reason: str = ""

    def fidelity(self, label: str, *, confidence: float, bootstrap: int, seed: int) -> pd.DataFrame:
        """Every metric by corpus and context, of schema ``fidelity``; without estimates where nothing was measured."""
        from qkld.statistics.tokens.fidelity import (  # imports scipy.stats, which scoring and measuring do without
            summarise,
            unmeasured,
        )

        if self.reason:
            return unmeasured(self.tokens, label, reason=self.reason)
        return summarise(
            self.tokens, label, confidence=confidence, bootstrap=bootstrap, rng=np.random.default_rng(seed)
        )


def measured_row(params: Study, label: str, stores: Sequence[tuple[ReferenceStore, Scored]], partial: Path) -> Row:
    """Measure a quant or a floor as the study asks; a floor of the dtype that cannot be computed says why.

    Raises
    ------
    QkldError
        If a quant or the floor of the batch cannot be opened or measured.
    """
    knobs = params.quant_kld
    try:
        with opened_run(params, label) as run:
            tokens = measure(
                run.model,
                stores,
                partial,
                tile=params.compute.vocabulary_tile,
                windows=run.windows,
                batch=run.batch,
                same_dtype=run.same_dtype,
                second_walk=knobs.second_walk,
                significant_bits=params.significant_bits,
            )
            return Row(tokens, run.model.facts())
    except NOT_COMPUTED as error:
        if label != FLOOR_DTYPE:
            raise
        return Row(_tokens_without_values(stores), reason=reason_of(error))


def reason_of(error: BaseException) -> str:
    """Why a floor was not measured, in one line: what an error of qkld says is wrong and found, or another's words."""
    if not isinstance(error, ModelError):
        return f"not measured: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]
    problem, *more = str(error).splitlines()
    found = next((line.partition("found:")[2].strip() for line in more if "found:" in line), "")
    return f"not measured: {problem} {found}".strip()[:300]


def _tokens_without_values(stores: Sequence[tuple[ReferenceStore, Scored]]) -> pd.DataFrame:
    """The scored tokens of the stores, of which nothing is known: a table of schema ``tokens``."""
    rows = [
        {"corpus": store.header.name, "context": context, "window": index, "cluster": window.cluster,
         "position": position, "token": window.tokens[position]}
        for store, scored in stores
        for index, (window, contexts) in enumerate(zip(store.header.windows, scored, strict=True))
        for context, positions in contexts.items()
        for position in positions
    ]  # fmt: skip
    nothing = {name: np.nan for name, column in TOKENS.columns.items() if column.missing and not column.optional}
    return TOKENS.checked(pd.DataFrame(rows).assign(**nothing, same_top1=False))
