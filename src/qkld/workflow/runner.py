"""Run a study's workflow: one run at a time, goes on after any kill, and leaves no kernel behind.

A kernel lives in a session of its own and outlives a killed workflow. Every process of a run carries the run folder in
its environment, so whoever holds the run's lock can find the processes of a dead run and end them.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import yaml

from qkld.errors import ParameterError, QkldError
from qkld.study.knobs import knobs
from qkld.study.locks import locked
from qkld.study.mark import write_mark
from qkld.study.params import Study, load_params
from qkld.study.paths import StudyPaths, project_root
from qkld.study.progress import FOLDER_VARIABLE
from qkld.workflow.notebooks import check_parameters, kernel_environment, notebook_file
from qkld.workflow.rules import RULES, notebook_parameters
from qkld.workflow.slurm.cluster import end_jobs
from qkld.workflow.slurm.failures import causes
from qkld.workflow.slurm.site import DEFAULT, read_site
from qkld.workflow.slurm.starting import arguments, arguments_unasked
from qkld.workflow.taking import Choice, take_kept
from qkld.workflow.watching import Watch, failed_lines, shown

RUN_VARIABLE = "QKLD_RUN"
"""Environment variable of every process of a run: the run's folder."""

PATIENCE = 30.0
"""Seconds that a stopped Snakemake gets to end its jobs before they are killed, and that killed processes get."""

LOOK = 0.5
"""Seconds between two looks at a running study."""

ROUNDS = 15
"""Times that processes are looked for and killed; more than one, because a process may start another meanwhile."""


def check_notebooks(study: Study) -> None:
    """Hold what every stage is given, and the study's knobs for it, against its notebook, before anything runs."""
    told_apart = {
        "reference_corpora": {"part": "corpora"},
        "reference_benchmarks": {"part": "benchmarks"},
        "quant_kld": {"quant": study.quants[0].label},
        "benchmark_scores": {"model": study.quants[0].label},
    }
    for name, rule in RULES.items():
        given = notebook_parameters(study, rule.notebook, **told_apart.get(name, {}))
        check_parameters(notebook_file(rule.notebook), given | knobs(study, rule.notebook))


def snakemake_command(
    study: str,
    *,
    cores: int,
    profile: str = "local",
    dry_run: bool = False,
    asked: Sequence[str] = (),
    more: Sequence[str] = (),
) -> list[str]:
    """The command that runs a study's workflow; ``asked`` is what a cluster is asked for, ``more`` the user's own.

    ``--nolock`` because Snakemake's own lock survives a kill; the run's lock of the operating system does not. The
    working directory is the run folder, so that a run is whole in itself; where a profile has a storage, it is the
    project's root, because Snakemake sends pods only sources below it. On one machine, jobs that the plan expects to
    need more memory than is free wait for each other; elsewhere neither this machine's memory nor its cores hold jobs
    back.
    """
    root, folder = project_root(), profile_folder(profile)
    settings = _settings(profile)
    has_storage = "default-storage-provider" in settings
    command = [sys.executable, "-m", "qkld.workflow.snakemake", *asked, "--snakefile", str(root / "Snakefile")]
    command += ["--profile", str(folder), "--rerun-triggers", "params", "input", "mtime"]
    command += ["--config", f"study={study}", f"cores={cores}"]
    if "executor" not in settings:
        free = psutil.virtual_memory().available // 1_000_000
        command += ["--resources", f"mem_mb={free}", "--cores", str(cores)]
    # What takes several values stands before these, or it would take the user's targets too.
    command += ["--directory", str(root if has_storage else StudyPaths(study).run), "--nolock", "--rerun-incomplete"]
    return [*command, *(["--dry-run"] if dry_run else []), *more]


def _settings(profile: str) -> dict[str, Any]:
    return yaml.safe_load((profile_folder(profile) / "config.yaml").read_text())


def executor_of(profile: str) -> str:
    """What runs a profile's jobs: ``local``, or the name of a service."""
    return str(_settings(profile).get("executor", "local"))


def profile_folder(name: str) -> Path:
    """The folder of a profile of workflow/profiles."""
    folder = project_root() / "workflow" / "profiles" / name
    if not (folder / "config.yaml").is_file():
        known = sorted(p.name for p in folder.parent.iterdir() if p.is_dir())
        raise ParameterError(
            f"There is no profile '{name}'.", expected=known, found=name, do="use one, or add a folder for it"
        )
    return folder


