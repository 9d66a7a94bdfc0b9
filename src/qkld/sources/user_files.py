"""Files that the package index has nowhere: the user gives them, and they are checked by hash like all others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qkld.errors import SourceError
from qkld.study.paths import GIVEN_DATA, given_data_folder


@dataclass(frozen=True)
class GivenFile:
    """A file below `paths.given_data_folder`. ``origin`` says what it is and who publishes it."""

    path: str
    origin: str


def found_file(given: GivenFile, sha256: str) -> Path:
    """Where the file lies.

    Raises
    ------
    SourceError
        If it is not there; the message says what it is, where to put it, and the hash that it has to have.
    """
    path = given_data_folder() / given.path
    if not path.is_file():
        raise SourceError(
            f"{given.path} does not exist, and no package in the index contains it.",
            expected=f"{path}, with SHA-256 {sha256}",
            found="no such file",
            do=f"put {given.origin}, into a folder as {given.path}, set {GIVEN_DATA} to that folder, and run the "
            "same command again; or remove the benchmark from the study",
        )
    return path
