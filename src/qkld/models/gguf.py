"""GGUF files, run in torch from their dequantized weights.

transformers reads a GGUF file in half a minute for 135 M weights, so a file is converted once: dequantized into
float32, as gguf's own reader gives the values, and kept as a folder of safetensors named by the file's hash.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from qkld.errors import ModelError, SourceError, explain
from qkld.locks import locked
from qkld.models.bits import Part, StoredBits, Tally, total
from qkld.models.folders import check_stated_hash, files_sha256, local_folder, snapshot
from qkld.models.quiet import quiet_loading
from qkld.models.transformers import load_module, load_tokenizer
from qkld.params import GgufModel
from qkld.paths import data_folder
from qkld.provenance import write_json

BITS_FILE = "stored_bits.json"


def converted_folder(entry: GgufModel) -> Path:
    """The folder of safetensors that a GGUF file was converted to; made on first use, atomically.

    Raises
    ------
    SourceError
        If a file is missing or has the wrong hash.
    ModelError
        If a file is no GGUF file, is truncated, or of a type or architecture that can not be read.
    """
    files = gguf_files(entry)
    sha256 = files_sha256(files)
    if entry.sha256 is not None:
        check_stated_hash(entry.label, sha256, entry.sha256)
    target = data_folder() / "converted" / sha256
    with locked(target.parent / f".{sha256}.lock"):
        if not target.exists():
            _convert(entry.label, files, target)
    return target


def gguf_files(entry: GgufModel) -> list[Path]:
    """The entry's files in the order given: ``file``, then ``more_files`` of a split model."""
    names = (entry.file, *entry.more_files)
    folder = local_folder(entry) if entry.repository is None else snapshot(entry, names)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise SourceError(
            explain(
                f"GGUF files of '{entry.label}' are missing.",
                expected=missing,
                found=sorted(p.name for p in folder.glob("*.gguf")),
                do=f"put them into {folder}, or mend the file names",
            )
        )
    return [folder / name for name in names]


def converted_bits(folder: Path) -> StoredBits:
    """Bits per weight of the GGUF file that the folder was converted from."""
    return StoredBits.from_json(json.loads((folder / BITS_FILE).read_text()))


def gguf_bits(files: list[Path]) -> StoredBits:
    """Bits of all tensors of a GGUF model, blocks and scales as they lie in the files."""
    return total((_part(t.name), Tally(int(t.n_elements), 8 * int(t.n_bytes))) for f in files for t in read(f).tensors)


def _part(name: str) -> Part:
    return {"token_embd": "embedding", "output": "head"}.get(name.split(".")[0], "trunk")


def read(file: Path) -> Any:
    """The file's header and tensors, memory-mapped.

    Raises
    ------
    ModelError
        If it is no GGUF file or ends too early.
    """
    import gguf

    try:
        return gguf.GGUFReader(file)
    except Exception as error:  # the reader fails in many ways on a damaged file
        raise ModelError(
            explain(
                f"{file.name} can not be read.",
                expected="a whole GGUF file",
                found=f"{type(error).__name__}: {error}"[:400],
                do="download the file again, and state its sha256 in the study",
            )
        ) from error


def _convert(label: str, files: list[Path], target: Path) -> None:
    """Write model, tokenizer and bits under a temporary name, then rename."""
    import transformers

    bits = gguf_bits(files)
    folder = files[0].parent
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=".partial-"))
    try:
        module = load_module(
            folder,
            label=label,
            dtype=torch.float32,
            gguf_file=files[0].name,
            quantization_config=transformers.GgufConfig(dequantize=True),
        )
        if hasattr(module.config, "quantization_config"):
            del module.config.quantization_config
        with quiet_loading():
            module.save_pretrained(temporary)
        load_tokenizer(folder, gguf_file=files[0].name).save_pretrained(temporary)
        write_json(temporary / BITS_FILE, bits.as_json())
        temporary.chmod(0o755)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
