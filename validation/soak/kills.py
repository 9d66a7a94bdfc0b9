"""SIGKILLs at random moments of a study: it goes on, nothing finished is made twice, and every table is as unbroken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from qkld.errors import QkldError, StageError
from qkld.workflow import runner
from qkld.workflow.rules import RULES
from validation.soak.record import Count
from validation.soak.studies import StudyFolder, same_tables

PATIENCE = 1200.0
"""Seconds after which a run that should have got on counts as stuck."""

LOOK = 0.05
"""Seconds between two looks at a run."""

FINISHED = (
    "reference/*/done/*.json",
    "reference/answers-*.json",
    "partial/kld/*/*/*.parquet",
    "partial/items/*/*/*.json",
)
"""Finished windows, answers and packs, of which none may be made again."""

Files = dict[Path, tuple[int, int]]
"""File → inode and time of change: another one of either means that it was written again."""


@dataclass(frozen=True)
class Kill:
    """One SIGKILL: which notebook ran, who was killed, how many seconds after the notebook's kernel was seen."""

    notebook: str
    way: str
    after: float
    running: bool
    made_again: int


def notebooks_to_kill(number: int, analysis: bool, rng: np.random.Generator) -> list[str]:
    """So many notebooks of a study in its order, each about as often as any other; with ``analysis`` from 03b on."""
    first = "03b" if analysis else "01"
    stages = list(dict.fromkeys(rule.notebook for rule in RULES.values() if rule.notebook >= first))
    drawn = [*(stages * (number // len(stages))), *rng.choice(stages, size=number % len(stages), replace=False)]
    return sorted(str(stage) for stage in drawn)


def kill_at_random(
    place: StudyFolder, unbroken: Path, notebooks: Sequence[str], rng: np.random.Generator
) -> list[Kill]:
    """Start the study again and again, and kill it in each of these notebooks at a random moment."""
    kills, before = [], {}
    for notebook in notebooks:
        kill, before = _one_kill(place, notebook, seconds_of(unbroken, notebook), rng, before)
        kills.append(kill)
    return kills


def _one_kill(
    place: StudyFolder, notebook: str, seconds: float, rng: np.random.Generator, before: Files
) -> tuple[Kill, Files]:
    way, after = WAYS[int(rng.integers(len(WAYS)))], float(rng.uniform(0.0, seconds))
    run = place.start()
    try:
        running = _wait_for_kernel(place, notebook, run)
        time.sleep(after if running else 0.0)
        way(place, notebook, run)
        run.wait(PATIENCE)
    finally:
        end(run)
    finished = finished_files(place.run)
    again = sum(finished.get(path, stat) != stat for path, stat in before.items())
    return Kill(notebook, way.__name__.removeprefix("kill_"), after, running, again), finished


def _wait_for_kernel(place: StudyFolder, notebook: str, run: subprocess.Popen) -> bool:
    """Whether the notebook was seen running before the run had ended by itself."""
    give_up = time.monotonic() + PATIENCE
    while run.poll() is None:
        if place.kernels(notebook, run):
            return True
        if time.monotonic() > give_up:
            raise StageError("A run is stuck.", expected=f"notebook {notebook}", found="nothing", do=f"see {place.log}")
        time.sleep(LOOK)
    return False


def kill_group(place: StudyFolder, notebook: str, run: subprocess.Popen) -> None:
    """The runner, Snakemake and papermill at once; the kernel, in a session of its own, is an orphan."""
    with suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)


def kill_kernel(place: StudyFolder, notebook: str, run: subprocess.Popen) -> None:
    """The notebook's kernels alone: the run sees it, does what it can, and ends by itself."""
    for kernel in place.kernels(notebook, run):
        with suppress(psutil.Error):
            kernel.kill()


def kill_snakemake(place: StudyFolder, notebook: str, run: subprocess.Popen) -> None:
    """Snakemake, and the runner that would clear up after it: papermill and its kernel are orphans, and go on."""
    snakemake = place.snakemake(run)
    run.kill()
    for process in snakemake:
        with suppress(psutil.Error):
            process.kill()


WAYS: Sequence[Callable[[StudyFolder, str, subprocess.Popen], None]] = (kill_group, kill_kernel, kill_snakemake)


def end(run: subprocess.Popen) -> None:
    """Nothing of the run's group is left, however it ended; kernels are left to the next run."""
    with suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)
    run.wait()


def finished_files(run: Path) -> Files:
    """Windows, answers and packs that a run folder holds."""
    found = {}
    for path in (path for pattern in FINISHED for path in run.glob(pattern)):
        with suppress(FileNotFoundError):
            found[path] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return found


def seconds_of(unbroken: Path, notebook: str) -> float:
    """How long a notebook took in the unbroken run, the longest where it ran several times."""
    executed = (unbroken / "notebooks").glob(f"{notebook}*.ipynb")
    return max(json.loads(path.read_text())["metadata"]["papermill"]["duration"] for path in executed)


def survived(place: StudyFolder, unbroken: Path) -> int:
    """Run to the end; how many tables are the unbroken run's.

    Raises
    ------
    AssertionError, QkldError
        If one is not, the run does not end well, or leaves a process behind.
    """
    status, words = place.said()
    if status:
        raise QkldError("A killed study does not end.", expected="status 0", found=words[-2000:], do="mend it")
    if left := runner.processes_of(place.run):
        raise QkldError("A study left processes behind.", expected="none", found=[p.pid for p in left], do="mend it")
    return same_tables(unbroken, place.run)


def kills_count(
    place: StudyFolder, unbroken: Path, notebooks: Sequence[str], rng: np.random.Generator
) -> tuple[Count, list[Any]]:
    """Kill in each of these, go on to the end, compare; the row of the record, and every kill."""
    kills = kill_at_random(place, unbroken, notebooks, rng)
    tables = survived(place, unbroken)
    lost, hit = sum(kill.made_again for kill in kills), sum(kill.running for kill in kills)
    held = f"{tables} tables, value by value, with an unbroken run's; no finished window or pack made again"
    where = f"SIGKILL, notebooks {min(notebooks)[:3].rstrip('_')} to {max(notebooks)[:2]}"
    return Count(where, len(kills), hit, len(kills) - hit, lost, held), [asdict(kill) for kill in kills]