def run_environment(study: str) -> dict[str, str]:
    """Environment of a run: this Python's programs first, the project's root, the run's mark, Jupyter's paths."""
    programs = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    paths = StudyPaths(study)
    marks = {RUN_VARIABLE: str(paths.run), FOLDER_VARIABLE: str(paths.progress)}
    marks |= {"QKLD_ROOT": str(project_root()), "PATH": programs}
    return {**os.environ, **kernel_environment(), **marks}


def processes_of(run: Path) -> list[psutil.Process]:
    """Living processes of this or an earlier run of the same folder, without the caller and its ancestors."""
    own = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid not in own and process.environ().get(RUN_VARIABLE) == str(run):
                found.append(process)
    return found


def end_processes(run: Path) -> int:
    """Kill every process that a run left behind, and those they start meanwhile; returns how many there were."""
    ended: set[int] = set()
    for _ in range(ROUNDS):
        left = processes_of(run)
        if not left:
            return len(ended)
        for process in left:
            with suppress(psutil.Error):
                process.kill()
                ended.add(process.pid)
        psutil.wait_procs(left, timeout=PATIENCE / ROUNDS)
    raise QkldError(
        f"Processes of a killed run in {run} do not end.",
        expected="none left after SIGKILL",
        found=[p.pid for p in left],
        do="wait for them (they may wait for a disk), then run the same command again",
    )


class Stopped(Exception):
    """The run was told to stop by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def _signals_raise() -> Iterator[None]:
    """SIGINT and SIGTERM raise `Stopped` in here."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _supervise(command: Sequence[str], environment: Mapping[str, str], run: Path, *, watch: Watch | None = None) -> int:
    """Run Snakemake to its end; on a signal stop it, and in any case leave no process of the run behind.

    With ``watch``, Snakemake's output goes to the watch's log, and what is shown are the watch's lines.
    """
    with _output(watch) as output, shown(watch) if watch else nullcontext(lambda: None) as look:
        return _ended(subprocess.Popen(command, env=dict(environment), cwd=project_root(), **output), look, run)


@contextmanager
def _output(watch: Watch | None) -> Iterator[dict[str, Any]]:
    """Where Snakemake's output goes: to the watch's log, or to where this process's own goes."""
    if watch is None:
        yield {}
        return
    with watch.log.open("w") as log:
        yield {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}


def _ended(process: subprocess.Popen, look: Callable[[], None], run: Path) -> int:
    """The status of a Snakemake that has ended, by itself or by a signal to this process."""
    try:
        with _signals_raise():
            while True:
                look()
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(timeout=LOOK)
    except Stopped as stopped:
        process.send_signal(signal.SIGINT)
        give_up = time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < give_up:
            time.sleep(0.1)
        return 128 + stopped.number
    finally:
        end_processes(run)
        process.wait()


def fetch_sources(study: Study) -> dict[str, Path]:
    """Fetch everything the study names that has a pinned hash, before jobs ask for it side by side; name → path.

    A study that runs programs which models wrote is told first where there is no sandbox for them.
    """
    from qkld.benchmarks.judging import bfcl
    from qkld.benchmarks.judging.sandbox import check_sandbox
    from qkld.sources import ASSETS, fetch_all
    from qkld.sources.catalogue import NEEDED

    if any(b.family == "code" for b in study.benchmarks):
        check_sandbox()
    named = [
        study.reference.asset,
        *(c.asset for c in study.corpora),
        *(getattr(q, "asset", None) for q in study.quants),
    ]
    tasks = [f"benchmark-{b.task}" for b in study.benchmarks]
    tasks += [name for task in tasks for name in NEEDED.get(task, ())]
    if "benchmark-bfcl" in tasks:
        bfcl.environment()
    return fetch_all(dict.fromkeys([*(n for n in named if n), *(t for t in tasks if t in ASSETS)]))


def _check_bases(study: Study) -> None:
    """Refuse builds of what has no other basis before the reference is measured for hours."""
    if study.bases:
        from qkld.models.making.builds import check_has_bases

        check_has_bases(study)


