"""A real SLURM cluster of one node from Debian's packages: its own folder, loopback addresses, daemons that it ends."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from conftest import Place

CONFIGURATION = Path(__file__).parent / "data" / "slurm" / "slurm.conf"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
PARTITION = "work"
ETC = "/etc/slurm"
SYSTEM_FOLDERS = ("/usr/sbin", "/sbin")
MARK = "QKLD_TEST_CLUSTER"
"""Environment variable of a cluster's processes: its folder."""

PATIENCE = 300.0
"""Seconds that a daemon gets to come up, and what is waited for to come about, on a machine with other work."""


def missing_programs() -> list[str]:
    """What of SLURM and MUNGE is not installed here; empty where a cluster can be started."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *SYSTEM_FOLDERS))
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


def why_no_cluster() -> str | None:
    """Why no cluster can be started here: None where one can."""
    if os.geteuid() != 0:
        return "SLURM's daemons need root"
    return "Debian's slurm-wlm and munge are not installed" if missing_programs() else None


def skip_without_cluster() -> None:
    """Skip the test that asks where no cluster can be started; tests/reviewed_skips.txt names this line."""
    if reason := why_no_cluster():
        pytest.skip(reason)


def free_ports(number: int) -> list[int]:
    """Ports of the loopback address that nobody listens on."""
    with_sockets = [socket.socket() for _ in range(number)]
    for one in with_sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in with_sockets]
    for one in with_sockets:
        one.close()
    return ports


def wait_for(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Until the condition holds; fails where that takes longer than ``patience`` seconds."""
    give_up = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < give_up, f"not in {patience:.0f} s"
        time.sleep(0.1)


