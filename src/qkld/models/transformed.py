"""The study's reference with `pad` and `rotate` applied: a folder that opens as any other, and a GGUF file of it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import torch

from qkld.errors import ModelError, explain
from qkld.locks import locked
from qkld.models.folders import files_sha256
from qkld.models.gguf import gguf_files
from qkld.models.gguf_writing import write_gguf
from qkld.models.quiet import quiet_loading
from qkld.models.transformers import load_module, load_tokenizer, quantization_of
from qkld.models.transforms import transform
from qkld.params import GgufModel, StoredModel
from qkld.paths import data_folder
from qkld.provenance import key_of

VERSION = 1
"""Raised when a change of the transforms alters weights."""


def is_transformed(entry: StoredModel) -> bool:
    """Whether the entry asks for padding or rotation."""
    return entry.pad is not None or entry.rotate is not None


def transformed_folder(entry: StoredModel, folder: Path) -> Path:
    """The folder of the transformed model, float32 safetensors and tokenizer; made on first use, atomically.

    ``folder`` is the plain model's. The new one is named by its weights' hash, ``pad`` and ``rotate``. Float64 products
    are rounded once; another machine's linear algebra may round a handful of the weights the other way.

    Raises
    ------
    ModelError
        If the model is quantized, or of an architecture that can not be transformed.
    """
    source = files_sha256(sorted(folder.glob("*.safetensors")))
    key = key_of({"source": source, "pad": entry.pad, "rotate": entry.rotate, "version": VERSION})
    target = data_folder() / "transformed" / key
    with locked(target.parent / f".{key}.lock"):
        if not target.exists():
            _write_folder(entry, folder, target)
    return target


def _write_folder(entry: StoredModel, folder: Path, target: Path) -> None:
    """Write model and tokenizer under a temporary name, then rename."""
    if quantization_of(folder):
        raise ModelError(
            explain(
                f"'{entry.label}' can not be padded or rotated.",
                expected="plain weights",
                found="a quantized model",
                do="choose the unquantized model as the reference",
            )
        )
    module = load_module(folder, label=entry.label, dtype=torch.float32)
    changed = transform(module, multiple=entry.pad, seed=entry.rotate)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=".partial-"))
    try:
        with quiet_loading():
            changed.save_pretrained(temporary)
        load_tokenizer(folder).save_pretrained(temporary)
        temporary.chmod(0o755)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def reference_gguf(entry: StoredModel, folder: Path) -> Path:
    """The reference as one GGUF file of float32, from which llama.cpp makes its quants; written on first use.

    ``folder`` is the one the reference is opened from, transformed where the entry asks for it.

    Raises
    ------
    ModelError
        If the reference is no GGUF file, whose header and tokenizer are needed, or of another architecture than llama.
    """
    if not isinstance(entry, GgufModel):
        raise ModelError(
            explain(
                f"'{entry.label}' can not be written as a GGUF file.",
                expected="a reference that is a GGUF file, for its header and tokenizer",
                found=f"method {entry.method}",
                do="convert it with llama.cpp's convert_hf_to_gguf.py, and make the GGUF file the reference",
            )
        )
    target = folder.parent.parent / "float32" / f"{folder.name}.gguf"
    with locked(target.parent / f".{target.name}.lock"):
        if not target.exists():
            module = load_module(folder, label=entry.label, dtype=torch.float32)
            write_gguf(module, gguf_files(entry)[0], target)
    return target
