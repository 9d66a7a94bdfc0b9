"""Level ``container``: podman or docker, with the engine's own walls.

Asked of the engine: no network, a read-only root, no capability, no new privileges, user 65534, memory without swap and
the number of processes by cgroup, so that both hold for the whole program, a temporary folder and home in memory. The
supervisor adds processor time, file size, wall time and output. What the engine's daemon and the image do is trusted: a
rootful docker shares the kernel's user ids with the machine.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from functools import cache

from qkld.benchmarks.judging.sandbox.interpreter import FLAGS
from qkld.benchmarks.judging.sandbox.launch import SUPERVISOR, Launch
from qkld.benchmarks.judging.sandbox.limits import Limits
from qkld.errors import SandboxError

IMAGE = "docker.io/library/python:3.11-slim"
"""Image that programs run in unless ``QKLD_SANDBOX_IMAGE`` names another; it must be there, as none is pulled."""

ENGINES = ("podman", "docker")
HOME = "/home/sandbox"


def image() -> str:
    """The image in use."""
    return os.environ.get("QKLD_SANDBOX_IMAGE", IMAGE)


@cache
def find_engine() -> str:
    """The first engine that answers and has the image.

    Raises
    ------
    SandboxError
        If none does; the message gives what each said.
    """
    said = {}
    for engine in ENGINES:
        if not shutil.which(engine):
            said[engine] = "not installed"
            continue
        done = subprocess.run([engine, "image", "inspect", image()], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return engine
        said[engine] = done.stderr.strip()[-300:]
    raise SandboxError(
        "No container engine can run generated code here.",
        expected=f"podman or docker, running, with the image {image()}",
        found=said,
        do=f"start the engine and pull the image, for example `podman pull {image()}`, or use level 'bubblewrap'",
    )


def launch(limits: Limits) -> Launch:
    """Start the supervisor in a container that is removed afterwards."""
    engine, name = find_engine(), f"qkld-{secrets.token_hex(8)}"
    command = (engine, *arguments(limits, name), image(), "python3", *FLAGS, SUPERVISOR)

    def close(process: subprocess.Popen) -> None:
        subprocess.run([engine, "rm", "--force", name], capture_output=True, check=False)

    own = {"env": None}  # the engine's client needs the user's environment; the container is given none of it
    return Launch(command, own, counts_processes=False, close=close)


def arguments(limits: Limits, name: str) -> tuple[str, ...]:
    """Arguments of ``run``: walls first, then limits. One process more than the program's is the supervisor."""
    size = f"rw,nosuid,nodev,size={limits.file_bytes}"
    walls = ("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    walls += ("--user", "65534:65534", "--ipc", "private", "--pull", "never", "--name", name)
    files = (
        "--tmpfs",
        f"/tmp:{size}",
        "--tmpfs",
        f"{HOME}:{size},mode=1777",
        "--env",
        f"HOME={HOME}",
        "--workdir",
        HOME,
    )
    memory = str(limits.memory_bytes + (32 << 20))  # the supervisor's own
    held = ("--memory", memory, "--memory-swap", memory, "--pids-limit", str(limits.processes + 1))
    return ("run", "--rm", "--interactive", *walls, *files, *held)
