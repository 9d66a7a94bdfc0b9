"""Importance matrices in files: llama.cpp's GGUF form, read and written, and its older ``.dat`` form, read."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np

from qkld.errors import SourceError
from qkld.models.gguf.gguf_files import read
from qkld.study.provenance import written_whole

SUMS, COUNTS = ".in_sum2", ".counts"
"""Endings of the two tensors of each entry: Σ x² a column, and the tokens that it was summed over."""


def write_importance(
    path: Path, values: Mapping[str, np.ndarray], *, tokens: int, chunk: int, texts: Sequence[str]
) -> None:
    """Write in the form of ``llama-imatrix``: tensor name → mean squared input, shape (columns,).

    ``tokens`` are the tokens it was taken over, ``chunk`` those of one window, ``texts`` names of what was read.
    """
    import gguf

    with written_whole(path) as temporary:
        writer = gguf.GGUFWriter(temporary, "")
        writer.kv_data[0].pop("general.architecture", None)  # an importance matrix is no model
        writer.add_type("imatrix")
        writer.add_array("imatrix.datasets", list(texts))
        writer.add_uint32("imatrix.chunk_count", -(-tokens // chunk))
        writer.add_uint32("imatrix.chunk_size", chunk)
        for name, mean in sorted(values.items()):
            writer.add_tensor(f"{name}{SUMS}", (mean.astype(np.float64) * tokens).astype(np.float32)[None])
            writer.add_tensor(f"{name}{COUNTS}", np.array([[tokens]], dtype=np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def read_importance(path: Path) -> dict[str, np.ndarray]:
    """Tensor name → mean squared input, (columns,) or, for stacked experts, (experts · columns,), float32.

    Raises
    ------
    SourceError
        If the file is in neither form, is truncated, or holds values that are no mean squares.
    """
    if not path.is_file():
        raise SourceError(
            "The importance matrix is missing.", expected=path, found="no such file", do="correct the path"
        )
    with path.open("rb") as stream:
        is_gguf = stream.read(4) == b"GGUF"
    values = _of_gguf(path) if is_gguf else _of_dat(path)
    bad = [name for name, mean in values.items() if not (np.isfinite(mean).all() and (mean >= 0).all())]
    if bad or not values:
        raise _unreadable(path, f"negative or non-finite values in {bad[0]}" if bad else "no entry")
    return values


def _of_gguf(path: Path) -> dict[str, np.ndarray]:
    tensors = {t.name: np.asarray(t.data, dtype=np.float64) for t in read(path).tensors}
    values = {}
    for name in (n for n in tensors if n.endswith(SUMS)):
        entry = name.removesuffix(SUMS)
        counts = tensors.get(f"{entry}{COUNTS}")
        if counts is None:
            raise _unreadable(path, f"sums of {entry} without counts")
        sums = tensors[name].reshape(counts.size, -1)
        counted = counts.reshape(-1, 1)
        # an expert that no token reached: 1 for each column, as llama.cpp has it
        mean = np.divide(sums, counted, out=np.ones_like(sums), where=counted > 0)
        values[entry] = mean.reshape(-1).astype(np.float32)
    return values


def _of_dat(path: Path) -> dict[str, np.ndarray]:
    """The form before 2025: for each entry its name, the number of calls, and sums over calls of mean squares."""
    stream = BytesIO(path.read_bytes())
    values = {}
    try:
        for _ in range(_integer(stream)):
            name = _bytes(stream, _integer(stream)).decode()
            calls, size = _integer(stream), _integer(stream)
            sums = np.frombuffer(_bytes(stream, 4 * size), dtype="<f4")
            values[name] = (sums / calls if calls > 0 else sums).astype(np.float32)
    except (ValueError, struct.error) as error:
        raise _unreadable(path, error) from error
    return values


def _integer(stream: BytesIO) -> int:
    return struct.unpack("<i", _bytes(stream, 4))[0]


def _bytes(stream: BytesIO, count: int) -> bytes:
    left = stream.getbuffer().nbytes - stream.tell()
    if not 0 <= count <= left:
        raise ValueError(f"{count} bytes wanted at byte {stream.tell()}, {left} left")
    return stream.read(count)


def _unreadable(path: Path, found: object) -> SourceError:
    return SourceError(
        f"{path.name} is not an importance matrix.",
        expected="a file of llama-imatrix: GGUF with in_sum2 and counts, or the older .dat",
        found=found,
        do="make it again, or let qkld compute it",
    )
