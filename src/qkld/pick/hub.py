"""GGUF files of a repository on a hub, fetched one at a time into a folder, until the disk is full."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from qkld.errors import SourceError

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
"""``owner/name``, or ``owner/name@revision``."""

SPARE = 2 * 10**9
"""Bytes that are left free on the disk: for the tables, and for what else runs there."""


class HubFile(NamedTuple):
    """A file of a repository, and its bytes."""

    name: str
    size: int


def is_repository(what: str) -> bool:
    """Whether this names a repository of a hub, and nothing that lies here."""
    return REPOSITORY.fullmatch(what) is not None and not Path(what).expanduser().exists()


def fetched_files(what: str, folder: Path, *, largest: int | None = None) -> tuple[Path, list[str]]:
    """The folder with a repository's GGUF files, and a note on each that was not fetched.

    Smallest first, so that a full disk costs the largest. ``largest`` is the size above which a quantized file is of no
    use; the first full-precision file is fetched all the same, as the reference. Files that are there are kept.

    Raises
    ------
    SourceError
        If the hub cannot be asked, or the repository has no GGUF file.
    """
    repository, _, revision = what.partition("@")
    listed, commit = _listed(repository, revision or None)
    notes: list[str] = []
    for file in _wanted(listed, largest, notes):
        free = shutil.disk_usage(_there(folder)).free
        if not (folder / file.name).exists() and file.size > free - SPARE:
            notes.append(
                f"{file.name} was not fetched: it takes {file.size / 1e9:.3g} GB, and {free / 1e9:.3g} are free."
            )
            continue
        _fetch(repository, file.name, commit, folder)
    return folder, notes


def _listed(repository: str, revision: str | None) -> tuple[list[HubFile], str]:
    """The repository's GGUF files at the top, and the commit that they are of."""
    from huggingface_hub import HfApi

    found = _asked(lambda: HfApi().model_info(repository, revision=revision, files_metadata=True), repository)
    names = [HubFile(s.rfilename, s.size or 0) for s in found.siblings or []]
    files = [f for f in names if f.name.endswith(".gguf") and "/" not in f.name and "mmproj" not in f.name.lower()]
    if not files:
        raise SourceError(
            f"{repository} has no GGUF file.",
            expected="files that end in .gguf at the top of the repository",
            found=[f.name for f in names][:20],
            do="name another repository, or download its checkpoints into a folder",
        )
    return files, str(found.sha)


def _wanted(files: Sequence[HubFile], largest: int | None, notes: list[str]) -> list[HubFile]:
    """The files to fetch, smallest first; of those that are too large, the one that may be the reference."""
    ordered = sorted(files, key=lambda f: f.size)
    small = [f for f in ordered if largest is None or f.size <= largest]
    full = [f for f in ordered if f not in small and re.search(r"(?i)[-._](bf16|f16|fp16|f32|fp32)\b", f.name)]
    left = [f.name for f in ordered if f not in small and f not in full[:1]]
    if left:
        notes.append(f"Not fetched, as they do not fit: {', '.join(left)}.")
    return [*full[:1], *small]


def _fetch(repository: str, name: str, commit: str, folder: Path) -> None:
    from huggingface_hub import hf_hub_download

    _asked(lambda: hf_hub_download(repository, name, revision=commit, local_dir=folder), f"{repository}/{name}")


def _asked(ask: Callable[[], Any], what: str) -> Any:
    try:
        return ask()
    except Exception as error:  # the hub raises many kinds: no network, no such repository, gated, offline
        raise SourceError(
            f"{what} cannot be downloaded from the hub.",
            expected="a repository that $HF_ENDPOINT answers for",
            found=f"{type(error).__name__}: {error}"[:400],
            do="correct the name, log in if it is gated, or download the files into a folder",
        ) from error


def _there(folder: Path) -> Path:
    """The folder, made."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder
