"""A lock of the operating system on a file: it ends with the process that holds it, however that process ends.

Object storage has no such lock. Two writers of one store then both write: each object is written whole, equal runs
write equal content, and where runs differ a window whose digest is the other run's is refused on reading.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from qkld.errors import QkldError
from qkld.study.storage import Place, in_object_storage

LOCK_PATIENCE = 900.0
"""Seconds a writer waits for another one, such as the orphan of a killed run, to let go of a folder."""


@contextmanager
def locked(path: Place, *, patience: float = float("inf")) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` (made if missing); waits up to ``patience`` seconds for whoever holds it.

    A ``path`` in object storage is not locked.

    Raises
    ------
    QkldError
        If another process still holds it then; the message gives its number and machine.
    """
    if in_object_storage(path):
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=patience, poll_interval=0.1, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise QkldError(
            f"{path.parent} is in use by another process.",
            expected="to hold its lock",
            found=f"held by process {path.read_text(errors='replace').strip() or 'unknown'}",
            do="wait for that process, or end it if it is left over from a killed run",
        ) from error
    try:
        path.write_text(f"{os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        lock.release()
