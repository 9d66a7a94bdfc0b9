"""GGUF files of a repository on a hub, fetched one at a time into a folder, and removed after use where asked.

What was fetched here is marked: any other file in the folder is the user's own, is taken as it is and never removed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from qkld.errors import DiskError, SourceError
from qkld.models.cache import Cache, Layer
from qkld.models.gguf.gguf_files import part_names
from qkld.models.names import distinct_labels, local_entry
from qkld.pick.candidates import (
    Candidate,
    Vocabulary,
    candidate,
    check_one_model,
    check_vocabulary,
    is_language_model,
)
from qkld.pick.files_to_pick import Files
from qkld.study.entries import StoredModel
from qkld.study.provenance import DISK_FULL
from qkld.study.sealing import read_sealed, write_sealed

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
"""``owner/name``, or ``owner/name@revision``."""

FULL_PRECISION = re.compile(r"(?i)[-._](bf16|f16|fp16|f32|fp32)\b")
"""How names say that a file is full-precision; whether it is, its header says once it is here."""

SPARE = 2 * 10**9
"""Bytes that are left free on the disk: for the tables, and for what else runs there."""

MARKS = ".fetched"
"""Folder, beside the files, of what is known of those that were fetched."""


class HubModel(NamedTuple):
    """A model of a repository: its parts in order, and the bytes of each."""

    parts: Mapping[str, int]

    @property
    def name(self) -> str:
        """Its first part, which names it."""
        return next(iter(self.parts))

    @property
    def size(self) -> int:
        return sum(self.parts.values())


def is_repository(what: str) -> bool:
    """Whether this names a repository of a hub, and nothing that lies here."""
    return REPOSITORY.fullmatch(what) is not None and not Path(what).expanduser().exists()


@dataclass
class HubFiles(Files):
    """The models of one repository at one commit, in a folder.

    With ``remove`` a model that was fetched here is removed when nothing more is asked of it, and before that where the
    next one needs its space: it is fetched again then. Models that are in use stay.
    """

    repository: str = ""
    commit: str = ""
    folder: Path = Path()
    remove: bool = False
    models: dict[str, HubModel] = field(default_factory=dict)
    in_use: list[str] = field(default_factory=list)
    first: Vocabulary | None = None

    @contextmanager
    def at_hand(self, candidate: Candidate) -> Iterator[None]:
        """The candidate's files are here for as long as this lasts, fetched if need be.

        Raises
        ------
        DiskError
            If there is no space for them.
        SourceError
            If the hub does not give them.
        """
        if (model := self._of_hub(candidate)) is None:
            yield
            return
        self.in_use.append(model.name)
        try:
            self._bring(model)
            yield
        finally:
            self.in_use.remove(model.name)

    def leave(self, candidate: Candidate) -> None:
        model = self._of_hub(candidate)
        if self.remove and model is not None:
            self._forget(model)

    def close(self) -> None:
        if self.remove:
            for model in self.models.values():
                self._forget(model)

    def _of_hub(self, candidate: Candidate) -> HubModel | None:
        """The model that is this candidate; None for one that lies elsewhere, as a reference that was given."""
        own = Path(str(candidate.entry.path)) == self.folder
        return self.models.get(getattr(candidate.entry, "file", None) or "") if own else None

    def known(self, model: HubModel, entry: StoredModel) -> Candidate | None:
        """What a model says of itself, read from its header and kept; None, and a note, where it cannot be had.

        It is fetched where it was never read. Files that are no language model are let go.
        """
        card = self._mark(model).get("card")
        if card is not None:
            return _of_card(entry, card)
        try:
            self._bring(model)
        except DiskError as error:
            self.notes.append(error.problem)
            return None
        if not is_language_model(self.folder / model.name):
            self.leave_out(model)
            return None
        found = candidate(entry)
        self.first = check_vocabulary(found, self.first)
        if mark := self._mark(model):
            self._write_mark(model, there=mark["there"], card=_card(found))
        return found

    def leave_out(self, model: HubModel) -> None:
        """Remove a file that is of no use here, if it was fetched to be removed."""
        if self.remove:
            self._forget(model)

    # --- marks ---

    def _place(self, model: HubModel) -> Path:
        return self.folder / MARKS / f"{model.name}.json"

    def _mark(self, model: HubModel) -> dict[str, Any]:
        """What is known of a model that was fetched here at this commit; empty for any other."""
        if not self._place(model).exists():
            return {}
        mark = read_sealed(self._place(model), do="delete it, and the file that it is about")
        return mark if mark["commit"] == self.commit else {}

    def _write_mark(self, model: HubModel, *, there: bool, card: dict[str, Any] | None) -> None:
        self._place(model).parent.mkdir(parents=True, exist_ok=True)
        write_sealed(self._place(model), {"commit": self.commit, "there": there, "card": card})

    def _is_here(self, model: HubModel) -> bool:
        """Whether all parts are here: the user's own, or fetched and whole."""
        paths = {self.folder / name: size for name, size in model.parts.items()}
        if not all(path.exists() for path in paths):
            return False
        own = not self._place(model).exists() or self._mark(model).get("there") is False
        fetched = bool(self._mark(model)) and all(path.stat().st_size == size for path, size in paths.items())
        return own or fetched

    # --- fetching and removing ---

    def _bring(self, model: HubModel) -> None:
        if self._is_here(model):
            return
        self._make_room(model)
        self._write_mark(model, there=True, card=self._mark(model).get("card"))
        for name, size in model.parts.items():
            path = self.folder / name
            if path.is_file() and path.stat().st_size != size:
                path.unlink()  # of an earlier commit, or cut off: the hub's client would take it for whole
            _fetch(self.repository, name, self.commit, self.folder)

    def _make_room(self, model: HubModel) -> None:
        """Remove fetched models that are not in use until there is space, where they may be removed."""
        others = [other for other in self.models.values() if self._is_removable(other)] if self.remove else []
        while model.size > self._free - SPARE:
            if not others:
                raise DiskError(
                    f"{model.name} was not fetched: it takes {model.size / 1e9:.3g} GB, and {self._free / 1e9:.3g} are "
                    "free.",
                    expected=f"{(model.size + SPARE) / 1e9:.3g} GB, of which {SPARE / 1e9:.3g} stay free",
                    found=f"{self._free / 1e9:.3g} GB at {self.folder}",
                    do="free some space, or give an --out on another disk"
                    + ("" if self.remove else ", or --remove to remove each file after use"),
                )
            self._forget(others.pop(0))

    @property
    def _free(self) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self.folder).free

    def _is_removable(self, model: HubModel) -> bool:
        return model.name not in self.in_use and bool(self._mark(model).get("there"))

    def _forget(self, model: HubModel) -> None:
        """Remove the files of a model, if they were fetched here and nobody put others in their place."""
        mark = self._mark(model)
        if not mark.get("there"):
            return
        for name, size in model.parts.items():
            path = self.folder / name
            if path.is_file() and not path.is_symlink() and path.stat().st_size == size:
                path.unlink()
        self._write_mark(model, there=False, card=mark["card"])


