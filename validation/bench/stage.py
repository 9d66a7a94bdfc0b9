"""What the benchmarks run: real text in windows, a store of the reference, and notebook 02's work on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from qkld.divergence.measuring import Scored, forget_partial, measure
from qkld.models import OpenedModel
from qkld.reference.recording import corpus_header, corpus_windows, record_windows
from qkld.reference.store import ReferenceStore
from qkld.sources.corpora import scored_by_context
from qkld.sources.windows import Window
from qkld.statistics.tokens.fidelity import summarise
from qkld.study.large_tables import SpooledTable
from qkld.study.params import Corpus, Study, load_params
from qkld.study.provenance import made_by
from qkld.study.schemas import FIDELITY, TOKENS, write_table

STUDY = "demo"
"""The study whose model, quants and text are timed."""

QUANT = "torchao-int8-g64"
"""The quant of it that is timed."""

CONTEXT = 512
"""Tokens of a window."""

SCORE_FROM = 0.5
"""The second half of each window is scored, as llama.cpp does."""


def bench_study(compute_dtype: str, head_dtype: str = "compute_dtype") -> Study:
    """The demo study on the CPU in these dtypes."""
    study = load_params(STUDY)
    changes = {"device": "cpu", "compute_dtype": compute_dtype, "head_dtype": head_dtype}
    compute = study.compute.model_copy(update=changes)
    scored = study.reference_logits.model_copy(update={"score_from": SCORE_FROM})
    return study.model_copy(update={"compute": compute, "reference_logits": scored})


def prose(study: Study, windows: int, context: int = CONTEXT) -> Corpus:
    """The study's prose in this many windows of one length."""
    return Corpus(name="prose", asset=study.corpora[0].asset, context_lengths=(context,), windows=windows)


def recorded(study: Study, corpus: Corpus, model: OpenedModel, root: Path) -> tuple[ReferenceStore, Scored]:
    """A sealed store of the reference on a corpus, below ``root``, with the scored positions of its windows."""
    header = corpus_header(corpus_windows(study, corpus, model), model)
    record_windows(root, header, model, description="reference")
    store = ReferenceStore.open(header.folder(root), expected_key=header.key)
    return store, scored_by_context(corpus, header.windows, study.reference_logits.score_from)


@torch.inference_mode()
def bare_pass(model: OpenedModel, windows: Sequence[Window]) -> None:
    """The forward pass of every window with the model's head on its scored positions; nothing is kept."""
    for window in windows:
        hidden = model.hidden(torch.tensor([window.tokens], device=model.device))
        model.head.logits(hidden[0, list(window.positions)])


def measured(
    study: Study, model: OpenedModel, store: tuple[ReferenceStore, Scored], folder: Path, *, windows: int | None = None
) -> SpooledTable:
    """Notebook 02 from a loaded model to written tables, through the same calls; returns the token table."""
    knobs = study.quant_kld
    tokens = measure(model, [store], folder / "partial", tile=study.compute.vocabulary_tile, windows=windows)
    made = made_by(study=study.study, quant=model.label, model=model.facts(), stores=[store[0].header.key])
    rng = np.random.default_rng(knobs.kld_seed)
    fidelity = summarise(tokens, model.label, confidence=knobs.confidence, bootstrap=knobs.bootstrap, rng=rng)
    write_table(folder / "kld.parquet", tokens, TOKENS, made)
    write_table(folder / "fidelity.parquet", fidelity, FIDELITY, made)
    forget_partial(folder / "partial")
    return tokens
