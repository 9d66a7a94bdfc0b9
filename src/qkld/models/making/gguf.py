"""One GGUF file in another type, by llama.cpp's ``llama_model_quantize``, and what it turned out to be."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from qkld.errors import ModelError, ParameterError
from qkld.models.gguf.gguf_files import Contents, contents
from qkld.models.gguf.llamacpp_library import LOG, library, said
from qkld.study.provenance import sha256_of_file, written_whole

Values = Mapping[str, np.ndarray]
"""An importance matrix: tensor name → mean squared input a column."""


@dataclass(frozen=True)
class Made:
    """A file that was made: what was asked for, and what the file holds."""

    file: Path
    asked: str
    importance: bool
    contents: Contents
    sha256: str

    def as_json(self) -> dict[str, Any]:
        """For the record beside the file."""
        return {
            "asked": self.asked,
            "importance": self.importance,
            "sha256": self.sha256,
            "size_bytes": self.file.stat().st_size,
            **self.contents.as_json(),
        }


def file_types() -> dict[str, int]:
    """Name → number of every file type that this llama.cpp can be asked for: ``Q4_K_M``, ``IQ3_S``, ``F32``."""
    numbers = {n: v for n, v in vars(library()).items() if n.startswith("LLAMA_FTYPE_") and isinstance(v, int)}
    names = {n.removeprefix("LLAMA_FTYPE_").removeprefix("MOSTLY_").removeprefix("ALL_"): v for n, v in numbers.items()}
    return {name: value for name, value in names.items() if name != "GUESSED"}


def check_types(types: Iterable[str]) -> None:
    """Refuse names that are no file type, and no name at all.

    Raises
    ------
    ParameterError
        Naming them and those there are.
    """
    known = file_types()
    asked = list(types)
    unknown = [t for t in asked if t not in known]
    if unknown or not asked:
        raise ParameterError(
            "Unknown GGUF type.",
            expected=", ".join(known),
            found=", ".join(unknown) or "none",
            do="use llama.cpp's type names",
        )


def quantize_file(
    source: Path, target: Path, asked: str, *, importance: Values | None = None, threads: int = 1
) -> Made:
    """Make ``target`` in the type asked for; what ``source`` stores is dequantized first.

    Parameters
    ----------
    source, target : Path
        GGUF files; the target is written whole or not at all.
    asked : str
        A name of `file_types`.
    importance : tensor name → mean squared input a column, optional
        Tensors that it leaves out are quantized without.
    threads : int
        Of the quantizer.

    Raises
    ------
    ParameterError
        If there is no such type.
    ModelError
        If llama.cpp refuses: a type that needs an importance matrix, one of another model, a damaged source.
    """
    check_types([asked])
    llama = library()
    parameters = llama.llama_model_quantize_default_params()
    parameters.ftype, parameters.nthread, parameters.allow_requantize = file_types()[asked], threads, True
    kept = None
    if importance is not None:
        kept = _as_array(llama, importance)
        parameters.imatrix = kept[0]
    LOG.clear()
    with written_whole(target) as temporary:
        code = llama.llama_model_quantize(os.fsencode(source), os.fsencode(temporary), ctypes.byref(parameters))
        del kept  # the values had to live as long as the call
        if code:
            raise _refused(source, asked, importance)
    return described(target, asked, importance=importance is not None)


def described(file: Path, asked: str, *, importance: bool) -> Made:
    """A made file with what is read from it."""
    return Made(file, asked, importance, contents([file]), sha256_of_file(file))


def equal_tensors(made: Iterable[Made]) -> list[tuple[Made, Made]]:
    """Pairs of files that hold the same tensors, bit by bit: each with the first one that does."""
    first: dict[str, Made] = {}
    pairs = []
    for one in made:
        other = first.setdefault(one.contents.tensor_data_sha256, one)
        if other is not one:
            pairs.append((other, one))
    return pairs


def _as_array(llama: ModuleType, importance: Values) -> tuple[Any, list[np.ndarray]]:
    """The values as llama.cpp's array, ended by an entry without a name; and what has to be kept alive with it."""
    kept = [np.ascontiguousarray(mean, dtype=np.float32) for mean in importance.values()]
    array = (llama.llama_model_imatrix_data * (len(kept) + 1))()
    for entry, name, mean in zip(array, importance, kept, strict=False):
        entry.name = name.encode()
        entry.data = mean.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entry.size = mean.size
    return array, kept


def _refused(source: Path, asked: str, importance: Values | None) -> ModelError:
    return ModelError(
        f"llama.cpp cannot make {asked} from {source.name}.",
        expected="a whole model, and an importance matrix for types below 3 bits",
        found=f"{said()} ({'with' if importance is not None else 'without'} an importance matrix)",
        do="give an importance matrix of this model, or ask for another type",
    )
