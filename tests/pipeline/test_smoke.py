"""The whole smoke study: unbroken, and killed in the middle of stages 01, 02 and 03 in three ways, with equal tables."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from conftest import Place

from qkld import runner
from qkld.params import load_params
from qkld.paths import StudyPaths
from qkld.tables import COHORT, FIDELITY, ITEMS, TOKENS, Schema, read_table
from qkld.workflow import ANALYSIS_TABLES, measured_labels, scored_labels

pytestmark = [pytest.mark.pipeline, pytest.mark.model]

PATIENCE = 420.0
"""Seconds after which a run that should have got on counts as stuck."""

Files = dict[Path, tuple[int, int]]
"""Finished windows or packs → inode and time of change: another one of either means that it was written again."""

Start = Callable[[str], subprocess.Popen]


@dataclass(frozen=True)
class Stage:
    """A stage to be killed in: its rule, one job's words, its finished files, how many there are in all, its output."""

    notebook: str
    rule: str
    job: str
    done: str
    total: int
    output: str


def stages() -> tuple[Stage, ...]:
    """One job of each stage. The smoke study's items fill at least two packs a benchmark; a pack is a file."""
    study = load_params("smoke")
    windows, label = sum(c.windows for c in study.corpora), study.quants[0].label
    return (
        Stage("01_reference_logits", "reference_corpora", "--part corpora", "reference/corpus-*/done/*.json", windows,
              "seals/corpora.json"),
        Stage("02_quant_kld", "quant_kld", f"--quant {label}", f"partial/kld/{label}/*/*.parquet", windows,
              f"kld/{label}.parquet"),
        Stage("03_benchmark_scores", "benchmark_scores", f"--model {label}", f"partial/items/{label}/*/*.json",
              2 * len(study.benchmarks), f"items/{label}.parquet"),
    )  # fmt: skip


def run_folder() -> Path:
    return StudyPaths("smoke").run


def processes(*words: str) -> list[psutil.Process]:
    """Processes of the run whose command holds all these words."""
    found = []
    for process in runner.processes_of(run_folder()):
        with suppress(psutil.Error):
            command = " ".join(process.cmdline())
            if all(word in command for word in words):
                found.append(process)
    return found


def kernels_of(stage: Stage) -> list[psutil.Process]:
    """The kernel that executes the stage's job."""
    jobs = {job.pid for job in processes("qkld", stage.notebook, stage.job)}
    found = []
    for kernel in processes("ipykernel_launcher"):
        with suppress(psutil.Error):
            if kernel.ppid() in jobs:
                found.append(kernel)
    return found


def finished_files(stage: Stage) -> Files:
    found = {}
    for path in run_folder().glob(stage.done):
        with suppress(FileNotFoundError):
            found[path] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return found


def wait_until(condition: Callable[[], bool], *, alive: subprocess.Popen | None = None) -> None:
    """Until the condition holds; fails where the run that is to bring it about has ended, or is stuck."""
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert alive is None or alive.poll() is None, f"the run ended by itself with {alive.returncode}"
        assert time.monotonic() < give_up, "the run is stuck"
        time.sleep(0.01)


def kill_group(started: subprocess.Popen, stage: Stage) -> None:
    """The whole process group: runner, Snakemake and papermill; kernels have sessions of their own."""
    os.killpg(started.pid, signal.SIGKILL)


def kill_snakemake(started: subprocess.Popen, stage: Stage) -> None:
    """Snakemake, and the runner that would clear up after it: papermill and its kernel are orphans, and go on."""
    snakemake = [p for p in psutil.Process(started.pid).children() if "snakemake" in " ".join(p.cmdline())]
    started.kill()
    for process in snakemake:
        process.kill()
    assert kernels_of(stage), "no kernel was orphaned"


def kill_kernel(started: subprocess.Popen, stage: Stage) -> None:
    """The job's kernel alone: papermill sees it and ends with an error. Other jobs would go on; they are stopped."""
    (kernel,) = kernels_of(stage)
    kernel.kill()
    wait_until(lambda: not processes("qkld", stage.notebook, stage.job))
    with suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)


KILLS = (kill_group, kill_snakemake, kill_kernel)


