"""A base file of llama.cpp on disk, written whole and read one window at a time.

The format has no digest. A file written here has a seal beside it, ``NAME.seal.json``, with the digest of its header
and tokens and of every window; `seal_base_file` gives one to a file that ``llama-perplexity`` wrote. Without a seal a
file is read as llama.cpp reads it, but for its size and the form of its rows, which are checked in any case.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkld.compare.stores.base_format import (
    CLAMP_TOLERANCE,
    CLAMPS,
    HEADER_BYTES,
    BaseHeader,
    BaseRows,
    Codes,
    encode_rows,
)
from qkld.errors import StoreError
from qkld.sources.windows import Window
from qkld.study.provenance import written_whole
from qkld.study.sealing import altered, read_sealed, write_sealed
from qkld.study.storage import Place, place

ROWS_AT_ONCE = 64
"""Rows that are encoded together, so that float32 copies of a window's logits stay small."""

MEND = "make the base file again, or remove its seal if the file was replaced on purpose"


def seal_of(path: Place) -> Place:
    """Where a base file's seal lies."""
    return path.parent / f"{path.name}.seal.json"


def base_positions(context: int) -> tuple[int, ...]:
    """Positions that have a row in a base file: the second half of a window, without its last token."""
    return tuple(range(context // 2, context - 1))


def write_base_file(
    path: str | Place,
    tokens: NDArray[np.integer[Any]],
    logits: Iterable[NDArray[np.floating[Any]]],
    vocabulary: int,
    *,
    clamp: float = CLAMPS[0],
    made: dict[str, Any] | None = None,
) -> BaseFile:
    """Write a base file that ``llama-perplexity --kl-divergence`` accepts, and its seal.

    Parameters
    ----------
    path : str or path
        Written under a temporary name and renamed, so that a killed or failed run leaves what was there.
    tokens : array, shape (windows, context)
        Ids in the GGUF's vocabulary. llama.cpp itself puts BOS in the place of a window's first token if its model
        asks for one, so the logits must have been computed with it.
    logits : iterable of arrays, shape (rows, vocab)
        One a window, in order, for `base_positions` of the context; taken one at a time.
    vocabulary : int
        Tokens of the GGUF's vocabulary.
    clamp : float
        Nats below a row's maximum at which it is cut off: 16 as llama.cpp, 24 as ik_llama.cpp.
    made : dict, optional
        What the seal says about where the logits came from, as JSON.

    Raises
    ------
    StoreError
        If tokens or logits have not the shapes above, or hold what the format cannot.
    DiskError
        If the disk is full.
    """
    path = place(path)
    header = _header_for(tokens, vocabulary, clamp)
    seal_of(path).unlink(missing_ok=True)
    beginning = header.to_bytes() + np.ascontiguousarray(tokens, dtype="<i4").tobytes()
    digests = []
    with written_whole(path) as temporary, temporary.open("wb") as stream:
        stream.write(beginning)
        for index, block in enumerate(logits):
            _check_block(block, index, header)
            digest = hashlib.sha256()
            for start in range(0, header.rows, ROWS_AT_ONCE):
                encoded = encode_rows(block[start : start + ROWS_AT_ONCE], clamp).tobytes()
                stream.write(encoded)
                digest.update(encoded)
            digests.append(digest.hexdigest())
        if len(digests) != header.chunks:
            raise _wrong_shape("as many blocks of logits as windows", header.chunks, len(digests))
    _write_seal(path, beginning, digests, made or {})
    return BaseFile(path)


def seal_base_file(path: str | Place, **made: Any) -> BaseFile:
    """Seal a base file that another program wrote, so that any later change to it is noticed; reads it whole."""
    file = BaseFile(place(path))
    digests = [hashlib.sha256(file.words(i).tobytes()).hexdigest() for i in range(file.header.chunks)]
    _write_seal(file.path, file.beginning, digests, made)
    return BaseFile(file.path)


def _write_seal(path: Place, beginning: bytes, digests: Sequence[str], made: dict[str, Any]) -> None:
    facts = {"beginning": hashlib.sha256(beginning).hexdigest(), "windows": list(digests), "made": made}
    write_sealed(seal_of(path), facts)


def _header_for(tokens: NDArray[np.integer[Any]], vocabulary: int, clamp: float) -> BaseHeader:
    if clamp not in CLAMPS:
        raise _wrong_shape("a clamp that readers know", CLAMPS, clamp)
    if tokens.ndim != 2 or tokens.shape[0] < 1 or tokens.shape[1] < 4:
        raise _wrong_shape("tokens of shape (windows, context), context at least 4", "2 dimensions", tokens.shape)
    if tokens.min() < 0 or tokens.max() >= vocabulary:
        raise _wrong_shape(
            "token ids of the vocabulary", f"[0, {vocabulary})", f"[{int(tokens.min())}, {int(tokens.max())}]"
        )
    return BaseHeader(tokens.shape[1], vocabulary, tokens.shape[0])


def _check_block(block: NDArray[np.floating[Any]], index: int, header: BaseHeader) -> None:
    expected = (header.rows, header.vocabulary)
    if index >= header.chunks or block.shape != expected:
        raise _wrong_shape(f"logits of window {index} of {header.chunks}", expected, block.shape)


def _wrong_shape(what: str, expected: object, found: object) -> StoreError:
    return StoreError(
        f"A base file needs {what}.", expected=expected, found=found, do="correct what is given to the writer"
    )


class BaseFile:
    """A base file, sealed or not; one window's rows are in memory at a time.

    Raises
    ------
    StoreError
        If it is no base file, is truncated, holds tokens outside its vocabulary, or is not what its seal says.
    """

    def __init__(self, path: str | Place) -> None:
        self.path = place(path)
        try:
            size = self.path.stat().st_size
            self.header = BaseHeader.from_bytes(self._read(0, HEADER_BYTES), self.path)
        except OSError as error:
            raise StoreError(
                "The base file cannot be read.", expected=self.path, found=error, do="check its name"
            ) from error
        self.header.check_size(size, self.path)
        self.beginning = self._read(0, self.header.rows_at)
        tokens = np.frombuffer(self.beginning, dtype="<i4", offset=HEADER_BYTES)
        self.tokens = tokens.reshape(self.header.chunks, self.header.context)
        if self.tokens.min() < 0 or self.tokens.max() >= self.header.vocabulary:
            raise altered(self.path, "tokens outside the vocabulary", do=MEND)
        self._digests = self._sealed_digests()

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    @property
    def vocabulary(self) -> int:
        """Tokens of a distribution."""
        return self.header.vocabulary

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """Its windows; each is a cluster of its own, for the file names no documents."""
        kept = base_positions(self.header.context)
        return tuple(
            Window(f"{self.name}-{i}", tuple(tokens), kept, i) for i, tokens in enumerate(self.tokens.tolist())
        )

    def words(self, index: int) -> Codes:
        """One window's rows as they lie in the file, shape (rows, words); checked against the seal, if there is one."""
        data = self._read(self.header.rows_at + index * self.header.window_bytes, self.header.window_bytes)
        if self._digests and hashlib.sha256(data).hexdigest() != self._digests[index]:
            raise altered(self.path, f"rows of window {index} with another digest", do=MEND)
        return np.frombuffer(data, dtype="<u2").reshape(self.header.rows, self.header.row_words)

    def rows(self, index: int) -> BaseRows:
        """One window's rows, their form checked."""
        return BaseRows(self.words(index), self.header)

    def targets(self, index: int) -> NDArray[np.int64]:
        """The token that each row of a window predicts, shape (rows,)."""
        return self.tokens[index, self.header.first + 1 :].astype(np.int64)

    def clamp(self) -> float | None:
        """Nats below the maximum at which its writer cuts off, by the rows' spans; None where no row reaches one.

        Reads the whole file unless a row tells before its end; nothing else here needs the answer.
        """
        found = None
        for span in self._spans():
            if span > CLAMPS[0] + CLAMP_TOLERANCE:
                return CLAMPS[1]
            if abs(span - CLAMPS[0]) <= CLAMP_TOLERANCE:
                found = CLAMPS[0]
        return found

    def _spans(self) -> Iterator[float]:
        """The largest span of each window's rows, nats; none for version 2, which does not clamp."""
        if self.header.version == 1:
            for index in range(self.header.chunks):
                yield float(self.rows(index).scale.max()) * 65535

    def _read(self, start: int, length: int) -> bytes:
        with self.path.open("rb") as stream:
            stream.seek(start)
            return stream.read(length)

    def _sealed_digests(self) -> list[str]:
        if not seal_of(self.path).exists():
            return []
        seal = read_sealed(seal_of(self.path), do=MEND)
        if seal.get("beginning") != hashlib.sha256(self.beginning).hexdigest():
            raise altered(self.path, "a header or tokens with another digest", do=MEND)
        if len(seal.get("windows", ())) != self.header.chunks:
            raise altered(seal_of(self.path), f"{len(seal.get('windows', ()))} digests", do=MEND)
        return seal["windows"]
