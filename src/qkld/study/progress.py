"""How far a job is: a bar where it runs, and a small file that `qkld run` shows as one live line.

The files lie in the folder that the environment names, one pair a job; without it there is only the bar. They are no
results: they are written without waiting for the disk, and a full disk stops no job.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qkld.errors import QkldError

FOLDER_VARIABLE = "QKLD_PROGRESS"
"""Environment variable that names the folder of a run's progress."""

JOB_VARIABLE = "QKLD_JOB"
"""Environment variable of a job's processes: its name."""

OFTEN = 0.5
"""Seconds between two writings of one file."""

RUNNING, STEP, FAILED = ".job", ".step", ".failed"
"""Endings: a job that runs, the loop it is in, and why one failed."""


@dataclass(frozen=True)
class Step:
    """A loop of a job: what it does, how many of how many units are done, and tokens and seconds that these took."""

    what: str
    unit: str
    done: int
    total: int
    tokens: int
    seconds: float


class Steps:
    """Counts the units of one loop; see `steps`."""

    def __init__(self, what: str, unit: str, total: int, bar: Any) -> None:
        self._what, self._unit, self._total, self._bar = what, unit, total, bar
        self._done = self._tokens = 0
        self._start = time.monotonic()
        self._written = float("-inf")
        self._write()

    def advance(self, units: int = 1, *, tokens: int = 0) -> None:
        """So many more units are done, in which so many tokens were run."""
        self._bar.update(units)
        self._done += units
        self._tokens += tokens
        if time.monotonic() - self._written >= OFTEN:
            self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        seconds = self._written - self._start
        step = Step(self._what, self._unit, self._done, self._total, self._tokens, seconds)
        _put(STEP, json.dumps(asdict(step)))


@contextmanager
def steps(what: str, total: int, *, unit: str) -> Iterator[Steps]:
    """Shows how far a loop of ``total`` units is while this lasts."""
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=what, unit=unit) as bar:
        yield Steps(what, unit, total, bar)


@contextmanager
def job(name: str) -> Iterator[None]:
    """This process and those it starts are this job of a run while this lasts; says why it failed where it does."""
    os.environ[JOB_VARIABLE] = name
    _put(RUNNING, json.dumps({"pid": os.getpid(), "started": time.time()}))
    try:
        yield
    except QkldError as error:
        _put(FAILED, cause_of(error))
        raise
    finally:
        _remove(STEP)
        _remove(RUNNING)


def cause_of(error: QkldError) -> str:
    """The error's first sentence, or, where a notebook's cell raised one, that of the cell's error."""
    text = str(error)
    found = [line.partition("found:")[2].strip() for line in text.splitlines() if line.strip().startswith("found:")]
    in_cell = "stopped in a cell" in text.partition("\n")[0] and found
    return found[0] if in_cell else f"{type(error).__name__}: {text.partition(chr(10))[0]}"


def _file(ending: str) -> Path | None:
    folder, name = os.environ.get(FOLDER_VARIABLE), os.environ.get(JOB_VARIABLE)
    return Path(folder) / f"{name}{ending}" if folder and name else None


def _put(ending: str, text: str) -> None:
    path = _file(ending)
    if path is None:
        return
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(text)
        temporary.replace(path)


def _remove(ending: str) -> None:
    path = _file(ending)
    if path is not None:
        with suppress(OSError):
            path.unlink(missing_ok=True)
