"""One comparison under way: one model in memory at a time, token tables in a temporary folder."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from qkld.compare.compare_request import Request
from qkld.divergence.measuring import Scored, forget_partial, measure
from qkld.divergence.per_token import TILE
from qkld.models import OpenedModel
from qkld.reference.store import ReferenceStore
from qkld.study.params import Compute
from qkld.study.schemas import TOKENS, read_table, write_table


@dataclass
class Session:
    """One comparison under way: its folder, its store, and the labels measured so far.

    ``without_floor`` is what is said in the floor's place where it is not among them.
    """

    request: Request
    folder: Path
    compute: Compute
    store: ReferenceStore
    scored: Scored
    text: str
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    without_floor: str = "not measured"

    def tokens(self, label: str) -> pd.DataFrame:
        return read_table(self.folder / f"{label}.parquet", TOKENS, made_in="qkld compare")

    def measured(self, label: str, opened: Callable[[], OpenedModel], *, same_dtype: bool = True) -> None:
        """Measure a model, put its token table into the folder, and let the model go."""
        model = opened()
        partial = self.folder / "partial" / label
        tokens = measure(
            model,
            [(self.store, self.scored)],
            partial,
            tile=TILE,
            windows=self.request.windows,
            same_dtype=same_dtype,
            second_walk=self.request.second_walk,
        )
        write_table(self.folder / f"{label}.parquet", tokens, TOKENS, {"label": label})
        self.facts[label] = model.facts() | {"given_as": model.entry.recipe}
        forget_partial(partial)
        del model
        let_go()


def compute_of(request: Request, *, device: str, dtype: str) -> Compute:
    """How every model of a comparison is opened; a store may know device and dtype better than the request."""
    return Compute(
        device=device,
        compute_dtype=dtype,
        head_dtype="compute_dtype",
        device_map=request.device_map,
        weights=request.weights,
        vocabulary_tile=TILE,
    )


def let_go() -> None:
    """Give a model's memory back before the next one is opened."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
