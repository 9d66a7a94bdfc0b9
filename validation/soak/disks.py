"""A disk that is full at a random moment of a study: it says so, leaves nothing half written, and goes on with more."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qkld.errors import QkldError
from validation.soak.record import Count
from validation.soak.studies import StudyFolder, same_tables

Resize = Callable[[int | None], None]
"""Gives the disk so many bytes; None: enough."""

PLENTY = 2 * 2**30


@dataclass(frozen=True)
class FullDisk:
    """One run on a disk that was too small: how large it was, what the run said, whether that was the disk."""

    size: int
    status: int
    said: str
    named: bool


@contextmanager
def small_disk(folder: Path) -> Iterator[Resize]:
    """A disk in memory at ``folder`` whose size can be changed, as root; else a limit on the size of every file."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={PLENTY}", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        return
    try:
        yield lambda size: _resized(folder, size)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _resized(folder: Path, size: int | None) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size or PLENTY}", str(folder)], check=True)


def used_bytes(folder: Path) -> int:
    """What the files below a folder take of a disk, whose blocks have 4,096 bytes."""
    sizes = (path.lstat().st_size for path in folder.rglob("*") if path.is_file())
    return sum(-(-size // 4096) * 4096 for size in sizes)


def sizes_to_try(least: int, most: int, number: int, rng: np.random.Generator) -> list[int]:
    """Sizes of a disk on which a study ends too early, smallest first."""
    return sorted(int(size) // 4096 * 4096 for size in rng.uniform(least, most, size=number))


def fill_disks(place: StudyFolder, sizes: Sequence[int], resize: Resize) -> list[FullDisk]:
    """Run the study on a disk of each size in turn, on what the one before has left."""
    full = []
    for size in sizes:
        resize(size)
        status, words = place.said()
        resize(None)
        full.append(FullDisk(size, status, words[-2000:], status != 0 and _names_the_disk(words)))
    return full


def _names_the_disk(words: str) -> bool:
    said = any(word in words for word in ("No space left on device", "File too large", "DiskError", "bytes free"))
    return said and "Traceback" not in words


def disks_count(
    folder: Path, begun: Path, unbroken: Path, number: int, rng: np.random.Generator
) -> tuple[Count, list[Any]]:
    """Run out of disk at random, go on to the end, compare; the row of the record, and every full disk.

    The study begins with what ``begun``, a run folder, holds.
    """
    with small_disk(folder) as resize:
        place = StudyFolder(folder / "study")
        shutil.copytree(begun, place.run)
        least, most = used_bytes(place.run), used_bytes(unbroken) + used_bytes(unbroken.parents[1] / "figures")
        full = fill_disks(place, sizes_to_try(least, most, number, rng), resize)
        status, words = place.said()
        if status:
            raise QkldError("A study does not go on.", expected="status 0", found=words[-2000:], do="mend it")
        tables = same_tables(unbroken, place.run)
    named, fitted = sum(f.named for f in full), sum(f.status == 0 for f in full)
    held = f"{tables} tables, value by value; the message names the disk"
    return Count("a full disk", number, named, fitted, number - named - fitted, held), [asdict(f) for f in full]