@dataclass
class Cluster:
    """A running cluster. ``folder`` holds its configuration, logs and state."""

    folder: Path
    daemons: dict[str, subprocess.Popen] = field(default_factory=dict)

    def inside(self, *command: str, hidden: Path | None = None) -> list[str]:
        """A command in a mount namespace where this cluster's configuration is the machine's own.

        Snakemake's executor takes ``SLURM_CONF`` away from a job's steps, so that only the usual place is left. Daemons
        know their folder by that place too: the names of their sockets may have 107 letters at most. With
        ``hidden``, what lies in that folder is not seen in there: the folder is an empty one of the namespace's own.
        """
        mounts = [f"mount --bind {shlex.quote(str(self.folder))} {ETC}"]
        mounts += [f"mount -t tmpfs tmpfs {shlex.quote(str(hidden))}"] if hidden else []
        script = f'{" && ".join(mounts)} && exec "$@"'
        return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh", *command]

    def variables(self) -> dict[str, str]:
        """The environment of this cluster's commands: no other run's, no other cluster's."""
        foreign = ("SLURM_", "QKLD_", "SBATCH_", "SRUN_")
        path = os.pathsep.join((os.environ.get("PATH", os.defpath), *SYSTEM_FOLDERS))
        return {k: v for k, v in os.environ.items() if not k.startswith(foreign)} | {
            "PATH": path,
            MARK: str(self.folder),
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """One of SLURM's commands on this cluster."""
        command = self.inside(*command)
        return subprocess.run(
            command, env=self.variables(), capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    def ask(self, *command: str) -> str:
        """What one of SLURM's commands says; it must succeed."""
        done = self.run(*command)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def jobs(self, *states: str) -> list[tuple[str, str, str]]:
        """Number, name and comment of every job in one of these states; a comment is ``rule_NAME…``."""
        asked = ",".join(states) or "all"
        listed = self.ask("squeue", "--noheader", "--array", f"--states={asked}", "--format=%i|%j|%k")
        return [
            (number, name, comment)
            for number, name, comment in (line.split("|") for line in listed.split("\n") if line)
        ]

    def start(self, name: str, *arguments: str, hidden: Path | None = None) -> None:
        """Start a daemon in a session of its own, without a terminal; ``hidden`` as in `inside`."""
        with (self.folder / f"{name}.out").open("a") as output:
            self.daemons[name] = subprocess.Popen(
                self.inside(name, *arguments, hidden=hidden),
                env=self.variables(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip

    def start_node(self, *, hidden: Path | None = None) -> None:
        """Start the node's daemon, and wait until the controller gives it work."""
        self.start("slurmd", "-D", "-N", "localhost", hidden=hidden)
        wait_for(lambda: self.node_state() in ("idle", "mixed", "allocated"))

    def node_state(self) -> str:
        return self.ask("sinfo", "--noheader", "--format=%T").strip()

    def kill(self, name: str) -> None:
        """SIGKILL to a daemon."""
        self.daemons[name].kill()
        self.daemons.pop(name).wait()

    def lose_node(self) -> None:
        """Kill the node's daemon with all that it runs, at once, as when a machine loses its power.

        Without that a job step tells the controller by itself how it ended, and a node that is away loses no job.
        """
        self.kill("slurmd")
        while steps := self._steps():
            for process in steps:
                with suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(steps, timeout=1.0)

    def addresses(self) -> set[str]:
        """Addresses that the daemons listen on."""
        found = set()
        for daemon in self.daemons.values():
            for connection in psutil.Process(daemon.pid).net_connections(kind="inet"):
                if connection.status == psutil.CONN_LISTEN:
                    found.add(connection.laddr.ip)
        return found

    def end(self) -> None:
        """End the cluster's jobs and daemons, and what they left behind."""
        if "slurmctld" in self.daemons:
            self.run("scancel", "--full", "--state=PENDING")
            self.run("scancel", "--full", "--signal=KILL", "--state=RUNNING")
        for name in ("slurmd", "slurmctld", "munged"):
            if daemon := self.daemons.pop(name, None):
                daemon.terminate()
                with suppress(subprocess.TimeoutExpired):
                    daemon.wait(10)
                daemon.kill()
                daemon.wait()
        for process in self._left():
            with suppress(psutil.Error):
                process.kill()

    def _left(self) -> list[psutil.Process]:
        """Processes of this cluster: its daemons, and job steps, which outlive these."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARK) == str(self.folder) and process.pid != os.getpid():
                    found.append(process)
        return found

    def _steps(self) -> list[psutil.Process]:
        """Job steps, and what runs in them: the daemons of the steps first, which would report how the rest ended."""
        run = []
        for process in self._left():
            with suppress(psutil.Error):
                run += [process] if "SLURM_JOB_ID" in process.environ() else []
        above = {}
        for process in run:
            with suppress(psutil.Error):
                above |= {parent.pid: parent for parent in process.parents() if parent.name() == "slurmstepd"}
        return [*above.values(), *run]


@contextmanager
def cluster(
    folder: Path, *, default: bool = True, kept_seconds: int = 300, gpu_model: str | None = None
) -> Iterator[Cluster]:
    """A cluster with one partition, `PARTITION`; with ``default`` jobs that name none go there.

    With ``gpu_model`` the node says that it has one such GPU, and jobs that ask for it are given a file instead. Skips
    the test where no cluster can be started.
    """
    skip_without_cluster()
    folder.mkdir(mode=0o755, parents=True)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    controller_port, node_port = free_ports(2)
    values = {
        "folder": ETC, "controller_port": controller_port, "node_port": node_port, "kept_seconds": kept_seconds,
        "cores": os.cpu_count(), "memory_mb": psutil.virtual_memory().total // 2**20 - 500,
        "default": "YES" if default else "NO", "gpus": f"Gres=gpu:{gpu_model}:1" if gpu_model else "",
    }  # fmt: skip
    gpu = f"NodeName=localhost Name=gpu Type={gpu_model} File=/dev/null\n" if gpu_model else ""
    (folder / "gres.conf").write_text(gpu)
    (folder / "slurm.conf").write_text(CONFIGURATION.read_text().format(**values))
    made = Cluster(folder)
    try:
        made.start(
            "munged", "--foreground", "--force", f"--socket={ETC}/munge.socket", f"--key-file={ETC}/{key.name}",
            f"--pid-file={ETC}/munged.pid", f"--log-file={ETC}/munged.log", f"--seed-file={ETC}/munge.seed",
        )  # fmt: skip
        wait_for((folder / "munge.socket").exists)
        made.start("slurmctld", "-D")
        wait_for(lambda: "is UP" in made.run("scontrol", "ping").stdout)
        made.start_node()
        yield made
    finally:
        made.end()


def words_file(place: Place) -> Path:
    """Where what a run started by `start` says is kept."""
    return place.folder / "words.txt"


def start(made: Cluster, place: Place, *more: str, study: str = "smoke") -> subprocess.Popen:
    """`qkld run` on a cluster."""
    command = made.inside(*place.command("run", study, "--profile", "slurm", *more))
    with words_file(place).open("w") as output:
        variables = made.variables() | {"QKLD_DATA": os.environ["QKLD_DATA"]} | place.variables
        return subprocess.Popen(command, env=variables, cwd=place.root, stdout=output, stderr=subprocess.STDOUT)


def said(made: Cluster, place: Place, *more: str, patience: float = 600.0) -> tuple[int, str]:
    """Status and words of a run that is to end by itself."""
    run = start(made, place, *more)
    try:
        return run.wait(patience), words_file(place).read_text()
    finally:
        run.kill()
        run.wait()
