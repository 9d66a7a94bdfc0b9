"""Whether a job sees the folder of its run: a mark that the run writes there and hands on in the environment."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from qkld.errors import ClusterError

MARK_VARIABLE = "QKLD_MARK"
"""Environment variable of a run's jobs elsewhere: the content of its mark."""


def mark_file(run: Path) -> Path:
    """Where a run's mark lies."""
    return run / ".mark"


def write_mark(run: Path) -> dict[str, str]:
    """Write a fresh mark into a run's folder; returns the environment by which its jobs know it."""
    mark = secrets.token_hex(8)
    run.mkdir(parents=True, exist_ok=True)
    mark_file(run).write_text(mark)
    return {MARK_VARIABLE: mark}


def check_mark(run: Path) -> None:
    """Refuse a folder that is not the one in which the run was started, where the environment names a mark.

    Raises
    ------
    ClusterError
        If the folder has another mark or none: this machine has another folder at the same place.
    """
    expected = os.environ.get(MARK_VARIABLE)
    if expected is None:
        return
    try:
        found = mark_file(run).read_text()
    except OSError as error:
        found = error.strerror or type(error).__name__
    if found != expected:
        raise ClusterError(
            f"This node does not see the folder of its run, {run}.",
            expected=f"the mark {expected} in it",
            found=found,
            do="put the run on a file system that every node mounts, by QKLD_RUNS",
        )
