"""A stored model with `pad`, `rotate` or `permute` applied, as a folder that opens as any other."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import torch

from qkld.errors import ModelError
from qkld.models.folders import files_sha256, weight_files
from qkld.models.gguf.open_in_torch import BITS_FILE
from qkld.models.transformers import load_module, quantization_of
from qkld.models.transformers_library import quiet_loading
from qkld.models.transforms.transforms import transform
from qkld.study.entries import StoredModel
from qkld.study.locks import locked
from qkld.study.paths import data_folder
from qkld.study.provenance import key_of

VERSION = 1
"""Raised when a change of the transforms alters weights."""


def is_transformed(entry: StoredModel) -> bool:
    """Whether the entry asks for padding or another basis."""
    return any(value is not None for value in (entry.pad, entry.rotate, entry.permute))


def transformed_folder(entry: StoredModel, folder: Path) -> Path:
    """The folder of the transformed model, float32 safetensors; made on first use, atomically.

    ``folder`` is the plain model's. Float64 products are rounded once to float32; another machine's linear algebra may
    round single weights the other way.

    Raises
    ------
    ModelError
        If the model is quantized, or of an architecture that cannot be transformed.
    """
    target = place_of_transformed(entry, folder)
    with locked(target.parent / f".{target.name}.lock"):
        if not target.exists():
            _write_folder(entry, folder, target)
    return target


def place_of_transformed(entry: StoredModel, folder: Path) -> Path:
    """Where the transformed model lies, made or not: named by the plain weights' hash and what is asked of them."""
    asked = {"pad": entry.pad, "rotate": entry.rotate, "version": VERSION}
    asked |= {} if entry.permute is None else {"permute": entry.permute}
    return data_folder() / "transformed" / key_of({"source": _source(folder), **asked})


def _source(folder: Path) -> str:
    """Hash of the plain weights; a folder converted from a GGUF file is named by that file's, checked on opening."""
    converted = (folder / BITS_FILE).is_file()
    return folder.name if converted else files_sha256(weight_files(folder))


def _write_folder(entry: StoredModel, folder: Path, target: Path) -> None:
    """Write the model under a temporary name, then rename."""
    if quantization_of(folder):
        raise ModelError(
            f"'{entry.label}' cannot be padded or put into another basis.",
            expected="plain weights",
            found="a quantized model",
            do="choose the unquantized model as the reference",
        )
    module = load_module(folder, label=entry.label, dtype=torch.float32)
    changed = transform(module, multiple=entry.pad, seed=entry.rotate, permutation=entry.permute)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=".partial-"))
    try:
        with quiet_loading():
            changed.save_pretrained(temporary)
        temporary.chmod(0o755)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
