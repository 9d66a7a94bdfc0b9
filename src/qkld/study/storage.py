"""Where stores of the reference may lie: a folder of this machine, or object storage that fsspec reads.

A place in object storage is a `upath.UPath`, which has the methods of a `pathlib.Path`, so the code that reads and
writes stores is the same for both. Credentials and endpoints come from fsspec's own configuration (its
``FSSPEC_<PROTOCOL>_<OPTION>`` variables or files) or the provider's, never from a study.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from qkld.errors import ParameterError

if TYPE_CHECKING:
    from upath import UPath

Place: TypeAlias = "Path | UPath"
"""A folder or file of this machine, or in object storage."""


def place(name: str | Place) -> Place:
    """The place with this name: a path, or a URL such as ``s3://bucket/stores``; ``file://`` is this machine's.

    Raises
    ------
    ParameterError
        If fsspec, or its package for the protocol, is not installed or does not know the protocol.
    """
    if isinstance(name, Path) or "://" not in str(name):
        return Path(name) if isinstance(name, str) else name
    try:
        from upath import UPath

        found = UPath(name)
        return Path(found.path) if found.protocol in ("file", "local") else _reachable(found)
    except (ImportError, ValueError) as error:
        raise ParameterError(
            f"{name} cannot be opened.",
            expected="a folder, or a URL that fsspec reads",
            found=f"{type(error).__name__}: {error}",
            do="install the protocol's package (s3fs for s3://, gcsfs for gs://, adlfs for az://), or correct the URL",
        ) from error


def _reachable(found: UPath) -> UPath:
    """The same place once its file system could be made; making it is what asks for the protocol's package."""
    _ = found.fs
    return found


def in_object_storage(path: Place) -> bool:
    """Whether a path is no path of this machine's file system."""
    return not isinstance(path, Path)


@contextmanager
def local_file(path: Place) -> Iterator[Path]:
    """The file as one of this machine: itself, or a copy that goes with the context."""
    if not in_object_storage(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        path.fs.get_file(path.path, str(copy))
        yield copy
