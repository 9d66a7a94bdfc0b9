"""A lock of the operating system on a file: it ends with the process that holds it, however that process ends.

Object storage has no such lock. Two writers of one store then both write: each object is written whole, equal runs
write equal content, and where runs differ a window whose digest is the other run's is refused on reading.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from qkld.errors import QkldError
from qkld.study.storage import Place, in_object_storage


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
    give_up = time.monotonic() + patience
    with path.open("a+") as stream:
        while not _taken(stream.fileno()):
            if time.monotonic() > give_up:
                stream.seek(0)
                raise QkldError(
                    f"{path.parent} is in use by another process.",
                    expected="to hold its lock",
                    found=f"held by process {stream.read().strip() or 'unknown'}",
                    do="wait for that process, or end it if it is left over from a killed run",
                )
            time.sleep(0.1)
        stream.truncate(0)
        stream.write(f"{os.getpid()} on {socket.gethostname()}")
        stream.flush()
        yield


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
