"""The reference of a comparison, recorded or read; the text's windows; the quants' entries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from qkld.compare.compare_request import DEFAULT_CONTEXT, DEFAULT_TEXT, DEFAULT_WINDOWS, SCORE_FROM, Request
from qkld.compare.session import Session, compute_of, let_go
from qkld.compare.stores import BaseFile, HiddenStates, TopKStore, open_store
from qkld.errors import CorpusError, ParameterError, StoreError
from qkld.models import OpenedModel, open_model
from qkld.models.names import distinct_labels, model_entry
from qkld.reference.recording import corpus_header, record_windows
from qkld.reference.store import ReferenceStore
from qkld.sources import fetch
from qkld.sources.corpora import OWN_LENGTH, CorpusWindows, read_documents, scored_by_context, text_windows
from qkld.sources.tokenizer import start_of_text
from qkld.study.entries import GgufModel, MadeModel, ModelEntry, StoredModel, each_cache
from qkld.study.params import Corpus, Study

AnyStore: TypeAlias = HiddenStates | BaseFile | TopKStore


def reference_of(request: Request, study: Study | None) -> StoredModel | AnyStore:
    """The reference's entry, or a store of whichever kind."""
    if request.reference is None:
        return study.reference
    if "://" in request.reference:
        return open_store(request.reference)
    folder = Path(request.reference).expanduser()
    if (folder / "header.json").exists() or (folder.is_file() and folder.suffix != ".gguf"):
        return open_store(folder)
    if stores := sorted(p.parent.name for p in folder.glob("*/header.json")):
        raise StoreError(
            f"{folder} is not a store but a folder of stores.",
            expected=f"one of {', '.join(stores)}",
            found="the folder that contains them",
            do="name a store",
        )
    entry = model_entry(request.reference, study=study)
    if isinstance(entry, MadeModel):
        raise ParameterError(
            "A quantizer cannot be the reference.",
            expected="a stored model or a store as --reference",
            found=request.reference,
            do="give the model that the quantizer is applied to",
        )
    return entry.model_copy(update={"label": "reference"}) if study is None else entry


def quants_of(request: Request, study: Study | None, reference: StoredModel | AnyStore) -> list[ModelEntry]:
    """The quants asked for, each under a label of its own.

    Raises
    ------
    ParameterError
        If one has to be made and neither a reference model nor a study says from what, or an engine is asked for and
        none of them is a GGUF file.
    """
    given = [_run_by(request.engine, model_entry(text, study=study)) for text in request.quants]
    entries = [cached for entry in given for cached in _in_caches(request, entry)]
    if request.engine and not any(isinstance(entry, GgufModel) for entry in entries):
        raise ParameterError(
            "--engine applies only to GGUF files.",
            expected="a .gguf file among the quants",
            found=", ".join(request.quants),
            do="drop --engine",
        )
    _check_caches(request, given)
    made = [e.recipe for e in entries if isinstance(e, MadeModel)]
    if made and study is None and not isinstance(reference, StoredModel):
        raise ParameterError(
            f"'{made[0]}' cannot be made from a store.",
            expected="a model as --reference, or --study with the study whose reference made the store",
            found=f"the store {reference.name}",
            do="give one of the two",
        )
    return distinct_labels(entries, ["reference", getattr(reference, "label", "reference")])


def _run_by(engine: str | None, entry: ModelEntry) -> ModelEntry:
    """The entry, run by this engine where it is a GGUF file; torch has no cache of its own to set."""
    if engine is None or not isinstance(entry, GgufModel):
        return entry
    cache = {} if engine == "llamacpp" else dict.fromkeys(("cache_k", "cache_v", "flash_attention"))
    return entry.model_copy(update={"engine": engine, **cache})


def _in_caches(request: Request, entry: ModelEntry) -> tuple[ModelEntry, ...]:
    """The entry with each pair of types of cache that is asked for, where llama.cpp runs it."""
    asked = {name: types for name, types in (("cache_k", request.cache_k), ("cache_v", request.cache_v)) if types}
    return each_cache(entry.model_copy(update=asked)) if asked and _has_cache(entry) else (entry,)


def _has_cache(entry: ModelEntry) -> bool:
    return isinstance(entry, GgufModel) and entry.engine == "llamacpp"


