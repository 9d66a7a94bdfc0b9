"""GGUF files as they lie on disk: the parts of a split one, what tensors are stored in, and hashes of their data.

Nothing here trusts a name: types, bits per weight and hashes are read from the tensors themselves.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from qkld.errors import ModelError
from qkld.models.bits import Part, StoredBits, Tally, total

SPLIT = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
"""Name of one part of a split file, as llama.cpp's gguf-split gives it."""

STEM = re.compile(r"Q\d_(?:K|\d)|[A-Z]+\d+")
"""What a file type and its main tensor type share: ``Q4_K`` of Q4_K_M, ``IQ3`` of IQ3_XS, ``BF16``."""


def part_names(file: str) -> tuple[str, ...]:
    """Names of all parts of a split file, given its first one; a file in one piece is its only part."""
    split = SPLIT.fullmatch(file)
    if split is None:
        return (file,)
    return tuple(f"{split[1]}-{number:05d}-of-{split[3]}.gguf" for number in range(1, int(split[3]) + 1))


def read(file: Path) -> Any:
    """The file's header and tensors, memory-mapped.

    Raises
    ------
    ModelError
        If it is no GGUF file, ends too early, or holds a tensor type that gguf does not know.
    """
    try:
        there = file.stat()
        return _reader(file, there.st_mtime_ns, there.st_size)
    except Exception as error:  # the reader fails in many ways on a damaged file
        unknown_type = "GGMLQuantizationType" in str(error)
        raise ModelError(
            f"{file.name} cannot be read.",
            expected="tensor types that gguf knows" if unknown_type else "a whole GGUF file",
            found=f"{type(error).__name__}: {error}"[:400],
            do="make the file again with a current llama.cpp: the type was dropped, or this gguf package is too old"
            if unknown_type
            else "download the file again",
        ) from error


@lru_cache(maxsize=8)
def _reader(file: Path, modified: int, size: int) -> Any:
    """A file's reader, kept while the file is the same: reading a header with a large vocabulary takes seconds."""
    return _PlainReader(file)


class _PlainReader(gguf.GGUFReader):
    """gguf's reader over a plain array of the mapped file: `numpy.memmap` makes each of its many slices cost thrice."""

    @property
    def data(self) -> np.ndarray:
        """The file's bytes, memory-mapped."""
        return self._plain

    @data.setter
    def data(self, mapped: np.memmap) -> None:
        self._plain = np.asarray(mapped)


def check_parts(files: Sequence[Path]) -> None:
    """Refuse files that are not all parts of one model, in order.

    Raises
    ------
    ModelError
        Naming the file and what it says of itself.
    """
    for number, file in enumerate(files):
        found = fact(file, "split.no") or 0, fact(file, "split.count") or 1
        if found != (number, len(files)):
            raise ModelError(
                f"{file.name} is out of place among the parts of a split model.",
                expected=f"part {number + 1} of {len(files)}",
                found=f"part {found[0] + 1} of {found[1]}",
                do="give all parts of one model, the first one as `file`",
            )


def fact(file: Path, key: str) -> Any:
    """The value of a key of the file's header, None where it has none."""
    field = read(file).fields.get(key)
    return None if field is None else field.contents()


def tensors(files: Sequence[Path]) -> Iterator[Any]:
    """Every tensor of a model's files, memory-mapped, in the files' order."""
    for file in files:
        yield from read(file).tensors


PLAIN_TYPES = ("F16", "BF16", "F32", "F64")
"""Tensor types that no quantizer has touched."""


def gguf_bits(files: Sequence[Path]) -> StoredBits:
    """Bits of a GGUF model's tensors, blocks and scales as they lie in the files.

    Layers that only predict further tokens (``nextn_predict_layers``, the last ones) do not enter the logits and do not
    count.
    """
    further = _further_layers(files[0])
    return total((_part(t.name), tally_of(t)) for t in tensors(files) if not t.name.startswith(further))


