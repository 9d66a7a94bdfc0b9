"""GGUF files: where an entry's files are, and the files run in torch from their dequantized weights.

transformers reads a GGUF file in half a minute for 135 M weights, so a file is converted once: dequantized into
float32, as gguf's own reader gives the values, and kept as a folder of safetensors named by the file's hash.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from qkld.errors import ModelError, SourceError
from qkld.models.bits import StoredBits
from qkld.models.folders import check_stated_hash, files_sha256, local_folder, snapshot
from qkld.models.gguf.config import completed
from qkld.models.gguf.gguf_files import check_parts, fact, gguf_bits, part_names, read, tensors
from qkld.models.gguf.header_tokenizer import header_tokenizer
from qkld.models.transformers import load_module
from qkld.models.transformers_library import quiet_loading, transformers_library
from qkld.study.entries import GgufModel, Importance, StoredModel, identity, source_of
from qkld.study.locks import locked
from qkld.study.paths import data_folder
from qkld.study.provenance import key_of, write_json

BITS_FILE = "stored_bits.json"

CONFIGURATION = 3
"""Raised when a change of `gguf_config` alters what a converted file computes."""

HEADER_VERSION = 1
"""Raised when a change of `gguf_tokenizer` alters the ids of any text."""


def converted_folder(entry: GgufModel) -> Path:
    """The folder of safetensors that a GGUF file was converted to; made on first use, atomically.

    Raises
    ------
    SourceError
        If a file is missing or has the wrong hash.
    ModelError
        If a file is no GGUF file, is truncated, or of a type or architecture that cannot be read.
    """
    files = gguf_files(entry)
    sha256 = _sha256(tuple(files), tuple(file.stat().st_mtime_ns for file in files))
    if entry.sha256 is not None:
        check_stated_hash(entry.label, sha256, entry.sha256)
    target = converted_place(sha256)
    with locked(target.parent / f".{target.name}.lock"):
        if not target.exists():  # else the same bytes have been checked: their header alone takes seconds to read
            check_parts(files)
            _convert(entry.label, files, target)
        elif not _counts_plain(target):
            write_json(target / BITS_FILE, gguf_bits(files).as_json())
    return target


def converted_place(sha256: str) -> Path:
    """Where the folder of a GGUF file with this hash lies, converted or not."""
    return data_folder() / "converted" / f"{sha256}-{CONFIGURATION}"


@lru_cache(maxsize=8)
def _sha256(files: tuple[Path, ...], modified: tuple[int, ...]) -> str:
    """Hash of files, once a process while they are the same: large ones take minutes."""
    return files_sha256(list(files))


def converted_tokenizer(entry: GgufModel) -> Path:
    """The folder of the tokenizer that a GGUF file's header describes; made on first use, atomically.

    Raises
    ------
    SourceError, ModelError
        As `converted_folder`.
    TokenizerError
        If the header has no vocabulary, or one that no tokenizer can be made from.
    """
    converted = converted_folder(entry)
    target = converted / f"tokenizer-{HEADER_VERSION}"
    with locked(converted.parent / f".{converted.name}.lock"):
        if not target.exists():
            temporary = Path(tempfile.mkdtemp(dir=converted, prefix=".partial-"))
            try:
                header_tokenizer(gguf_files(entry)[0], label=entry.label).save_pretrained(temporary)
                temporary.chmod(0o755)
                temporary.rename(target)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    return target


def _counts_plain(folder: Path) -> bool:
    """Whether the bits beside a converted model say which weights are plain; earlier versions did not count them."""
    return all(len(numbers) == 3 for numbers in json.loads((folder / BITS_FILE).read_text()).values())


def checked_files(entry: GgufModel) -> list[Path]:
    """The entry's files, their hash compared with the one stated, and their parts with their places.

    Raises
    ------
    SourceError
        If a file is missing or has the wrong hash.
    ModelError
        If a file is no GGUF file, is truncated, or no part of this model.
    """
    files = gguf_files(entry)
    if entry.sha256 is not None:
        check_stated_hash(entry.label, files_sha256(files), entry.sha256)
    check_parts(files)
    return files


def gguf_files(entry: GgufModel) -> list[Path]:
    """The entry's files: ``file`` with ``more_files``, or with the other parts that the name of a split one tells."""
    names = (entry.file, *entry.more_files) if entry.more_files else part_names(str(entry.file))
    folder = local_folder(entry) if entry.repository is None else snapshot(entry, names)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise SourceError(
            f"GGUF files of '{entry.label}' are missing.",
            expected=missing,
            found=sorted(p.name for p in folder.glob("*.gguf") if p.is_file()),
            do=f"put them into {folder}, or correct the file names",
        )
    return [folder / name for name in names]


