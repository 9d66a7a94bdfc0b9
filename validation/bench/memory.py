"""Peak memory of a piece of work, as Linux counts it for this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from qkld.errors import QkldError

STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")


@dataclass
class Peak:
    """Resident bytes before the work, and the most there were during it; filled when the context ends."""

    before: int
    highest: int = 0

    @property
    def extra(self) -> int:
        """Bytes that the work took beyond what was resident before."""
        return self.highest - self.before


def resident_bytes(field: str = "VmRSS") -> int:
    """A field of /proc/self/status in bytes: ``VmRSS`` is resident now, ``VmHWM`` the most since the last reset."""
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines() if ":" in line)
    return int(lines[field].split()[0]) * 1024


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Count the most memory that is resident while the context lasts.

    Raises
    ------
    QkldError
        Where the system is not Linux, or does not let a process reset its own peak.
    """
    try:
        RESET.write_text("5")
    except OSError as error:
        raise QkldError(
            "The peak of this process's memory cannot be measured.",
            expected=f"Linux, and leave to write {RESET}",
            found=error,
            do="run the benchmark on Linux, outside a sandbox that hides /proc",
        ) from error
    peak = Peak(resident_bytes())
    yield peak
    peak.highest = resident_bytes("VmHWM")
