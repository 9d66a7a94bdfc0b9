"""Run one program in a sandbox that has shown its limits."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from qkld.benchmarks.judging.sandbox.bubblewrap import launch
from qkld.benchmarks.judging.sandbox.launch import exchange
from qkld.benchmarks.judging.sandbox.limits import Limits, Outcome
from qkld.errors import SandboxError

_GENTLE = Limits(wall_seconds=30.0, cpu_seconds=10, memory_bytes=256 << 20, processes=3)

_GENTLE_PROGRAM = f"""
import os
assert os.getuid() != 0, "the program runs as root"
try:
    bytearray({_GENTLE.memory_bytes})
except MemoryError:
    pass
else:
    raise AssertionError("memory is not limited")
waiting, held = os.pipe()
started = 0
while started < {_GENTLE.processes + 2}:
    try:
        child = os.fork()
    except OSError:
        break
    if child == 0:
        os.close(held)
        os.read(waiting, 1)
        os._exit(0)
    started += 1
assert started < {_GENTLE.processes}, f"{{started}} processes were started, processes are not limited"
"""
"""Asks for a little too much, by small steps, and does nothing with it."""

_NO_END = "\nraise AssertionError('this program cannot pass')"


def run_python(source: str, *, limits: Limits | None = None) -> Outcome:
    """Run a program that nobody trusts, within limits; whatever it does ends as an outcome.

    One that says it passed runs a second time, made so that it cannot pass: a true one fails then.

    Parameters
    ----------
    source : str
        The program's text; it runs in an empty namespace, with the standard library alone.
    limits : Limits, optional
        What it may use; the defaults of `Limits` unless given.

    Raises
    ------
    SandboxError
        If bubblewrap is not to be had here, or does not hold its limits on a gentle program.
    """
    check_sandbox()
    limits = limits or Limits()
    outcome = exchange(launch(limits), source, limits)
    if outcome.passed and exchange(launch(limits), source + _NO_END, limits).passed:
        return replace(outcome, status="failed", error="it claims an end that it cannot have reached")
    return outcome


@cache
def check_sandbox() -> None:
    """Let a gentle program ask for a little too much, once a process: no other runs in a sandbox that would give it.

    Raises
    ------
    SandboxError
        If bubblewrap is not to be had here, does not start, or gives it.
    """
    outcome = exchange(launch(_GENTLE), _GENTLE_PROGRAM, _GENTLE)
    if not outcome.passed:
        raise SandboxError(
            "The sandbox does not enforce its limits here, so nothing is run in it.",
            expected="a process and memory refused to a program that asks for too much, as no root",
            found=f"{outcome.status}: {outcome.error} {outcome.stderr}".strip(),
            do="run on another machine, or leave tasks of family code out of the study",
        )
