"""Level ``bubblewrap``: namespaces of its own, as an ordinary user without privileges.

Held by the kernel, for the whole program:

- User, process, network, mount, IPC, host-name and cgroup namespaces of its own; no further user namespaces. The
  program sees its own processes only, and can signal or trace no other; there is no network but its own loopback.
- An id of its own: 65534 inside. Where root starts it, the id outside is `OUTSIDE_ID`, not root, as no limit on the
  number of processes holds for root; an ordinary user keeps the own id outside, which the namespaces leave no use for.
- No capability, and no new privilege by setuid files.
- Files: ``/usr`` and the interpreter, read-only; ``/tmp`` and an empty home, in memory, of ``file_bytes`` each, gone
  afterwards; ``/proc`` of its own processes; ``/dev/null`` and random numbers. Nothing else of this machine.
- System calls that take memory past these limits, or reach into kernel or processes, fail
  (`qkld.benchmarks.judging.sandbox.seccomp`).
- Of each process: address space, processor time, open files, file size. Of the whole: the number of processes.

Held by the supervisor in the sandbox, and by this process should it be stopped: wall time, output, and resident memory
of all processes together, which between two looks may reach ``processes`` × ``memory_bytes``. No cgroup is needed.

Not held: what a flaw of the kernel lets through; and a program learns the kernel's version and load.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from qkld.benchmarks.judging.sandbox.interpreter import FLAGS, Interpreter, bare_interpreter
from qkld.benchmarks.judging.sandbox.launch import SUPERVISOR, Launch
from qkld.benchmarks.judging.sandbox.limits import Limits
from qkld.benchmarks.judging.sandbox.seccomp import filter_program
from qkld.errors import SandboxError
from qkld.study.paths import data_folder

INSIDE_ID = 65534
OUTSIDE_ID = 65530
"""User and group that the sandbox is for the rest of the machine, where root starts it; nobody's account."""

OLDEST = (0, 8)
"""The first version that forbids further user namespaces."""

NAMESPACES = ("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts")
NAMESPACES += ("--unshare-cgroup-try", "--disable-userns")
HOME = "/home/sandbox"


def fetched_bubblewrap() -> Path:
    """Where `qkld.benchmarks.judging.sandbox.debian` puts bubblewrap."""
    return data_folder() / "tools" / "bubblewrap" / "bwrap"


def find_bubblewrap() -> Path:
    """The machine's own bubblewrap where it is new enough, else the one that was fetched.

    Raises
    ------
    SandboxError
        If there is neither.
    """
    own = shutil.which("bwrap")
    for path in ([Path(own)] if own else []) + [fetched_bubblewrap()]:
        if path.is_file() and _version(path) >= OLDEST:
            return path
    raise SandboxError(
        "bubblewrap is not here.",
        expected="bwrap of version 0.8 or newer on the path, or the one that qkld fetches",
        found=f"{own or 'none on the path'}, none in {fetched_bubblewrap().parent}",
        do="run `python -m qkld.benchmarks.judging.sandbox`, which fetches Debian's, or `apt-get install bubblewrap`",
    )


@cache
def _version(path: Path) -> tuple[int, ...]:
    """Version of a bubblewrap; (0,) where it does not run here."""
    try:
        said = subprocess.run([str(path), "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return (0,)
    return tuple(int(n) for n in re.findall(r"\d+", said)) or (0,)


def launch(limits: Limits) -> Launch:
    """Start the supervisor in namespaces of its own; as root, under `OUTSIDE_ID`.

    bubblewrap and the filter are handed on as open files, so that they may lie where only this user can read.
    """
    interpreter = bare_interpreter()
    binary = os.open(find_bubblewrap(), os.O_RDONLY)
    rules = _filter_file()
    command = ("bwrap", *arguments(interpreter, limits, rules), "--", str(interpreter.executable), *FLAGS, SUPERVISOR)
    options = {"executable": f"/proc/self/fd/{binary}", "pass_fds": (binary, *rules)}
    if os.getuid() == 0:
        options |= {"user": OUTSIDE_ID, "group": OUTSIDE_ID, "extra_groups": []}

    def close(process: subprocess.Popen) -> None:
        for descriptor in (binary, *rules):
            os.close(descriptor)

    return Launch(command, options, close=close)


def arguments(interpreter: Interpreter, limits: Limits, rules: tuple[int, ...]) -> tuple[str, ...]:
    """bubblewrap's arguments: namespaces, ids, and the only files that the program sees."""
    ids = ("--uid", str(INSIDE_ID), "--gid", str(INSIDE_ID), "--hostname", "sandbox")
    ends = ("--die-with-parent", "--new-session")
    filtered = tuple(word for rule in rules for word in ("--seccomp", str(rule)))
    return (*NAMESPACES, *ids, *ends, *filtered, *_system(interpreter), *_temporary(limits), "--remount-ro", "/")


def _system(interpreter: Interpreter) -> tuple[str, ...]:
    """``/usr``, the links into it, the interpreter where it lies elsewhere, own processes, and three devices."""
    words = ["--ro-bind", "/usr", "/usr", "--proc", "/proc"]
    for name in ("bin", "lib", "lib64"):
        place = Path("/") / name
        if place.is_symlink():
            words += ["--symlink", os.readlink(place), str(place)]
        elif place.exists():
            words += ["--ro-bind", str(place), str(place)]
    if not interpreter.prefix.is_relative_to("/usr"):
        words += ["--ro-bind", str(interpreter.prefix), str(interpreter.prefix)]
    for device in ("null", "zero", "urandom"):
        words += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    return tuple(words)


def _temporary(limits: Limits) -> tuple[str, ...]:
    """Temporary folder and home, empty, in memory and of bounded size."""
    size = str(limits.file_bytes)
    return (
        "--size",
        size,
        "--tmpfs",
        "/tmp",
        "--size",
        size,
        "--tmpfs",
        HOME,
        "--setenv",
        "HOME",
        HOME,
        "--chdir",
        HOME,
    )


def _filter_file() -> tuple[int, ...]:
    """An open file with the filter of system calls; none on a processor that it is not written for."""
    program = filter_program()
    if program is None:
        return ()
    rules = os.memfd_create("filter", 0)
    os.write(rules, program)
    os.lseek(rules, 0, os.SEEK_SET)
    return (rules,)
