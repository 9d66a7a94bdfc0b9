"""Stage 01: run the reference over the corpora once and store its hidden states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from qkld.errors import StageError, StoreError
from qkld.models import OpenedModel
from qkld.reference.store import NOTEBOOK, ReferenceStore, StoreHeader, StoreWriter
from qkld.sources.corpora import (
    CorpusWindows,
    chat_prompts,
    chat_windows,
    corpus_documents,
    scored_by_context,
    text_windows,
)
from qkld.sources.windows import ANSWERS_AT_ONCE
from qkld.study.entries import identity
from qkld.study.params import Corpus, Study
from qkld.study.paths import StudyPaths
from qkld.study.progress import steps
from qkld.study.provenance import key_of
from qkld.study.sealing import FORMAT, read_sealed, write_sealed


def record_corpora(params: Study, model: OpenedModel) -> dict[str, Any]:
    """Store the reference's hidden states for every corpus of a study, then write the seal; returns the seal.

    Finished windows of an earlier run with the same content are kept. The seal names every store and what it was made
    for; it is equal, byte for byte, whenever the stores are.
    """
    paths = StudyPaths(params.study)
    seal: dict[str, Any] = {"made_for": made_for(params), "corpora": {}}
    for corpus in params.corpora:
        windows = corpus_windows(params, corpus, model)
        header = corpus_header(windows, model)
        manifest = record_windows(paths.reference, header, model, description=f"reference on {corpus.name}")
        seal["corpora"][corpus.name] = {
            "folder": header.folder(paths.reference).name,
            "key": header.key,
            "manifest_sha256": manifest["sha256"],
            "windows": len(windows.windows),
            "clusters": windows.clusters,
            **{name: manifest[name] for name in ("scored_tokens", "raw_bytes", "stored_bytes")},
        }
    return write_sealed(paths.corpora_seal, seal)


def made_for(params: Study) -> dict[str, Any]:
    """What the stores of a study depend on, as JSON: a seal that names anything else belongs to another study."""
    values = params.model_dump(mode="json")
    compute = {name: values["compute"][name] for name in ("device", "compute_dtype", "head_dtype")}
    return {
        "reference": identity(params.reference),
        "compute": compute,
        "corpora": values["corpora"],
        "reference_logits": values["reference_logits"],
    }


def corpus_windows(params: Study, corpus: Corpus, model: OpenedModel) -> CorpusWindows:
    """The windows of a corpus for this model; a chat's answers are the reference's own, greedy."""
    documents = corpus_documents(corpus)
    if corpus.kind == "text":
        windows = text_windows(corpus, documents, model.tokenizer, params.reference_logits.score_from)
    else:
        prompts = chat_prompts(corpus, documents, model.tokenizer)
        windows = chat_windows(corpus, prompts, _kept_answers(params, prompts, model))
    longest = max(len(w.tokens) for w in windows.windows)
    if longest > model.context_length:
        raise StageError(
            f"A window of corpus '{corpus.name}' is longer than the model's context.",
            expected=f"at most {model.context_length} tokens",
            found=longest,
            do="choose shorter context_lengths",
        )
    return windows


def corpus_header(windows: CorpusWindows, model: OpenedModel) -> StoreHeader:
    """The header of the store that holds these windows of this reference."""
    return StoreHeader(
        kind="corpus",
        name=windows.name,
        model_sha256=model.weights_sha256,
        tokenizer_sha256=model.tokenizer_sha256,
        compute_dtype=str(model.compute_dtype).removeprefix("torch."),
        device=model.device.type,
        head_sha256=model.head.sha256(),
        width=model.head.width,
        windows=windows.windows,
    )


def record_windows(root: Path, header: StoreHeader, model: OpenedModel, *, description: str) -> dict[str, Any]:
    """Run a model over the windows that a store still misses, and seal it; returns the manifest."""
    model.check_tokens(window.tokens for window in header.windows)
    with StoreWriter(root, header, model.head) as store:
        missing = store.missing()
        with steps(description, len(missing), unit="window") as progress:
            for index in missing:
                window = header.windows[index]
                hidden = model.hidden(torch.tensor([window.tokens], device=model.device))
                store.write(index, hidden[0, list(window.positions)])
                progress.advance(tokens=len(window.tokens))
        return store.seal()


def _kept_answers(params: Study, prompts: list[tuple[int, ...]], model: OpenedModel) -> list[tuple[int, ...]]:
    """The reference's greedy answers, kept beside the stores so that a resumed run scores the same tokens."""
    model.check_tokens(prompts)
    wanted = params.reference_logits.chat_answer_tokens
    dtype = str(model.compute_dtype)
    key = key_of([FORMAT, model.weights_sha256, model.tokenizer_sha256, dtype, model.device.type, prompts, wanted])
    path = StudyPaths(params.study).reference / f"answers-{key}.json"
    if not path.exists():
        batches = (prompts[i : i + ANSWERS_AT_ONCE] for i in range(0, len(prompts), ANSWERS_AT_ONCE))
        write_sealed(path, {"answers": [a for batch in batches for a in greedy_answers(model, batch, wanted)]})
    kept = read_sealed(path, do=f"delete it and run {NOTEBOOK}")
    return [tuple(answer) for answer in kept["answers"]]