def run_study(
    name: str,
    *,
    cores: int,
    profile: str = "local",
    site: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    kept: Choice = "fitting",
    more: Sequence[str] = (),
) -> int:
    """Run a study's workflow, or go on with it; returns Snakemake's exit status, or 128 + the signal that stopped it.

    What is shown is how far each running job and the study are; at the end, every job that failed, with its cause.
    Snakemake's own output is kept in the run's folder. It is shown instead where no folder is shared with the jobs
    (``kubernetes``), or where arguments were handed on to it.

    Parameters
    ----------
    site : mapping
        With profile ``slurm``: the values of `qkld.workflow.slurm.site.Site` that go before its file, and ``file``.
    kept
        Which of the tables that the repository keeps are taken instead of being made: see `taking.take_kept`. Where
        jobs see no folder of this machine (``kubernetes``) none are.

    Raises
    ------
    ParameterError
        If the study's parameters do not fit; nothing has run then.
    ClusterError
        If the cluster cannot run its jobs; nothing has been submitted then.
    QkldError
        If another run of the same study is under way.
    """
    study = load_params(name)
    check_notebooks(study)
    run, on_slurm = StudyPaths(name).run, executor_of(profile) == "slurm"
    asked = _asked_of_slurm(study, run, site or {}, dry_run=dry_run) if on_slurm else _without_site(profile, site or {})
    command = snakemake_command(name, cores=cores, profile=profile, dry_run=dry_run, asked=asked, more=more)
    if dry_run:
        return subprocess.run(command, env=run_environment(name), cwd=project_root()).returncode
    with locked(run / ".lock", patience=1.0), _no_slurm_jobs_left(run) if on_slurm else nullcontext():
        if ended := end_processes(run):
            print(f"qkld: ended {ended} processes that a killed run of '{name}' had left behind", flush=True)
        for line in take_kept(study, "none" if executor_of(profile) == "kubernetes" else kept):
            print(f"qkld: {line}", flush=True)
        fetch_sources(study)
        _check_bases(study)
        watch = None if more or executor_of(profile) == "kubernetes" else _fresh_watch(name)
        environment = run_environment(name) | (write_mark(run) if on_slurm else {})
        status = _supervise(command, environment, run, watch=watch)
    known = causes(run / "run.log", run) if on_slurm and watch else {}
    print("\n".join(_last_words(name, status, watch, known)), flush=True, file=sys.stderr if status else sys.stdout)
    return status


def _asked_of_slurm(study: Study, run: Path, site: Mapping[str, Any], *, dry_run: bool) -> list[str]:
    """Arguments for Snakemake's executor; the cluster is asked first whether it can run the jobs."""
    given = dict(site)
    told = read_site(given.pop("file", None) or project_root() / DEFAULT, **given)
    return arguments_unasked(study, told) if dry_run else arguments(study, told, run)


def _without_site(profile: str, site: Mapping[str, Any]) -> list[str]:
    """Refuse what only SLURM clusters understand."""
    if given := [name for name, value in site.items() if value is not None]:
        raise ParameterError(
            "Only SLURM clusters have sites.",
            expected="--profile slurm",
            found=f"{', '.join(given)} with --profile {profile}",
            do="give --profile slurm, or leave these away",
        )
    return []


@contextmanager
def _no_slurm_jobs_left(run: Path) -> Iterator[None]:
    """No SLURM job of this run's folder is there when this begins, nor when it ends."""
    if ended := end_jobs(run):
        print(f"qkld: cancelled {ended} SLURM jobs that a killed run in {run} had left behind", flush=True)
    try:
        yield
    finally:
        end_jobs(run)


def _fresh_watch(study: str) -> Watch:
    paths = StudyPaths(study)
    shutil.rmtree(paths.progress, ignore_errors=True)
    return Watch(study, paths.progress, paths.run / "run.log")


def _last_words(study: str, status: int, watch: Watch | None, known: Mapping[str, str] | None = None) -> list[str]:
    """What is said at the end of a run; ``known`` is why a cluster ended which job."""
    if status > 128:
        signal_name = signal.Signals(status - 128).name
        return [
            f"qkld: stopped by {signal_name}; every finished window and pack of items is kept in "
            f"{StudyPaths(study).run}, and the same command goes on from there."
        ]
    if watch is None:
        return []
    return failed_lines(watch, status, known) if status else [watch.ended_line()]