def tally_of(tensor: Any) -> Tally:
    """A tensor's weights and bits."""
    weights = int(tensor.n_elements)
    return Tally(weights, 8 * int(tensor.n_bytes), plain=weights if tensor.tensor_type.name in PLAIN_TYPES else 0)


def _further_layers(file: Path) -> tuple[str, ...]:
    """Beginnings of the names of tensors in layers that predict further tokens."""
    architecture = fact(file, "general.architecture")
    layers, further = (fact(file, f"{architecture}.{key}") or 0 for key in ("block_count", "nextn_predict_layers"))
    return tuple(f"blk.{number}." for number in range(layers - further, layers))


def _part(name: str) -> Part:
    return {"token_embd": "embedding", "output": "head"}.get(name.split(".")[0], "trunk")


def tensor_data_sha256(files: Sequence[Path]) -> str:
    """Hash over names, types, shapes and bytes of all tensors, in order of name: equal for equal quants.

    The header is left out, so that a file whose type fell back to another's compares equal to it.
    """
    digest = hashlib.sha256()
    for tensor in sorted(tensors(files), key=lambda t: t.name):
        digest.update(f"{tensor.name} {tensor.tensor_type.name} {[int(n) for n in tensor.shape]}\n".encode())
        digest.update(tensor.data)
    return digest.hexdigest()


@dataclass(frozen=True)
class Contents:
    """What a GGUF model holds.

    Attributes
    ----------
    file_type : str
        What its header calls it, for example ``Q4_K_M``; ``unknown`` where it says nothing.
    types : Tensor type → its weights and bits, over the trunk's matrices; the most weights first
    bits : StoredBits
        Over all tensors.
    tensor_data_sha256 : str
    """

    file_type: str
    types: Mapping[str, Tally]
    bits: StoredBits
    tensor_data_sha256: str

    @property
    def main_type(self) -> str:
        """The tensor type that most of the trunk's weights are stored in."""
        return next(iter(self.types))

    @property
    def fell_back(self) -> bool:
        """Whether the type its header names is not what most of its weights are stored in."""
        stem = STEM.match(self.file_type)
        return stem is not None and not self.main_type.startswith(stem[0])

    @property
    def name(self) -> str:
        """The file named as what it is: its file type, or what its weights are stored in where that is another."""
        return f"{self.main_type} (called {self.file_type})" if self.fell_back else self.file_type

    @property
    def shares(self) -> str:
        """Tensor types with their share of the trunk's weights: ``Q4_K 84.2 %, Q6_K 15.8 %``."""
        whole = sum(t.weights for t in self.types.values())
        return ", ".join(f"{name} {100 * tally.weights / whole:.1f} %" for name, tally in self.types.items())

    def as_json(self) -> dict[str, Any]:
        """For records and provenance."""
        return {
            "name": self.name,
            "file_type": self.file_type,
            "tensor_types": self.shares,
            "bits_per_weight": self.bits.bits_per_weight,
            "bits_per_trunk_weight": self.bits.bits_per_trunk_weight,
            "tensor_data_sha256": self.tensor_data_sha256,
        }


def contents(files: Sequence[Path]) -> Contents:
    """Read from the files what they hold."""
    tallies: dict[str, Tally] = {}
    for tensor in tensors(files):
        if len(tensor.shape) > 1 and _part(tensor.name) == "trunk":
            tallies[tensor.tensor_type.name] = tallies.get(tensor.tensor_type.name, Tally()) + tally_of(tensor)
    types = dict(sorted(tallies.items(), key=lambda pair: -pair[1].weights))
    return Contents(file_type(files[0]), types or {"none": Tally()}, gguf_bits(files), tensor_data_sha256(files))


def file_type(file: Path) -> str:
    """The type that the header names: ``Q4_K_M``, ``F32``."""
    number = fact(file, "general.file_type")
    known = {kind.value: kind.name.removeprefix("MOSTLY_").removeprefix("ALL_") for kind in gguf.LlamaFileType}
    return "unknown" if number is None else known.get(int(number), f"type {number}")
