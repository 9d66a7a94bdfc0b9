"""Answers on disk, one file each with a digest, so that a killed run goes on with the next answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from qkld.errors import BenchmarkError, explain
from qkld.generation.prompts import Prompt, Sampling, Written
from qkld.generation.writing import write_answers
from qkld.locks import locked
from qkld.models import OpenedModel
from qkld.provenance import key_of, write_json
from qkld.reference import LOCK_PATIENCE


def kept_answers(
    model: OpenedModel, prompts: Sequence[Prompt], sampling: Sampling, folder: Path, *, description: str
) -> dict[str, Written]:
    """Request → answer of every prompt; those that lie in ``folder`` already are read, the others written there.

    The folder belongs to one model and one `Sampling`: see `answers_key`.

    Raises
    ------
    BenchmarkError
        If a kept answer was damaged or edited, or a prompt does not fit into the model's context.
    """
    distinct = list({prompt.request: prompt for prompt in prompts}.values())
    with locked(folder / ".lock", patience=LOCK_PATIENCE):
        missing = [prompt for prompt in distinct if not _file(folder, prompt).exists()]
        fresh = write_answers(model, missing, sampling)
        for number, written in tqdm(fresh, total=len(missing), desc=description, unit="answer"):
            _save(_file(folder, missing[number]), missing[number], written)
        return {prompt.request: _read(_file(folder, prompt), prompt) for prompt in distinct}


def answers_key(model: OpenedModel, sampling: Sampling) -> str:
    """Name of whatever decides a model's answers beside the prompt; batches do not (see `generation.writing`)."""
    return key_of(
        {
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


def _digest(prompt: Prompt, values: dict[str, Any]) -> str:
    return key_of([prompt.request, values])


def _save(path: Path, prompt: Prompt, written: Written) -> None:
    values = {**asdict(written), "tokens": list(written.tokens)}
    write_json(path, {**values, "digest": _digest(prompt, values)})


def _read(path: Path, prompt: Prompt) -> Written:
    try:
        values = json.loads(path.read_text())
        digest, expected = values.pop("digest"), _digest(prompt, values)
        problem = None if digest == expected else f"digest {digest}, not {expected}"
        written = Written(**{**values, "tokens": tuple(values["tokens"])})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"{type(error).__name__}: {error}"
    if problem:
        raise BenchmarkError(
            explain(
                f"{path} was damaged or edited.",
                expected="one answer with its digest",
                found=problem,
                do="delete it and run the same notebook again",
            )
        )
    return written
