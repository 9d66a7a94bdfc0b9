"""One run at a time, no process left behind, and nothing run with parameters that do not fit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from snakemake.cli import parse_args

from qkld.errors import ParameterError, QkldError
from qkld.study.locks import locked
from qkld.study.params import load_params
from qkld.study.paths import StudyPaths
from qkld.workflow import runner

SLEEPER = [sys.executable, "-c", "import time; time.sleep(120)"]


def started(variables: dict[str, str], command: list[str] = SLEEPER) -> subprocess.Popen:
    """A process in a session of its own, as a kernel is, with these variables in its environment."""
    process = subprocess.Popen(command, env={**os.environ, **variables}, start_new_session=True)
    deadline = time.monotonic() + 20
    while "time.sleep" not in " ".join(psutil.Process(process.pid).cmdline()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return process


@pytest.fixture
def orphan(own_place):
    """A process that a run of the smoke study has left behind."""
    process = started({runner.RUN_VARIABLE: str(StudyPaths("smoke").run)})
    yield process
    process.kill()
    process.wait()


def test_a_second_run_is_refused_and_says_who_holds_the_first(own_place):
    with locked(StudyPaths("smoke").run / ".lock"), pytest.raises(QkldError, match=f"held by process {os.getpid()}"):
        runner.run_study("smoke", cores=1)


def test_processes_of_a_dead_run_are_found_and_ended(orphan):
    run = StudyPaths("smoke").run
    assert [p.pid for p in runner.processes_of(run)] == [orphan.pid]
    assert runner.end_processes(run) == 1
    assert not psutil.pid_exists(orphan.pid)
    assert runner.end_processes(run) == 0


def test_processes_of_other_runs_live_on(orphan):
    assert runner.end_processes(StudyPaths("demo").run) == 0
    assert orphan.poll() is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_and_its_kernels(own_place, number):
    """The supervised command starts a process in another session, as papermill does, and both are gone afterwards."""
    run = StudyPaths("smoke").run
    kernel = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(120)'],"
    kernel += " start_new_session=True); time.sleep(120)"

    def stop() -> None:
        deadline = time.monotonic() + 20
        while len(runner.processes_of(run)) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    threading.Thread(target=stop).start()
    status = runner._supervise([sys.executable, "-c", kernel], runner.run_environment("smoke"), run)
    assert status == 128 + number
    assert runner.processes_of(run) == []


@pytest.mark.parametrize(("status", "name"), [(130, "SIGINT"), (143, "SIGTERM")])
def test_a_stopped_run_says_in_one_sentence_what_is_kept_and_how_to_go_on(own_place, status, name):
    (said,) = runner._last_words("smoke", status, None)
    assert said.startswith(f"qkld: stopped by {name}; every finished window and pack of items is kept in ")
    assert said.endswith("the same command goes on from there.")


def test_with_a_watch_snakemakes_output_and_every_traceback_go_to_the_log(own_place, capfd):
    run = StudyPaths("smoke").run
    run.mkdir(parents=True)
    watch = runner._fresh_watch("smoke")
    noisy = [sys.executable, "-c", "print('steps'); raise KeyboardInterrupt"]
    assert runner._supervise(noisy, runner.run_environment("smoke"), run, watch=watch) != 0
    assert "Traceback" not in "".join(capfd.readouterr())
    assert {"steps", "KeyboardInterrupt"} <= set(watch.log.read_text().split())


def test_a_killed_snakemake_takes_its_orphans_along(own_place):
    run = StudyPaths("smoke").run
    kill_self = "import os, subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(120)'],"
    kill_self += " start_new_session=True); os.kill(os.getpid(), 9)"
    status = runner._supervise([sys.executable, "-c", kill_self], runner.run_environment("smoke"), run)
    assert status == -signal.SIGKILL
    assert runner.processes_of(run) == []


def test_notebooks_fit_the_studies_parameters():
    runner.check_notebooks(load_params("smoke"))
    runner.check_notebooks(load_params("demo"))


def test_a_notebook_without_a_knob_stops_the_run(project, monkeypatch):
    for name, value in project.variables.items():
        monkeypatch.setenv(name, value)
    file = project.root / "notebooks" / "05_silent_zone.ipynb"
    file.write_text(file.read_text().replace("zone_cut: float", "zone_cutt: float"))
    with pytest.raises(ParameterError, match="05_silent_zone has no parameter zone_cut"):
        runner.run_study("smoke", cores=1)
    assert not (project.folder / "runs").exists()


def test_the_command_never_takes_a_lock_that_outlives_it(own_place):
    command = runner.snakemake_command("smoke", cores=3, more=["--forceall"])
    assert {"--nolock", "--rerun-incomplete"} <= set(command)
    assert command[command.index("--directory") + 1] == str(StudyPaths("smoke").run)
    assert command[command.index("--cores") + 1] == "3"
    assert command[-1] == "--forceall"


@pytest.mark.parametrize("profile", ["local", "slurm", "kubernetes"])
def test_a_users_targets_are_taken_for_targets_whatever_a_cluster_is_asked_for(own_place, profile):
    asked = ["--set-resources", "figures:mem_mb=900", "--set-threads", "figures=1"]
    command = runner.snakemake_command("smoke", cores=1, profile=profile, asked=asked, more=["--", "cohort.parquet"])
    _, read = parse_args(command[3:])
    assert set(read.targets) == {"cohort.parquet"}
    assert set(read.set_threads) == {"figures"}


def test_snakemake_starts_without_the_grammar_that_takes_it_seconds(own_place):
    command = runner.snakemake_command("smoke", cores=1)
    started = [command[0], "-X", "importtime", *command[1:3], "--version"]
    done = subprocess.run(started, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "jsonschema._format" in imported
    assert "rfc3987_syntax.syntax_helpers" not in imported


def test_a_profile_with_a_storage_starts_from_the_root(own_place):
    command = runner.snakemake_command("smoke", cores=1, profile="kubernetes")
    assert command[command.index("--directory") + 1] == str(own_place.root)