def files_of_hub(what: str, folder: Path, *, remove: bool, largest: int | None, reference: str | None) -> HubFiles:
    """The models of a repository, each fetched once to read its header: the full-precision one, then smallest first.

    Parameters
    ----------
    what : str
        ``owner/name``, or ``owner/name@revision``.
    remove : bool
        Whether fetched files are removed after use.
    largest : int, optional
        Bytes above which a quantized file is of no use, and is not fetched.
    reference : str, optional
        The reference that is given; without one the repository's full-precision file has to be had.

    Raises
    ------
    SourceError
        If the hub cannot be asked, or the repository has no GGUF file.
    DiskError
        If there is no space for the reference.
    ModelError, TokenizerError
        If the files are of several models, or have no common tokenizer.
    """
    repository, _, revision = what.partition("@")
    models, commit = _listed(repository, revision or None)
    by_name = {model.name: model for model in models}
    files = HubFiles([], repository=repository, commit=commit, folder=folder.resolve(), remove=remove, models=by_name)
    wanted = _wanted(models, largest, files.notes)
    entries = distinct_labels([local_entry(files.folder / model.name) for model in wanted], ["reference"])
    first = wanted[0] if reference is None and FULL_PRECISION.search(wanted[0].name) else None
    if first is not None:
        files.in_use.append(first.name)
        files._bring(first)
    for model, entry in zip(wanted, entries, strict=True):
        if (found := files.known(model, entry)) is not None:
            files.found.append(found)
    files.in_use.clear()
    files.found.sort(key=lambda c: -c.size)
    check_one_model(files.found)
    return files


