"""Measuring for ``qkld compare``: one model in memory at a time, token tables in a temporary folder."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from qkld.breakdown import breakdown_table
from qkld.compare.names import distinct_labels, model_entry
from qkld.compare.request import DEFAULT_CONTEXT, DEFAULT_TEXT, DEFAULT_WINDOWS, SCORE_FROM, Comparison, Request
from qkld.corpora import OWN_LENGTH, CorpusWindows, read_documents, scored_by_context, text_windows
from qkld.errors import CorpusError, ParameterError, StoreError, explain
from qkld.fidelity import summarise
from qkld.floors import WIDER
from qkld.measuring import Scored, forget_partial, measure
from qkld.models import OpenedModel, open_model
from qkld.paired import floor_means, paired_table
from qkld.params import FLOOR_DTYPE, Compute, Corpus, MadeModel, ModelEntry, StoredModel, Study, load_params
from qkld.paths import project_root
from qkld.provenance import made_by
from qkld.recording import corpus_header, record_windows
from qkld.reference import ReferenceStore
from qkld.sources import fetch
from qkld.tables import TOKENS, read_table, write_table

TILE = 8192
"""Vocabulary rows taken at a time; changes speed and memory only."""


@dataclass
class _Session:
    """One comparison under way: its folder, its store, and the labels measured so far."""

    request: Request
    folder: Path
    compute: Compute
    store: ReferenceStore
    scored: Scored
    text: str
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)

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
        _let_go()


def compare(request: Request) -> Comparison:
    """Measure every quant of a request against its reference, and the floor; nothing is left on disk.

    Raises
    ------
    QkldError
        If a model, text or store can not be used; each message says what was expected and what to do.
    """
    with _some_project(), tempfile.TemporaryDirectory(prefix="qkld-compare-") as folder:
        study = load_params(request.study) if request.study else None
        reference = _reference(request, study)
        quants = _quants(request, study, reference)
        session = _opened_session(request, Path(folder), reference, study)
        base = reference if isinstance(reference, StoredModel) else _base(study)
        if request.floor and base is not None and _has_wider(session.store):
            wider = session.compute.model_copy(update={"compute_dtype": WIDER[session.store.header.dtype]})
            session.measured(FLOOR_DTYPE, lambda: open_model(base, reference=base, compute=wider), same_dtype=False)
        for quant in quants:
            own = base or quant
            session.measured(quant.label, lambda q=quant, r=own: open_model(q, reference=r, compute=session.compute))
        return _summed_up(session, [q.label for q in quants])


# --- what is asked for ------------------------------------------------------------------------------------------------


def _reference(request: Request, study: Study | None) -> StoredModel | Path:
    """The reference's entry, or the folder of a store."""
    if request.reference is None:
        return study.reference
    folder = Path(request.reference).expanduser()
    if (folder / "header.json").exists() or (folder / "hidden.zarr").exists():
        return folder
    if stores := sorted(p.parent.name for p in folder.glob("*/header.json")):
        raise StoreError(
            explain(
                f"{folder} is no store but the folder of some.",
                expected=f"one of {', '.join(stores)}",
                found="the folder above",
                do="name a store",
            )
        )
    entry = model_entry(request.reference, study=study)
    if isinstance(entry, MadeModel):
        raise ParameterError(
            explain(
                "A quantizer makes a quant, not a reference.",
                expected="a stored model or a store as --reference",
                found=request.reference,
                do="give the model that it is applied to",
            )
        )
    return entry.model_copy(update={"label": "reference"}) if study is None else entry


def _quants(request: Request, study: Study | None, reference: StoredModel | Path) -> list[ModelEntry]:
    entries = [model_entry(text, study=study) for text in request.quants]
    made = [e.recipe for e in entries if isinstance(e, MadeModel)]
    if made and isinstance(reference, Path) and study is None:
        raise ParameterError(
            explain(
                f"'{made[0]}' can not be made from a store.",
                expected="a model as --reference, or --study with the study whose reference made the store",
                found=str(reference),
                do="give one of the two",
            )
        )
    return distinct_labels(entries, [] if isinstance(reference, Path) else [reference.label])


def _has_wider(store: ReferenceStore) -> bool:
    """Whether the device computes in the next wider dtype: MPS has no float64."""
    return not (store.header.device == "mps" and WIDER[store.header.dtype] == "float64")


def _base(study: Study | None) -> StoredModel | None:
    return None if study is None else study.reference


# --- the reference ----------------------------------------------------------------------------------------------------


def _opened_session(request: Request, folder: Path, reference: StoredModel | Path, study: Study | None) -> _Session:
    if isinstance(reference, Path):
        return _from_store(request, folder, reference, study)
    compute = _compute(request, request.device, request.dtype)
    model = open_model(reference, reference=reference, compute=compute)
    corpus, windows = _windows(request, model)
    header = corpus_header(windows, model)
    record_windows(folder / "reference", header, model, description="reference")
    store = ReferenceStore.open(header.folder(folder / "reference"), expected_key=header.key)
    scored = scored_by_context(corpus, header.windows, SCORE_FROM)
    session = _Session(request, folder, compute, store, scored, text=str(request.text or DEFAULT_TEXT))
    session.facts["reference"] = model.facts() | {"given_as": reference.recipe}
    del model
    _let_go()
    return session