def _check_caches(request: Request, entries: Sequence[ModelEntry]) -> None:
    asked = [f"--cache-{name[-1]}" for name in ("cache_k", "cache_v") if getattr(request, name)]
    if asked and not any(map(_has_cache, entries)):
        raise ParameterError(
            f"{asked[0]} applies only to llama.cpp's cache.",
            expected="a .gguf file among the quants, and --engine llamacpp",
            found=", ".join(request.quants) + (f" in {request.engine}" if request.engine else ""),
            do=f"give both, or drop {' and '.join(asked)}",
        )


def opened_session(
    request: Request, folder: Path, reference: StoredModel | HiddenStates, study: Study | None
) -> Session:
    """A session against a store as it is, or against one recorded in ``folder`` from the reference model."""
    if not isinstance(reference, StoredModel):
        return _from_store(request, folder, reference.store, study)
    compute = compute_of(request, device=request.device, dtype=request.dtype)
    model = open_model(reference, reference=reference, compute=compute)
    corpus, windows = _windows(request, model)
    header = corpus_header(windows, model)
    record_windows(folder / "reference", header, model, description="reference")
    store = ReferenceStore.open(header.folder(folder / "reference"), expected_key=header.key)
    scored = scored_by_context(corpus, header.windows, _score_from(request))
    session = Session(request, folder, compute, store, scored, text=str(request.text or DEFAULT_TEXT))
    session.facts["reference"] = model.facts() | {"given_as": reference.recipe}
    del model
    let_go()
    return session


def _from_store(request: Request, folder: Path, store: ReferenceStore, study: Study | None) -> Session:
    """A store's own windows, every kept position scored; with a study, made quants start from its reference."""
    own = {"--text": request.text, "--context": request.context, "--score-from": request.score_from}
    for option, given in own.items():
        if given is not None:
            raise ParameterError(
                f"{option} cannot be given with a store.",
                expected="the store's own text and windows",
                found=given,
                do=f"drop {option}, or give a model as --reference",
            )
    header = store.header
    device = header.device if request.device == "auto" else request.device
    dtype = header.compute_dtype if request.dtype == "auto" else request.dtype
    compute = compute_of(request, device=device, dtype=dtype)
    lengths = {len(w.tokens) for w in header.windows}
    context = lengths.pop() if len(lengths) == 1 else OWN_LENGTH
    scored = [{context: tuple(p + 1 for p in w.positions)} for w in header.windows]
    session = Session(request, folder, compute, store, scored, text=f"of the store {store.folder.name}")
    session.facts["reference"] = {"weights_sha256": header.model_sha256, "given_as": str(store.folder)}
    if study is not None:
        _check_made_by(store, open_model(study.reference, reference=study.reference, compute=compute))
        let_go()
    return session


def _check_made_by(store: ReferenceStore, model: OpenedModel) -> None:
    if model.weights_sha256 != store.header.model_sha256:
        raise StoreError(
            "The store was made from another model than the study's reference.",
            expected=store.header.model_sha256,
            found=model.weights_sha256,
            do="give the study that made the store, or its device and dtype",
        )


def _windows(request: Request, model: OpenedModel) -> tuple[Corpus, CorpusWindows]:
    """The text's windows for this model, and the corpus that they are of."""
    context = request.context or min(DEFAULT_CONTEXT, model.context_length)
    if context > model.context_length:
        raise CorpusError(
            "A window is longer than the model's context.",
            expected=f"at most {model.context_length} tokens",
            found=context,
            do="give a smaller --context",
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
    return corpus, text_windows(corpus, documents, model.tokenizer, _score_from(request))


def _score_from(request: Request) -> float:
    return SCORE_FROM if request.score_from is None else request.score_from


def _windows_there(documents: list[str], tokenizer: Any, context: int, packing: str) -> int:
    """Windows that the text gives, at least 1 and at most `DEFAULT_WINDOWS`; counts tokens as `text_windows` does."""
    room = context - len(start_of_text(tokenizer))
    end = "\n\n" if packing == "packed" else ""
    windows, tokens = 0, 0
    for document in documents:
        length = len(tokenizer((document.strip() if end else document) + end, add_special_tokens=False)["input_ids"])
        tokens += length
        windows = tokens // room if packing == "packed" else windows + (length >= room)
        if windows >= DEFAULT_WINDOWS:
            return DEFAULT_WINDOWS
    return max(1, windows)
