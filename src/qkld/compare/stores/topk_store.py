"""A store of top-k log-probabilities: one file a window, and a seal with every file's digest.

A folder with ``header.json``, ``windows/000000.safetensors`` …, beside each its digest, and, written last,
``manifest.json``. Each file is written whole and its digest after it, so a killed writer's successor goes on with the
windows that have none yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from qkld.compare.stores.enclosure import Enclosure
from qkld.compare.stores.topk import TopK
from qkld.errors import StoreError
from qkld.sources.windows import Window
from qkld.study.locks import LOCK_PATIENCE, locked
from qkld.study.provenance import key_of, written_whole
from qkld.study.sealing import altered, read_sealed, write_sealed
from qkld.study.storage import Place, place

FORMAT = "qkld top-k 2"
MEND = "delete the folder and make the store anew"


@dataclass(frozen=True)
class TopKHeader:
    """What a top-k store holds, and everything that changes its numbers.

    ``source`` says where the log-probabilities came from, as JSON: the other store's key or digest.
    """

    name: str
    source: dict[str, Any]
    vocabulary: int
    k: int
    windows: tuple[Window, ...]

    @property
    def key(self) -> str:
        """16 hex digits over the header: stores of other numbers have other folders."""
        return key_of({"format": FORMAT, **asdict(self)})

    def folder(self, root: Place) -> Place:
        """Where the store lies below a folder of stores."""
        return root / f"topk-{self.name}-{self.key}"

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TopKHeader:
        """The inverse of ``asdict`` after a trip through JSON."""
        windows = tuple(
            Window(w["name"], tuple(w["tokens"]), tuple(w["positions"]), w["cluster"]) for w in values["windows"]
        )
        return cls(values["name"], values["source"], values["vocabulary"], values["k"], windows)


@dataclass(frozen=True)
class TopKRows:
    """One window of a top-k store."""

    top_k: TopK
    vocabulary: int

    def enclosure(self, rows: NDArray | slice) -> Enclosure:
        return self.top_k[rows].enclosure(self.vocabulary)


def write_top_k_store(root: str | Place, header: TopKHeader, block: Callable[[int], TopK]) -> TopKStore:
    """Write the windows that are not there yet, and seal the store.

    Parameters
    ----------
    root : str or path
        Folder of stores, or a URL that fsspec reads; on this machine an OS lock keeps other writers out.
    header : TopKHeader
    block : callable
        Window's index → its top k, one row for each position; called for one window at a time.

    Raises
    ------
    StoreError
        If a block has not the shape that its header states.
    DiskError
        If the disk is full; finished windows are kept, and the same call goes on after them.
    """
    folder = header.folder(place(root))
    (folder / "windows").mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock", patience=LOCK_PATIENCE):
        write_sealed(folder / "header.json", {"format": FORMAT, **asdict(header)})
        for index, window in enumerate(header.windows):
            if not _digest_file(folder, index).exists():
                _write_window(folder, index, block(index), window, header.k)
        digests = [_digest_file(folder, i).read_text() for i in range(len(header.windows))]
        write_sealed(folder / "manifest.json", {"key": header.key, "digests": digests})
    return TopKStore(folder)


def _file(folder: Place, index: int) -> Place:
    return folder / "windows" / f"{index:06d}.safetensors"


def _digest_file(folder: Place, index: int) -> Place:
    return folder / "windows" / f"{index:06d}.sha256"


def _digest(data: bytes, window: Window) -> str:
    """Digest of a window's file and of which window it is."""
    return window.digest(np.frombuffer(data, dtype=np.uint8))


def _write_window(folder: Place, index: int, top_k: TopK, window: Window, k: int) -> None:
    expected = (len(window.positions), k)
    if top_k.ids.shape != expected:
        raise StoreError(
            f"Window {window.name} has another k than its header states.",
            expected=f"(positions, k) = {expected}",
            found=top_k.ids.shape,
            do="give one row for each position of the window",
        )
    data = save(top_k.arrays())
    with written_whole(_file(folder, index)) as temporary:
        temporary.write_bytes(data)
    with written_whole(_digest_file(folder, index)) as temporary:
        temporary.write_text(_digest(data, window))


class TopKStore:
    """A sealed top-k store, read window by window; each window's digest is checked when it is read.

    Raises
    ------
    StoreError
        If it is not there, not sealed, edited, or a store of another kind.
    """

    def __init__(self, folder: str | Place) -> None:
        self.folder = place(folder)
        seal = read_sealed(self.folder / "manifest.json", do=MEND)
        try:
            values = read_sealed(self.folder / "header.json", do=MEND)
            if values.get("format") != FORMAT:
                raise ValueError(f"format {values.get('format')!r} instead of {FORMAT!r}")
            self.header = TopKHeader.from_json(values)
            if self.header.key != seal["key"] or len(seal["digests"]) != len(self.header.windows):
                raise ValueError(f"a header with key {self.header.key} instead of {seal['key']}")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise altered(self.folder, f"{type(error).__name__}: {error}", do=MEND) from error
        self._digests = seal["digests"]

    @property
    def name(self) -> str:
        """The store's name."""
        return self.header.name

    @property
    def windows(self) -> Sequence[Window]:
        """Its windows, in order."""
        return self.header.windows

    @property
    def vocabulary(self) -> int:
        """Tokens of a distribution."""
        return self.header.vocabulary

    @property
    def k(self) -> int:
        """Tokens kept a position."""
        return self.header.k

    def top_k(self, index: int) -> TopK:
        """One window's top k.

        Raises
        ------
        StoreError
            If the window's file is missing, truncated, altered or swapped.
        """
        try:
            data = _file(self.folder, index).read_bytes()
            if _digest(data, self.windows[index]) != self._digests[index]:
                raise ValueError("another digest than was sealed")
            return TopK(**load(data))
        except (OSError, ValueError, TypeError, SafetensorError) as error:
            raise altered(_file(self.folder, index), f"{type(error).__name__}: {error}", do=MEND) from error

    def rows(self, index: int) -> TopKRows:
        """One window's rows."""
        return TopKRows(self.top_k(index), self.vocabulary)