def _from_store(request: Request, folder: Path, place: Path, study: Study | None) -> _Session:
    """A store's own windows, every kept position scored; with a study, made quants start from its reference."""
    for option, given in (("--text", request.text), ("--context", request.context)):
        if given is not None:
            raise ParameterError(
                explain(
                    f"{option} can not be given with a store.",
                    expected="the store's own text and windows",
                    found=given,
                    do=f"drop {option}, or give a model as --reference",
                )
            )
    store = ReferenceStore.open(place)
    header = store.header
    device = header.device if request.device == "auto" else request.device
    compute = _compute(request, device, header.compute_dtype if request.dtype == "auto" else request.dtype)
    lengths = {len(w.tokens) for w in header.windows}
    context = lengths.pop() if len(lengths) == 1 else OWN_LENGTH
    scored = [{context: tuple(p + 1 for p in w.positions)} for w in header.windows]
    session = _Session(request, folder, compute, store, scored, text=f"of the store {place.name}")
    session.facts["reference"] = {"weights_sha256": header.model_sha256, "given_as": str(place)}
    if study is not None:
        _check_made_by(store, open_model(study.reference, reference=study.reference, compute=compute))
        _let_go()
    return session


def _check_made_by(store: ReferenceStore, model: OpenedModel) -> None:
    if model.weights_sha256 != store.header.model_sha256:
        raise StoreError(
            explain(
                "The store was made by another model than the study's reference.",
                expected=store.header.model_sha256,
                found=model.weights_sha256,
                do="give the study that made the store, or its device and dtype",
            )
        )


def _compute(request: Request, device: str, dtype: str) -> Compute:
    return Compute(
        device=device,
        compute_dtype=dtype,
        head_dtype="compute_dtype",
        device_map="none",
        weights=request.weights,
        vocabulary_tile=TILE,
    )


def _windows(request: Request, model: OpenedModel) -> tuple[Corpus, CorpusWindows]:
    """The text's windows for this model, and the corpus that they are of."""
    context = request.context or min(DEFAULT_CONTEXT, model.context_length)
    if context > model.context_length:
        raise CorpusError(
            explain(
                "A window is longer than the model's context.",
                expected=f"at most {model.context_length} tokens",
                found=context,
                do="give a smaller --context",
            )
        )
    source = fetch(DEFAULT_TEXT) if request.text is None else request.text.expanduser()
    documents = read_documents(source)
    corpus = Corpus(
        name="text",
        path=str(source),
        context_lengths=(context,),
        windows=request.windows or _windows_there(documents, model.tokenizer, context, request.packing),
        packing=request.packing,
    )
    return corpus, text_windows(corpus, documents, model.tokenizer, SCORE_FROM)


def _windows_there(documents: list[str], tokenizer: Any, context: int, packing: str) -> int:
    """Windows that the text gives, at least 1 and at most `DEFAULT_WINDOWS`; counts tokens as `text_windows` does."""
    room = context - len(tokenizer("")["input_ids"])
    end = "\n\n" if packing == "packed" else ""
    windows, tokens = 0, 0
    for document in documents:
        length = len(tokenizer((document.strip() if end else document) + end, add_special_tokens=False)["input_ids"])
        tokens += length
        windows = tokens // room if packing == "packed" else windows + (length >= room)
        if windows >= DEFAULT_WINDOWS:
            return DEFAULT_WINDOWS
    return max(1, windows)


# --- the figures ------------------------------------------------------------------------------------------------------


def _summed_up(session: _Session, quants: list[str]) -> Comparison:
    request = session.request
    how = {"confidence": request.confidence, "bootstrap": request.bootstrap}
    floor = [FLOOR_DTYPE] if FLOOR_DTYPE in session.facts else []
    parts = [
        summarise(session.tokens(label), label, **how, rng=np.random.default_rng(request.seed))
        for label in (*floor, *quants)
    ]
    fidelity = pd.concat(parts, ignore_index=True)
    means = fidelity[fidelity["metric"] == "kl_mean"].set_index("quant")["estimate"]
    ordered = sorted(quants, key=lambda label: means[label])
    floors = floor_means(fidelity, FLOOR_DTYPE)
    paired = None
    if len(quants) > 1:
        paired = paired_table(session.tokens, ordered, **how, power=request.power, seed=request.seed, floor=floors)
    return Comparison(
        made=made_by(**_record(session)),
        fidelity=fidelity,
        breakdown=breakdown_table(session.tokens, [*floor, *quants], **how, seed=request.seed),
        paired=paired,
    )


def _record(session: _Session) -> dict[str, Any]:
    """What the figures depend on."""
    request, header = session.request, session.store.header
    return {
        "models": session.facts,
        "text": session.text,
        "store_key": header.key,
        "compute_dtype": header.compute_dtype,
        "device": header.device,
        "weights": request.weights,
        "floor_dtype": session.facts.get(FLOOR_DTYPE, {}).get("compute_dtype"),
        "statistics": {name: getattr(request, name) for name in ("confidence", "bootstrap", "power", "seed")},
    }


# --- surroundings -----------------------------------------------------------------------------------------------------


def _let_go() -> None:
    """Give a model's memory back before the next one is opened."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def _some_project() -> Iterator[None]:
    """Outside a project, fetched texts and converted GGUF files go to the user's cache."""
    if _in_project():
        yield
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "qkld"
    cache.mkdir(parents=True, exist_ok=True)
    os.environ["QKLD_ROOT"] = str(cache)
    try:
        yield
    finally:
        del os.environ["QKLD_ROOT"]


def _in_project() -> bool:
    try:
        project_root()
    except ParameterError:
        return False
    return True