# --- files made here --------------------------------------------------------------------------------------------------


def made_folder(reference: StoredModel) -> Path:
    """Where GGUF files made from this reference lie."""
    return data_folder() / "quantized" / key_of(identity(reference))


def importance_key(importance: Importance) -> str:
    """Name of an importance matrix: the hash of what it is computed from."""
    return key_of(importance.model_dump(mode="json"))


def made_file(entry: GgufModel, reference: StoredModel) -> Path:
    """The file that is made for an entry, whether it is there or not; its record lies beside it, as ``.json``."""
    made = entry.made
    told_apart = f"-imatrix-{importance_key(made.importance)}" if made.importance else ""
    return made_folder(source_of(entry, reference)) / f"{made.type}{told_apart}.gguf"


def located(entry: GgufModel, reference: StoredModel) -> GgufModel:
    """The entry of a file made here with its place and the hash its record states; any other entry as it is.

    Raises
    ------
    SourceError
        If the file has not been made.
    """
    if entry.made is None:
        return entry
    file = made_file(entry, reference)
    record = file.with_suffix(".json")
    if not (file.is_file() and record.is_file()):
        raise SourceError(
            f"The file of '{entry.label}' has not been made.",
            expected=file,
            found="no such file",
            do="run notebooks/00_make_quants.ipynb for this study; `qkld run` does, and removes builds after use",
        )
    stated = json.loads(record.read_text())["sha256"]
    return entry.model_copy(update={"path": str(file.parent), "file": file.name, "sha256": stated, "made": None})


# --- engine torch -----------------------------------------------------------------------------------------------------


def converted_bits(folder: Path) -> StoredBits:
    """Bits per weight of the GGUF file that the folder was converted from."""
    return StoredBits.from_json(json.loads((folder / BITS_FILE).read_text()))


def _convert(label: str, files: list[Path], target: Path) -> None:
    """Write model and bits under a temporary name, then rename."""
    bits = gguf_bits(files)
    _check_dequantizable(label, files)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=".partial-"))
    try:
        source = files[0] if len(files) == 1 else joined(files, temporary / "joined.gguf")
        module = load_module(
            source.parent,
            label=label,
            dtype=torch.float32,
            gguf_file=source.name,
            quantization_config=transformers_library().GgufConfig(dequantize=True),
        )
        if hasattr(module.config, "quantization_config"):
            del module.config.quantization_config
        module.config = completed(module.config, files, label=label)
        with quiet_loading():
            module.save_pretrained(temporary)
        if len(files) > 1:
            source.unlink()
        write_json(temporary / BITS_FILE, bits.as_json())
        temporary.chmod(0o755)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_dequantizable(label: str, files: Sequence[Path]) -> None:
    """Refuse tensor types that gguf can store and not dequantize."""
    from gguf.quants import dequantize

    for kind, tensor in {t.tensor_type.name: t for t in tensors(files)}.items():
        try:
            dequantize(tensor.data[:1], tensor.tensor_type)
        except NotImplementedError as error:
            raise ModelError(
                f"'{label}' contains tensors that cannot be converted for torch.",
                expected="types that the gguf package dequantizes",
                found=f"{kind} in {tensor.name}",
                do="run it with engine: llamacpp",
            ) from error


def joined(files: Sequence[Path], target: Path) -> Path:
    """The parts of a split model as one file: the first part's header, and every tensor as it is.

    transformers reads one file only; llama.cpp reads the parts.
    """
    import gguf

    first = read(files[0])
    writer = gguf.GGUFWriter(target, fact(files[0], "general.architecture"))
    for name, field in first.fields.items():
        if not name.startswith(("GGUF.", "split.", "general.architecture")):
            copy_field(writer, name, field)
    for tensor in tensors(files):
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def copy_field(writer: Any, name: str, field: Any, value: Any = None) -> None:
    """Write a field of another file's header, with its types; ``value`` in place of its own where one is given."""
    import gguf

    kind = field.types[0]
    inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
    writer.add_key_value(name, field.contents() if value is None else value, kind, inner)
