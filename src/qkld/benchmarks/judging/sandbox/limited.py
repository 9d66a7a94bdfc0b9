"""Level ``limits``: a subprocess with resource limits, for machines that have neither bubblewrap nor containers.

It stops accidents, not intent. Held by the kernel for every process of the program: address space, processor time, size
of each file, open files; for the user as a whole: the number of processes. Held by the supervisor for the program's
session: wall time, output, resident memory. Its working folder and home are temporary.

It can not stop a program from

- reading and writing what the user may read and write, keys and the repository included,
- filling a disk with many files,
- reaching the network,
- ending or tracing other processes of the user, the study itself included,
- leaving its session and living on after its run (processor time and the number of processes still bound it).

So it runs only where it is asked for by name, and never as root.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile

from qkld.benchmarks.judging.sandbox.interpreter import FLAGS, bare_interpreter
from qkld.benchmarks.judging.sandbox.launch import SUPERVISOR, Launch
from qkld.benchmarks.judging.sandbox.limits import Limits
from qkld.errors import SandboxError


def launch(limits: Limits) -> Launch:
    """Start the supervisor as a plain subprocess in a session of its own.

    Raises
    ------
    SandboxError
        If this is root: no limit on processes holds for root, and no file is safe from it.
    """
    if 0 in (os.getuid(), os.geteuid()):
        raise SandboxError(
            "Level 'limits' does not run as root.",
            expected="an ordinary user, better one of its own without files",
            found=f"user id {os.geteuid()}",
            do="use level 'bubblewrap', or run as another user",
        )
    home = tempfile.TemporaryDirectory(prefix="qkld-program-", ignore_cleanup_errors=True)
    environment = {"PATH": os.defpath, "HOME": home.name, "TMPDIR": home.name}

    def close(process: subprocess.Popen) -> None:
        _end_session(process)
        home.cleanup()

    command = (str(bare_interpreter().executable), *FLAGS, SUPERVISOR)
    options = {"start_new_session": True, "cwd": home.name, "env": environment}
    return Launch(command, options, close=close)


def _end_session(process: subprocess.Popen) -> None:
    """End what is left of the session of a supervisor that has ended; its number is not given anew before `wait`."""
    for _ in range(20):
        left = [n for n in _numbers() if n != process.pid and _session(n) == process.pid]
        if not left:
            return
        for number in left:
            try:
                os.kill(number, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue


def _numbers() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _session(number: int) -> int:
    try:
        return os.getsid(number)
    except ProcessLookupError:
        return -1
