"""Speed of the files where it is asked for: measured here, once for each engine, processor and number of threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers

from qkld.compare.session import Session
from qkld.models import OpenedModel
from qkld.models.gguf.llamacpp_library import version
from qkld.models.gguf.open_in_llamacpp import LlamaCppModel
from qkld.models.speed import measured_speed
from qkld.pick.candidates import Candidate
from qkld.pick.files_to_pick import Files
from qkld.study.entries import GgufModel, StoredModel
from qkld.study.params import Compute
from qkld.study.processors import processor
from qkld.study.provenance import key_of
from qkld.study.sealing import read_sealed, write_sealed

Opened = Callable[[StoredModel, Compute], OpenedModel]


def engine_of(entry: StoredModel) -> str:
    """What a file is deployed in: GGUF in llama.cpp, a checkpoint in torch.

    Raises
    ------
    ModelError
        If llama.cpp is needed and not here.
    """
    if isinstance(entry, GgufModel):
        return version()
    return f"torch {torch.__version__}, transformers {transformers.__version__}"


def kept_speed(session: Session, files: Files, file: Candidate, opened: Opened) -> dict[str, Any]:
    """Speed of a file in its engine, its quantized weights as they are, with where it was measured; measured once."""
    how = {
        "engine": engine_of(file.entry),
        "threads": torch.get_num_threads(),
        "processor": processor()["name"],
        "device": session.compute.device,
    }
    place = session.folder / f"{file.kept_name}-speed-{key_of(how)[:6]}.json"
    if not place.exists():
        native = session.compute.model_copy(update={"weights": "native"})
        in_engine = {"engine": "llamacpp"} if isinstance(file.entry, GgufModel) else {}
        text = [token for window in session.store.header.windows for token in window.tokens]
        with files.at_hand(file):
            model = opened(file.entry.model_copy(update={"label": file.kept_name, **in_engine}), native)
            speeds = measured_speed(model, text)
        write_sealed(place, {"speeds": [list(speed) for speed in speeds], "where": _where(model, how)})
    return read_sealed(place, do="delete it and run the same command again")


def _where(model: OpenedModel, how: dict[str, Any]) -> str:
    """Engine and machine, for the note below the table."""
    on_gpu = model.module.gpu if isinstance(model, LlamaCppModel) else model.device.type == "cuda"
    if on_gpu:
        return f"{how['engine']}, on {torch.cuda.get_device_name(model.device)}"
    threads = "1 thread" if how["threads"] == 1 else f"{how['threads']} threads"
    return f"{how['engine']}, {threads} of {how['processor']}"
