"""What many tests share: the repository, generators, a project to edit, a small disk, one run of the smoke study."""

from __future__ import annotations

import gc
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import budget
import numpy as np
import pytest

from qkld.analysis.study import LoadedStudy, load_study
from qkld.workflow.processes import look_for_garbage_rarely

REPOSITORY = Path(__file__).resolve().parent.parent
os.environ.setdefault("QKLD_ROOT", str(REPOSITORY))
os.environ.setdefault("QKLD_DATA", str(REPOSITORY / "data"))
if "PYTEST_XDIST_WORKER" in os.environ:  # more workers than cores: torch's own threads would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")


LONGEST_FIRST = ("pipeline", "kernel", "notebook", "network", "model", "sandbox")
"""Markers by how long their files take."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first, so that no worker is left alone with one of them at the end."""
    places: dict[Path, int] = {}
    for item in items:
        markers = {marker.name for marker in item.iter_markers()}
        own = next((i for i, name in enumerate(LONGEST_FIRST) if name in markers), len(LONGEST_FIRST))
        places[item.path] = min(own, places.get(item.path, own))
    items.sort(key=lambda item: places[item.path])  # a file stays whole: its fixtures are set up once


def pytest_collection_finish() -> None:
    """Keep what imports made from every later look for garbage: a million objects that stay.

    The tests' processes look as rarely as those of a study's jobs.
    """
    look_for_garbage_rarely()
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--budget``: at the end, what each part of the tests took."""
    parser.addoption("--budget", action="store_true", help="show what each part of the tests took beside its budget")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the budget where it was asked for."""
    if config.getoption("budget"):
        named = budget.parts(REPOSITORY)
        reports = [r for found in terminalreporter.stats.values() for r in found if isinstance(r, pytest.TestReport)]
        terminalreporter.section("budget")
        for line in budget.lines(budget.seconds_of(reports, named), named):
            terminalreporter.write_line(line)


@dataclass(frozen=True)
class Place:
    """A folder of its own for a project's runs and figures, with the environment that sends qkld there."""

    folder: Path
    root: Path = REPOSITORY

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables for `qkld` and for notebooks."""
        return {
            "QKLD_ROOT": str(self.root),
            "QKLD_RUNS": str(self.folder / "runs"),
            "QKLD_FIGURES": str(self.folder / "figures"),
        }

    def command(self, *arguments: str) -> list[str]:
        """A ``qkld`` command in this environment's Python."""
        return [sys.executable, "-m", "qkld.workflow.cli", *arguments]

    def qkld(self, *arguments: str, more: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run ``qkld`` here and return what it printed, without judging it."""
        environment = {**os.environ, **self.variables, **(more or {})}
        return subprocess.run(
            self.command(*arguments), env=environment, cwd=self.root, capture_output=True, text=True, check=False
        )


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with the same seed in every test."""
    return np.random.default_rng(2606)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with space for 256 KiB: a real small disk where it may be mounted, else a limit on file sizes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if mount and subprocess.run(command, capture_output=True, check=False).returncode == 0:
        yield folder
        subprocess.run(["umount", str(folder)], check=True)
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, hard))
    yield folder
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return REPOSITORY


def copy_project(folder: Path) -> Place:
    """A project in ``folder`` with the repository's workflow and notebooks and a smoke study that may be edited."""
    root = folder / "project"
    shutil.copytree(REPOSITORY / "notebooks", root / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    shutil.copytree(REPOSITORY / "workflow", root / "workflow", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "params").mkdir()
    shutil.copy(REPOSITORY / "params" / "smoke.yaml", root / "params")
    shutil.copy(REPOSITORY / "Snakefile", root)
    return Place(folder, root)


@pytest.fixture
def project(tmp_path: Path) -> Place:
    """A copy of the project for one test."""
    return copy_project(tmp_path)


@pytest.fixture
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The repository's project with runs and figures in the test's own folder, set for this process too."""
    place = Place(tmp_path)
    for name, value in place.variables.items():
        monkeypatch.setenv(name, value)
    return place


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The smoke study, run whole and unbroken once a session."""
    place = Place(tmp_path_factory.mktemp("smoke"))
    done = place.qkld("run", "smoke", "--cores", "2")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return place


@pytest.fixture
def smoke_study(smoke_run: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """`smoke_run`, with this process sent there: ``StudyPaths("smoke")`` finds its tables. Change nothing in it."""
    for name, value in smoke_run.variables.items():
        monkeypatch.setenv(name, value)
    return smoke_run


@pytest.fixture(scope="session")
def simulated_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder with every table of a simulated study, made once a session. Change nothing in it."""
    from simulated_study import write_simulated_project

    root = tmp_path_factory.mktemp("simulated")
    with pytest.MonkeyPatch.context() as patch:
        send_to(root, patch)
        write_simulated_project(root)
    return root


def send_to(root: Path, patch: pytest.MonkeyPatch) -> None:
    """Make ``root`` the project of this process, with its own runs and figures."""
    patch.setenv("QKLD_ROOT", str(root))
    for name in ("QKLD_RUNS", "QKLD_FIGURES"):
        patch.delenv(name, raising=False)


@pytest.fixture
def simulated(simulated_root: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedStudy:
    """The simulated study, opened, with this process sent to its project. Change nothing in it."""
    send_to(simulated_root, monkeypatch)
    return load_study("simulated")


@pytest.fixture
def simulated_copy(simulated_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedStudy:
    """A copy of the simulated study that one test may change."""
    root = shutil.copytree(simulated_root, tmp_path / "simulated")
    send_to(root, monkeypatch)
    return load_study("simulated")


@pytest.fixture(scope="session")
def measured_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder with a simulated study's fidelity and item tables, made once a session. Change nothing in it."""
    from simulated_project import write_simulated

    root = tmp_path_factory.mktemp("measured")
    write_simulated(REPOSITORY, root, root / "runs")
    (root / "notebooks").mkdir()
    return root


@pytest.fixture
def measured_project(measured_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `measured_root` for one test, with this process sent there."""
    root = shutil.copytree(measured_root, tmp_path / "project")
    send_to(root, monkeypatch)
    return root