def _card(found: Candidate) -> dict[str, Any]:
    """What is kept of a candidate, as JSON."""
    return {
        **{name: getattr(found, name) for name in ("size", "full", "bits", "kind", "digest")},
        "cache": [list(layer) for layer in found.cache.layers],
        "model": list(found.model),
    }


def _of_card(entry: StoredModel, card: Mapping[str, Any]) -> Candidate:
    cache, model = Cache(tuple(Layer(*layer) for layer in card["cache"])), tuple(card["model"])
    return Candidate(entry, **{**card, "cache": cache, "model": model})


def _listed(repository: str, revision: str | None) -> tuple[list[HubModel], str]:
    """The repository's GGUF models at the top, split ones whole, and the commit that they are of."""
    from huggingface_hub import HfApi

    found = _asked(lambda: HfApi().model_info(repository, revision=revision, files_metadata=True), repository)
    sizes = {s.rfilename: s.size or 0 for s in found.siblings or []}
    files = [n for n in sizes if n.endswith(".gguf") and "/" not in n and "mmproj" not in n.lower()]
    if not files:
        raise SourceError(
            f"{repository} has no GGUF file.",
            expected="files that end in .gguf at the top of the repository",
            found=list(sizes)[:20],
            do="name another repository, or download its checkpoints into a folder",
        )
    firsts = [name for name in files if name == part_names(name)[0]]
    return [HubModel({part: sizes.get(part, 0) for part in part_names(name)}) for name in firsts], str(found.sha)


def _wanted(models: Sequence[HubModel], largest: int | None, notes: list[str]) -> list[HubModel]:
    """The models to fetch: one that may be the reference, then smallest first those that are not too large."""
    ordered = sorted(models, key=lambda m: m.size)
    full = [m for m in ordered if FULL_PRECISION.search(m.name)][-1 if largest is None else 0 :][:1]
    small = [m for m in ordered if m not in full and (largest is None or m.size <= largest)]
    left = [m.name for m in ordered if m not in small and m not in full]
    if left:
        notes.append(f"Not fetched, as they do not fit: {', '.join(left)}.")
    return [*full, *small]


def _fetch(repository: str, name: str, commit: str, folder: Path) -> None:
    from huggingface_hub import hf_hub_download

    _asked(lambda: hf_hub_download(repository, name, revision=commit, local_dir=folder), f"{repository}/{name}")


def _asked(ask: Callable[[], Any], what: str) -> Any:
    try:
        return ask()
    except Exception as error:  # the hub raises many kinds: no network, no such repository, gated, offline
        if getattr(error, "errno", None) in DISK_FULL:
            raise DiskError(
                f"The disk was full while {what} was fetched.",
                expected="space for the file",
                found=error,
                do="free some space, and run the same command again",
            ) from error
        raise SourceError(
            f"{what} cannot be downloaded from the hub.",
            expected="a repository that $HF_ENDPOINT serves",
            found=f"{type(error).__name__}: {error}"[:400],
            do="correct the name, log in if it is gated, or download the files into a folder",
        ) from error
