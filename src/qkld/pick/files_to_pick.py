"""Where the files to pick from lie: in a folder, all of them, or on a hub, from which each comes when it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from qkld.errors import SourceError
from qkld.pick.candidates import Candidate, candidates_in


@dataclass
class Files:
    """The files of a folder: all are there, and nothing of them is ever removed."""

    found: list[Candidate]
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def at_hand(self, candidate: Candidate) -> Iterator[None]:
        """The candidate's files are there for as long as this lasts."""
        yield

    def leave(self, candidate: Candidate) -> None:
        """Nothing more is asked of this candidate."""

    def close(self) -> None:
        """Nothing more is asked of any."""


def files_of_folder(what: str) -> Files:
    """The models that lie in a folder.

    Raises
    ------
    SourceError, ModelError, TokenizerError
        If there is no such folder, or as `candidates_in`.
    """
    folder = Path(what).expanduser()
    if not folder.is_dir():
        raise SourceError(
            f"There are no model files to choose from at {what}.",
            expected="a folder of GGUF files or of checkpoints, a hub's owner/name, or a study",
            found="a file" if folder.exists() else "no such folder",
            do=f"give its folder, {folder.parent}" if folder.exists() else "correct the name",
        )
    return Files(candidates_in(folder), _unfinished(folder))


UNFINISHED = ("aria2", "crdownload", "download", "incomplete", "part", "partial", "tmp")
"""What downloaders append to the name of a file that is not whole yet, or to that of their notes beside it."""


def _unfinished(folder: Path) -> list[str]:
    """A note that names downloads which are not complete."""
    names = [p.name for p in sorted(folder.iterdir()) if p.suffix[1:].lower() in UNFINISHED and ".gguf" in p.stem]
    return [f"By its name a download is not complete: {name}." for name in names]
