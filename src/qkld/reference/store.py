"""The reference store: final hidden states that give the reference's logits back exactly.

A store is a folder: ``header.json`` says what it holds, ``hidden.zarr`` holds one chunk a window (the bits of the
hidden states, byte-shuffled, zstd, crc32c), ``done/`` one small file a finished window with its digest, and
``manifest.json``, written last, seals them. Zarr reads a missing chunk as zeros and does not see a swapped one, so
every window's digest is checked on reading. The output head lies once beside all stores, under its content hash, and
the manifest holds the digest of its file.

The folder is one of this machine or lies in object storage (`qkld.study.storage`), where no lock keeps a second writer
out.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import torch
import zarr
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from zarr.codecs import BloscCodec, Crc32cCodec

from qkld.errors import StoreError
from qkld.models.head import Head
from qkld.models.tensors import BITS_OF, bits_to_tensor, tensor_to_bits
from qkld.sources.windows import Window
from qkld.study.locks import LOCK_PATIENCE, locked
from qkld.study.provenance import canonical_json, key_of, sha256_of_file, write_json, written_whole
from qkld.study.sealing import read_sealed, write_sealed
from qkld.study.storage import Place, local_file, place

NOTEBOOK = "notebooks/01_reference_logits.ipynb"

FORMAT = 2
"""Raised when what a store keeps changes: 2 has digests of every file."""

FILES = {"header_sha256": "header.json", "array_sha256": "hidden.zarr/zarr.json"}
"""Files of a store beside its windows, by the name of their digest in its manifest."""


@dataclass(frozen=True)
class StoreHeader:
    """What a store holds, and everything that changes its numbers."""

    kind: Literal["corpus", "benchmark"]
    name: str
    model_sha256: str
    tokenizer_sha256: str
    compute_dtype: str
    device: str
    head_sha256: str
    width: int
    windows: tuple[Window, ...]

    @cached_property
    def key(self) -> str:
        """16 hex digits over the header: stores of other numbers, or in another format, have other folders."""
        return key_of({"format": FORMAT, **asdict(self)})

    @cached_property
    def text_key(self) -> str:
        """16 hex digits over the windows' tokens and which of them are scored: two texts of one key are the same."""
        return key_of([[list(map(int, w.tokens)), list(map(int, w.positions))] for w in self.windows])

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the hidden states."""
        return getattr(torch, self.compute_dtype)

    @property
    def scored_tokens(self) -> int:
        """Kept positions of all windows."""
        return sum(len(w.positions) for w in self.windows)

    def folder(self, root: Place) -> Place:
        """Where the store lies below the study's folder of stores."""
        return root / f"{self.kind}-{self.name}-{self.key}"

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> StoreHeader:
        """The inverse of ``asdict`` after a trip through JSON."""
        windows = tuple(
            Window(w["name"], tuple(w["tokens"]), tuple(w["positions"]), w["cluster"]) for w in values["windows"]
        )
        return cls(**{**values, "windows": windows})


def head_file(root: Place, sha256: str) -> Place:
    """Where the head with this content hash lies."""
    return root / "heads" / f"{sha256[:32]}-{FORMAT}.safetensors"


def save_head(root: Place, head: Head) -> str:
    """Store a head once; returns its content hash."""
    sha256 = head.sha256()
    path = head_file(root, sha256)
    if not path.exists():
        tensors = {"weight": head.weight.detach().cpu().contiguous()}
        if head.bias is not None:
            tensors["bias"] = head.bias.detach().cpu().contiguous()
        facts = {"scale": head.scale, "softcap": head.softcap, "wide": head.wide}
        note = canonical_json(facts)  # one text, as safetensors writes several in any order
        with written_whole(path) as temporary:
            save_file(tensors, temporary, metadata={"head": note})
    return sha256


def load_head(root: Place, sha256: str, file_sha256: str) -> Head:
    """Read the head with this content hash back and check that its file has this digest."""
    path = head_file(root, sha256)
    try:
        with local_file(path) as local:
            found = sha256_of_file(local)
            head = _head_in(local) if found == file_sha256 else None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        found = f"{type(error).__name__}: {error}"
        head = None
    if head is None:
        raise StoreError(
            f"The stored head {path} is missing or altered.",
            expected=file_sha256,
            found=found,
            do=f"delete it and run {NOTEBOOK}",
        )
    return head


def _head_in(file: Path) -> Head:
    with safe_open(file, framework="pt") as stored:
        note = json.loads(stored.metadata()["head"])
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a dict)
    return Head(tensors["weight"], tensors.get("bias"), note["scale"], note["softcap"], note["wide"])


def _array(folder: Place, header: StoreHeader, mode: Literal["r", "a"]) -> zarr.Array:
    path = folder / "hidden.zarr"
    if mode == "r" or (path / "zarr.json").exists():
        return zarr.open_array(store=str(path), mode="r" if mode == "r" else "r+")
    longest = max(len(w.positions) for w in header.windows)
    return zarr.create_array(
        store=str(path),
        shape=(len(header.windows), longest, header.width),
        chunks=(1, longest, header.width),
        dtype=BITS_OF[header.dtype][1],
        compressors=[BloscCodec(cname="zstd", clevel=5, shuffle="shuffle"), Crc32cCodec()],
        fill_value=0,
        config={"write_empty_chunks": True},
    )


class StoreWriter:
    """Writes a store window by window; a killed writer's successor goes on with `missing`.

    ``root`` is a folder, where an OS lock keeps other writers out, or a URL that fsspec reads, where nothing does.
    """

    def __init__(self, root: str | Place, header: StoreHeader, head: Head) -> None:
        self.root, self.header = place(root), header
        self.folder = header.folder(self.root)
        self._head = head

    def __enter__(self) -> StoreWriter:
        if not self.header.windows:
            raise StoreError(
                "A store needs at least one window.", expected="windows", found="none", do="check the corpus"
            )
        (self.folder / "done").mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            held.enter_context(locked(self.folder / ".lock", patience=LOCK_PATIENCE))
            found = save_head(self.root, self._head)
            if found != self.header.head_sha256:
                raise StoreError(
                    "The head is not the one that the header states.",
                    expected=self.header.head_sha256,
                    found=found,
                    do="build the header from this head",
                )
            if not (self.folder / "header.json").exists():
                write_json(self.folder / "header.json", asdict(self.header))
            self._array = _array(self.folder, self.header, "a")
            self._held = held.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def _done(self, window: int) -> Place:
        return self.folder / "done" / f"{window:06d}.json"

    def missing(self) -> list[int]:
        """Windows that are not finished yet, in order."""
        return [i for i in range(len(self.header.windows)) if not self._done(i).exists()]

    def write(self, window: int, hidden: Tensor) -> None:
        """Store one window's hidden states, shape (positions, width), in the header's dtype."""
        expected = (len(self.header.windows[window].positions), self.header.width)
        if tuple(hidden.shape) != expected or hidden.dtype != self.header.dtype:
            raise StoreError(
                f"Window {window} does not have the hidden states that its header states.",
                expected=f"{expected} {self.header.dtype}",
                found=f"{tuple(hidden.shape)} {hidden.dtype}",
                do="keep the hidden states of the window's positions, in the compute dtype",
            )
        bits = tensor_to_bits(hidden)
        padded = np.zeros(self._array.shape[1:], dtype=bits.dtype)
        padded[: len(bits)] = bits
        try:
            self._array[window] = padded
            write_sealed(self._done(window), {"window": window, "digest": self.header.windows[window].digest(bits)})
        except OSError as error:
            raise StoreError(
                f"Window {window} could not be written to {self.folder}.",
                expected="space on the disk",
                found=error,
                do="free some space and run the same command again; finished windows are kept",
            ) from error

    def seal(self) -> dict[str, Any]:
        """Write the manifest once every window is there; returns it."""
        if missing := self.missing():
            raise StoreError(
                f"{self.folder} is not complete.",
                expected="every window finished",
                found=f"windows {missing[:5]} missing",
                do=f"run {NOTEBOOK} again",
            )
        again = f"delete {self.folder} and run {NOTEBOOK}"
        digests = [read_sealed(self._done(i), do=again)["digest"] for i in range(len(self.header.windows))]
        stored = sum(f.stat().st_size for f in (self.folder / "hidden.zarr" / "c").rglob("*") if f.is_file())
        itemsize = BITS_OF[self.header.dtype][1]().itemsize
        manifest = {
            "format": FORMAT,
            "key": self.header.key,
            **self._file_digests(),
            "digests": digests,
            "scored_tokens": self.header.scored_tokens,
            "raw_bytes": self.header.scored_tokens * self.header.width * itemsize,
            "stored_bytes": stored,
        }
        return write_sealed(self.folder / "manifest.json", manifest)

    def _file_digests(self) -> dict[str, str]:
        """SHA-256 of the files beside the windows, once the head's was found to hold this very head."""
        path = head_file(self.root, self.header.head_sha256)
        head_sha256 = sha256_of_file(path)
        head = load_head(self.root, self.header.head_sha256, head_sha256)
        if head.sha256() != self.header.head_sha256:
            raise StoreError(
                f"The stored head {path} is altered.",
                expected=self.header.head_sha256,
                found=head.sha256(),
                do=f"delete it and run {NOTEBOOK}",
            )
        own = {name: sha256_of_file(self.folder / file) for name, file in FILES.items()}
        return {**own, "head_file_sha256": head_sha256}


