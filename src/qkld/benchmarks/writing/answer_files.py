"""Answers on disk, one file each with a digest, so that a killed run goes on with the next answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from qkld.benchmarks.writing.batched_writing import write_answers
from qkld.benchmarks.writing.prompts import Prompt, Sampling, Written
from qkld.models import OpenedModel
from qkld.study.locks import LOCK_PATIENCE, locked
from qkld.study.progress import steps
from qkld.study.provenance import key_of
from qkld.study.sealing import FORMAT, altered, read_sealed, write_sealed

AGAIN = "delete it and run the same notebook again"


def kept_answers(
    model: OpenedModel, prompts: Sequence[Prompt], sampling: Sampling, folder: Path, *, description: str
) -> dict[str, Written]:
    """Request → answer of every prompt; those that lie in ``folder`` already are read, the others written there.

    The folder belongs to one model and one `Sampling`: see `answers_key`.

    Raises
    ------
    StoreError
        If a kept answer was damaged or edited.
    BenchmarkError
        If a prompt does not fit into the model's context.
    """
    distinct = list({prompt.request: prompt for prompt in prompts}.values())
    with locked(folder / ".lock", patience=LOCK_PATIENCE):
        missing = [prompt for prompt in distinct if not _file(folder, prompt).exists()]
        with steps(description, len(missing), unit="answer") as progress:
            for number, written in write_answers(model, missing, sampling):
                _save(_file(folder, missing[number]), missing[number], written)
                progress.advance(tokens=len(written.tokens))
        return {prompt.request: _read(_file(folder, prompt), prompt) for prompt in distinct}


def answers_key(model: OpenedModel, sampling: Sampling) -> str:
    """Name of whatever decides a model's answers beside the prompt; batches do not (see `generation.writing`)."""
    return key_of(
        {
            "format": FORMAT,
            "weights": model.weights_sha256,
            "head": model.head.sha256(),
            "tokenizer": model.tokenizer_sha256,
            "compute_dtype": str(model.compute_dtype),
            "device": model.device.type,
            "sampling": sampling.key(),
        }
    )


def _file(folder: Path, prompt: Prompt) -> Path:
    return folder / f"{prompt.request}.json"


def _save(path: Path, prompt: Prompt, written: Written) -> None:
    values = {**asdict(written), "tokens": list(written.tokens)}
    write_sealed(path, {"request": prompt.request, "answer": values})


def _read(path: Path, prompt: Prompt) -> Written:
    kept = read_sealed(path, do=AGAIN)
    if kept.get("request") != prompt.request:
        raise altered(path, f"the answer to {kept.get('request')}", do=AGAIN)
    return Written(**{**kept["answer"], "tokens": tuple(kept["answer"]["tokens"])})