@torch.inference_mode()
def greedy_answers(model: OpenedModel, prompts: list[tuple[int, ...]], max_tokens: int) -> list[list[int]]:
    """Greedy continuations of token prompts, each up to and with its end token, at most ``max_tokens`` long.

    Prompts of several lengths share a batch only where a mask hides the padding from every layer.
    """
    lengths = [0 if model.supports_packing else len(p) for p in prompts]
    answers: dict[int, list[int]] = {}
    for length in sorted(set(lengths)):
        places = [i for i, own in enumerate(lengths) if own == length]
        written = _greedy_together(model, [prompts[i] for i in places], max_tokens)
        answers |= dict(zip(places, written, strict=True))
    return [answers[i] for i in range(len(prompts))]


def _greedy_together(model: OpenedModel, prompts: list[tuple[int, ...]], max_tokens: int) -> list[list[int]]:
    end = model.tokenizer.eos_token_id
    longest = max(len(p) for p in prompts)
    padded = torch.tensor([[end] * (longest - len(p)) + list(p) for p in prompts], device=model.device)
    attended = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    padding = list(range(model.vocabulary, model.vocabulary + model.padded_rows)) or None
    greedy = GenerationConfig(
        do_sample=False,
        repetition_penalty=1.0,
        max_new_tokens=max_tokens,
        eos_token_id=end,
        pad_token_id=end,
        suppress_tokens=padding,
    )
    out = model.module.generate(padded, attention_mask=attended, generation_config=greedy)
    answers = out[:, longest:].tolist()
    return [a[: a.index(end) + 1] if end in a else a for a in answers]


def open_corpora(params: Study) -> list[tuple[ReferenceStore, list[dict[int, tuple[int, ...]]]]]:
    """The sealed stores of a study's corpora, each with its windows' scored positions by context.

    Raises
    ------
    StageError, StoreError
        If notebook 01 has not run, or ran with other parameters.
    """
    paths = StudyPaths(params.study)
    seal = read_seal(paths.corpora_seal, made_for(params))
    opened = []
    for corpus in params.corpora:
        entry = seal["corpora"][corpus.name]
        store = ReferenceStore.open(paths.reference / entry["folder"], expected_key=entry["key"])
        scored = scored_by_context(corpus, store.header.windows, params.reference_logits.score_from)
        opened.append((store, scored))
    return opened


def read_seal(path: Path, expected: dict[str, Any]) -> dict[str, Any]:
    """A seal of notebook 01, checked to be made for these parameters."""
    if not path.exists():
        raise StageError(
            "The reference has not been recorded.", expected=path, found="no such file", do=f"run {NOTEBOOK}"
        )
    seal = read_sealed(path, do=f"delete it and run {NOTEBOOK}")
    found = seal["made_for"]
    if found != expected:
        differing = {k: (found.get(k), v) for k, v in expected.items() if found.get(k) != v}
        raise StoreError(
            f"The stores of {path.parent.parent.name} were made for another reference, corpus or dtype.",
            expected={k: v for k, (_, v) in differing.items()},
            found={k: v for k, (v, _) in differing.items()},
            do=f"run {NOTEBOOK} with the same parameters as this notebook",
        )
    return seal
