"""A study that is broken on purpose: its own folder, its processes, and whether its tables are another run's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil

from qkld.study.params import load_params
from qkld.study.registry import OF_STUDIES
from qkld.study.schemas import COHORT, FIDELITY, ITEMS, TOKENS, Schema, read_table
from qkld.workflow import runner
from qkld.workflow.plan import measured_labels, scored_labels

STUDY = "smoke"
"""The study that is broken."""


ANALYSED = ("cohort.parquet", "items.parquet", "analysis")
"""What the notebooks after 03 make in the run's folder."""

MEASURED = ("kld", "fidelity", "items", "partial", *ANALYSED)
"""What the notebooks after 01 make there."""


@dataclass(frozen=True)
class StudyFolder:
    """A folder with runs and figures of its own; ``cores`` is what a run of it may use."""

    folder: Path
    cores: int = 2

    @property
    def run(self) -> Path:
        """The run folder of the study."""
        return self.folder / "runs" / STUDY

    @property
    def log(self) -> Path:
        """What the runs said, one below the other."""
        return self.folder / "log.txt"

    def variables(self) -> dict[str, str]:
        """The environment in which this folder is the project's place for runs and figures."""
        own = {"QKLD_RUNS": str(self.folder / "runs"), "QKLD_FIGURES": str(self.folder / "figures")}
        return {**os.environ, **own}

    def start(self, *more: str, log: Path | None = None) -> subprocess.Popen:
        """`qkld run`, in a process group of its own."""
        command = [sys.executable, "-m", "qkld.workflow.cli", "run", STUDY, "--cores", str(self.cores), *more]
        self.folder.mkdir(parents=True, exist_ok=True)
        with (log or self.log).open("a") as output:
            return subprocess.Popen(
                command, env=self.variables(), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    def said(self, *more: str) -> tuple[int, str]:
        """Status and words of a run that ends by itself."""
        log = self.folder / "words.txt"
        log.unlink(missing_ok=True)
        status = self.start(*more, log=log).wait()
        return status, log.read_text(errors="replace")

    def kernels(self, notebook: str, run: subprocess.Popen) -> list[psutil.Process]:
        """Kernels in which a run, and no earlier one, executes a notebook."""
        return [kernel for kernel in self._with("ipykernel_launcher") if _executes(kernel, notebook, run)]

    def snakemake(self, run: subprocess.Popen) -> list[psutil.Process]:
        """The Snakemake of a run."""
        with suppress(psutil.Error):
            return [p for p in psutil.Process(run.pid).children() if "snakemake" in " ".join(p.cmdline())]
        return []

    def _with(self, word: str) -> Iterator[psutil.Process]:
        for process in runner.processes_of(self.run):
            with suppress(psutil.Error):
                if word in " ".join(process.cmdline()):
                    yield process


def _executes(kernel: psutil.Process, notebook: str, run: subprocess.Popen) -> bool:
    with suppress(psutil.Error):
        parents = kernel.parents()
        return run.pid in {p.pid for p in parents} and notebook in " ".join(parents[0].cmdline())
    return False


def without(run: Path, folder: Path, names: Sequence[str]) -> Path:
    """A copy of a run at ``folder``, without what has one of these names directly below it; returns the folder."""
    shutil.copytree(run, folder)
    for path in (folder / name for name in names):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return folder


def same_tables(unbroken: Path, broken: Path, *, taken: Collection[str] = ()) -> int:
    """Hold every table of two run folders of the study to each other, value by value; returns how many there were.

    Of models whose tables were ``taken`` from what a repository keeps, tokens are left out: they have fewer columns.

    Raises
    ------
    AssertionError
        At the first value that differs.
    QkldError
        If a table is not there, or damaged.
    """
    left_out = {f"kld/{label}" for label in taken}
    schemas = {name: schema for name, schema in stored_tables().items() if name not in left_out}
    for name, schema in schemas.items():
        one, other = (read_table(f / f"{name}.parquet", schema, made_in="qkld run") for f in (unbroken, broken))
        pd.testing.assert_frame_equal(one, other, check_exact=True, obj=name)
    for name in OF_STUDIES:
        one, other = (pd.read_csv(f / "analysis" / f"{name}.csv") for f in (unbroken, broken))
        pd.testing.assert_frame_equal(one, other, check_exact=True, obj=name)
    return len(schemas) + len(OF_STUDIES)


def stored_tables() -> dict[str, Schema]:
    """Every Parquet table of the study, as its path below the run folder without its ending → schema."""
    study = load_params(STUDY)
    measured, scored = measured_labels(study), scored_labels(study)
    schemas: dict[str, Schema] = {f"kld/{label}": TOKENS for label in measured}
    schemas |= {f"fidelity/{label}": FIDELITY for label in measured}
    schemas |= {f"items/{label}": ITEMS for label in scored}
    return schemas | {"cohort": COHORT, "items": ITEMS}