class ReferenceStore:
    """A sealed store, read window by window; each window's digest is checked when it is read."""

    def __init__(self, root: Place, folder: Place, header: StoreHeader, manifest: dict[str, Any]) -> None:
        self.root, self.folder, self.header, self.manifest = root, folder, header, manifest
        self._array = self._opened_array()
        self._head: Head | None = None

    @classmethod
    def open(cls, folder: str | Place, *, expected_key: str | None = None) -> ReferenceStore:
        """Open a sealed store: a folder, or a URL that fsspec reads.

        Raises
        ------
        StoreError
            If it is not there, not sealed, edited, or not the store with ``expected_key``.
        """
        folder = place(folder)
        manifest = read_sealed(folder / "manifest.json", do=f"run {NOTEBOOK}; if it is there, delete the folder before")
        if manifest.get("format") != FORMAT:
            raise StoreError(
                f"{folder} was written by another version of qkld.",
                expected=f"format {FORMAT}",
                found=f"format {manifest.get('format', 1)}",
                do=f"run {NOTEBOOK}, which writes a new folder, and delete this one",
            )
        try:
            header = StoreHeader.from_json(json.loads((folder / "header.json").read_text()))
            checks = {
                **{name: (sha256_of_file(folder / file), manifest[name]) for name, file in FILES.items()},
                "key": (header.key, manifest["key"]),
                "digests": (len(manifest["digests"]), len(header.windows)),
            }
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _altered(folder, "its JSON files", f"{type(error).__name__}: {error}") from error
        for what, (found, expected) in checks.items():
            if found != expected:
                raise _altered(folder, what, f"{found} instead of {expected}")
        if expected_key is not None and header.key != expected_key:
            raise StoreError(
                f"{folder} belongs to another model, tokenizer, corpus or dtype.",
                expected=expected_key,
                found=header.key,
                do=f"run {NOTEBOOK} for this study",
            )
        return cls(folder.parent, folder, header, manifest)

    def _opened_array(self) -> zarr.Array:
        try:
            array = _array(self.folder, self.header, "r")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _altered(self.folder, "hidden.zarr", error) from error
        expected = (len(self.header.windows), max(len(w.positions) for w in self.header.windows), self.header.width)
        if array.shape != expected or array.dtype != BITS_OF[self.header.dtype][1]:
            raise _altered(self.folder, "hidden.zarr", f"{array.shape} {array.dtype} instead of {expected}")
        return array

    @property
    def head(self) -> Head:
        """The reference's head, in the dtype its logits are computed in."""
        if self._head is None:
            self._head = load_head(self.root, self.header.head_sha256, self.manifest["head_file_sha256"])
        return self._head

    def hidden(self, window: int) -> Tensor:
        """Hidden states of one window's positions, shape (positions, width), bit-equal to what the model gave.

        Raises
        ------
        StoreError
            If the window's chunk is missing, truncated, altered or swapped.
        """
        positions = len(self.header.windows[window].positions)
        try:
            bits = np.asarray(self._array[window])[:positions]
        except Exception as error:  # zarr raises ValueError, RuntimeError or OSError for damaged chunks
            raise _altered(self.folder, f"window {window}", error) from error
        if self.header.windows[window].digest(bits) != self.manifest["digests"][window]:
            raise _altered(self.folder, f"window {window}", "a missing, swapped or altered chunk (its digest differs)")
        return bits_to_tensor(bits, self.header.dtype)


def _altered(folder: Place, what: str, found: object) -> StoreError:
    return StoreError(
        f"The store {folder} was damaged or edited: {what}.",
        expected="the content its manifest seals",
        found=found,
        do=f"delete the folder and run {NOTEBOOK}",
    )