@pytest.fixture
def start(own_place) -> Iterator[Start]:
    """Starts a run up to a rule, in a process group of its own; nothing of it is left behind after the test."""
    started = []

    def run_until(rule: str) -> subprocess.Popen:
        command = own_place.command("run", "smoke", "--cores", "2", "--", "--until", rule)
        with (own_place.folder / "log.txt").open("a") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=own_place.root, start_new_session=True)
        started.append(process)
        return process

    yield run_until
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    runner.end_processes(run_folder())


def kill_in_the_middle(stage: Stage, kill: Callable, after: int, before: Files, start: Start) -> Files:
    """Go on until ``after`` windows or packs are finished, kill, and return what was finished; ``before`` still is."""
    process = start(stage.rule)
    wait_until(lambda: len(finished_files(stage)) >= after, alive=process)
    kill(process, stage)
    process.wait()
    finished = finished_files(stage)
    assert after <= len(finished) < stage.total, f"the kill landed after {len(finished)} of {stage.total}"
    assert not (run_folder() / stage.output).exists(), "the job had ended before it was killed"
    assert before.items() <= finished.items(), "a finished window was computed again"
    return finished


def go_on(stage: Stage, before: Files, start: Start) -> None:
    """Go on until the job ends; as long as its finished windows are there, they are the files of before."""
    process, more = start(stage.rule), False
    while not (run_folder() / stage.output).exists():
        now = finished_files(stage)
        if before.keys() <= now.keys():
            assert before.items() <= now.items(), "a finished window was computed again"
            more = more or len(now) > len(before)
        assert process.poll() is None, f"the run ended by itself with {process.returncode}"
        time.sleep(0.01)
    assert more, "nobody saw the job go on"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def same_tables(unbroken: Path, broken: Path) -> int:
    """Hold every table of two run folders to each other, value by value; returns how many there were."""
    study = load_params("smoke")
    schemas: dict[str, Schema] = {f"kld/{label}": TOKENS for label in measured_labels(study)}
    schemas |= {f"fidelity/{label}": FIDELITY for label in measured_labels(study)}
    schemas |= {f"items/{label}": ITEMS for label in scored_labels(study)}
    schemas |= {"cohort": COHORT, "items": ITEMS}
    for name, schema in schemas.items():
        one, other = (read_table(f / f"{name}.parquet", schema, made_in="qkld run") for f in (unbroken, broken))
        pd.testing.assert_frame_equal(one, other, check_exact=True, obj=name)
    analyses = [name for tables in ANALYSIS_TABLES.values() for name in tables]
    for name in analyses:
        one, other = (pd.read_csv(f / "analysis" / f"{name}.csv") for f in (unbroken, broken))
        pd.testing.assert_frame_equal(one, other, check_exact=True, obj=name)
    return len(schemas) + len(analyses)


def test_the_unbroken_run_leaves_every_product(smoke_study: Place):
    paths, study = StudyPaths("smoke"), load_params("smoke")
    assert same_tables(paths.run, paths.run) == 2 * 5 + 4 + 2 + sum(map(len, ANALYSIS_TABLES.values()))
    assert json.loads((paths.figures / "numbers.json").read_text())
    assert "<html" in (paths.figures / "report.html").read_text()
    executed = {file.stem for file in (paths.run / "notebooks").glob("*.ipynb")}
    assert {f"02_quant_kld.{label}" for label in measured_labels(study)} <= executed
    assert {f"03_benchmark_scores.{label}" for label in scored_labels(study)} <= executed
    assert {"01_reference_logits.corpora", "01_reference_logits.benchmarks", "08_figures"} <= executed


def test_a_finished_run_has_nothing_to_do(smoke_run: Place):
    done = smoke_run.qkld("run", "smoke", "--dry-run")
    assert "Nothing to be done" in done.stdout + done.stderr


def test_killed_in_the_middle_of_every_stage_it_ends_with_the_same_tables(
    smoke_run: Place, own_place: Place, start: Start, rng: np.random.Generator
):
    for stage in stages():
        finished: Files = {}
        points = sorted(rng.choice(np.arange(1, stage.total - 1), size=len(KILLS), replace=False))
        for kill, after in zip(rng.permutation(KILLS), points, strict=True):
            finished = kill_in_the_middle(stage, kill, int(after), finished, start)
        go_on(stage, finished, start)
    done = own_place.qkld("run", "smoke", "--cores", "2")
    assert done.returncode == 0, done.stderr[-6000:]
    same_tables(smoke_run.folder / "runs" / "smoke", own_place.folder / "runs" / "smoke")
