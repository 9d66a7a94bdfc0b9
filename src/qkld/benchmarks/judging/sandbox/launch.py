"""How a supervisor is started, and the exchange with it: a job in, one answer out, as JSON of bounded size."""

from __future__ import annotations

import json
import os
import secrets
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qkld.benchmarks.judging.sandbox.limits import Limits, Outcome
from qkld.errors import SandboxError

SUPERVISOR = Path(__file__).with_name("inside.py").read_text(encoding="utf-8")
START_SECONDS = 60.0
"""How long a sandbox may take to start, which a loaded machine can make long; the program's own time starts then."""

GRACE_SECONDS = 2.0
"""How much longer than the program's time the supervisor may take to answer before it is given up."""

ANSWER_BYTES = 1 << 17
COMPLAINT_BYTES = 2000


@dataclass(frozen=True)
class Launch:
    """One start of a supervisor.

    Parameters
    ----------
    command : tuple of str
        The sandbox's own command with the interpreter's behind it.
    options : mapping
        Further arguments of `subprocess.Popen`, such as the user to become.
    files : tuple of int
        Descriptors to hand on; closed when it is over.
    """

    command: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[int, ...] = ()


def exchange(launch: Launch, source: str, limits: Limits) -> Outcome:
    """Run a program under a started supervisor and wait for its answer, no longer than its limits and a grace.

    Raises
    ------
    SandboxError
        If the sandbox does not start, or cannot set a limit; nothing of the program has run then.
    """
    nonce, started = secrets.token_hex(16), time.monotonic()
    job = asdict(limits) | {"source": source, "nonce": nonce, "sender_namespace": os.readlink("/proc/self/ns/pid")}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    options = {"cwd": "/", "env": {"PATH": os.defpath}, **launch.options}
    try:
        with subprocess.Popen(launch.command, **pipes, pass_fds=launch.files, **options) as process:
            try:
                conversation = _Conversation(process, json.dumps(job).encode(), limits.wall_seconds + GRACE_SECONDS)
                late = conversation.hold()
            finally:
                os.kill(process.pid, signal.SIGKILL)  # not waited for yet, so the number is still its own
    finally:
        for file in launch.files:
            os.close(file)
    return _outcome(conversation, nonce, late=late, seconds=time.monotonic() - started)


class _Conversation:
    """The three pipes of a supervisor, read and written together up to a deadline; keeps bounded amounts."""

    def __init__(self, process: subprocess.Popen, job: bytes, patience: float) -> None:
        self.process, self.job, self.patience = process, memoryview(job), patience
        self.answer, self.complaint = b"", b""

    @property
    def has_started(self) -> bool:
        """Whether the supervisor has taken its job."""
        return self.answer.startswith(b"started\n")

    def hold(self) -> bool:
        """Talk until the supervisor's output ends or runs over (False), or until time is up (True)."""
        deadline, counting = time.monotonic() + START_SECONDS, False
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdin, selectors.EVENT_WRITE, self._write)
            selector.register(self.process.stdout, selectors.EVENT_READ, self._read_answer)
            selector.register(self.process.stderr, selectors.EVENT_READ, self._read_complaint)
            while self.process.stdout in {key.fileobj for key in selector.get_map().values()}:
                for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
                    if not key.data():
                        selector.unregister(key.fileobj)
                if self.has_started and not counting:
                    deadline, counting = time.monotonic() + self.patience, True
                if time.monotonic() >= deadline:
                    return True
        return False

    def _write(self) -> bool:
        try:
            self.job = self.job[os.write(self.process.stdin.fileno(), self.job[:4096]) :]
        except BrokenPipeError:
            self.job = self.job[:0]
        if not self.job:
            self.process.stdin.close()
        return bool(self.job)

    def _read_answer(self) -> bool:
        chunk = os.read(self.process.stdout.fileno(), 1 << 16)
        self.answer += chunk
        return bool(chunk) and len(self.answer) <= ANSWER_BYTES

    def _read_complaint(self) -> bool:
        chunk = os.read(self.process.stderr.fileno(), 1 << 16)
        self.complaint = (self.complaint + chunk)[-COMPLAINT_BYTES:]
        return bool(chunk)


def _outcome(conversation: _Conversation, nonce: str, *, late: bool, seconds: float) -> Outcome:
    """The supervisor's answer, or what its silence means."""
    if not conversation.has_started:
        raise _not_started(conversation.complaint.decode(errors="replace").strip() or "no message from it")
    try:
        answer = json.loads(conversation.answer.split(b"\n")[1])
        genuine = answer.pop("nonce") == nonce
    except (ValueError, KeyError, AttributeError):
        genuine = False
    if genuine:
        return Outcome(**answer, seconds=seconds)
    if late:
        return Outcome("timeout", "out of time, and its supervisor did not answer", seconds=seconds)
    return Outcome("killed", "its supervisor was ended", seconds=seconds)


def _not_started(said: str) -> SandboxError:
    return SandboxError(
        "The sandbox did not start.",
        expected="a supervisor process that accepts its job",
        found=said,
        do="run where namespaces are allowed, which `python -m qkld.benchmarks.judging.sandbox` tells: a container "
        "often forbids those of a sandbox inside it, and some systems forbid them to ordinary users (see "
        "`sysctl -a | grep userns`)",
    )
