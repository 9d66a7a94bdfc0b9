"""Floor rows: what the measurement itself adds, shown beside the quants and subtracted from none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from qkld.models import OpenedModel, open_model
from qkld.models.devices import choose_device, choose_dtype
from qkld.params import FLOOR_BATCH, FLOOR_DTYPE, Study


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
