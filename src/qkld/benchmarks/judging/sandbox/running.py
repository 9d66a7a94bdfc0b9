"""Run one program at a level that has shown its limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

from qkld.benchmarks.judging.sandbox import bubblewrap, container, limited
from qkld.benchmarks.judging.sandbox.launch import Launch, exchange
from qkld.benchmarks.judging.sandbox.limits import LEVELS, Level, Limits, Outcome
from qkld.errors import ParameterError, SandboxError

_LAUNCHES: Mapping[Level, Callable[[Limits], Launch]] = {
    "bubblewrap": bubblewrap.launch,
    "container": container.launch,
    "limits": limited.launch,
}

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

_NO_END = "\nraise AssertionError('this program can not pass')"


def run_python(source: str, *, limits: Limits | None = None, level: Level = "bubblewrap") -> Outcome:
    """Run a program that nobody trusts, within limits; whatever it does ends as an outcome.

    One that says it passed runs a second time, made so that it can not pass: a true one fails then.

    Parameters
    ----------
    source : str
        The program's text; it runs in an empty namespace, with the standard library alone.
    limits : Limits, optional
        What it may use; the defaults of `Limits` unless given.
    level : str
        One of `LEVELS`; no other is used in its place.

    Raises
    ------
    ParameterError
        If there is no such level.
    SandboxError
        If the level is not to be had here, or does not hold its limits on a gentle program.
    """
    check_level(level)
    limits = limits or Limits()
    outcome = exchange(_LAUNCHES[level](limits), source, limits)
    if outcome.passed and exchange(_LAUNCHES[level](limits), source + _NO_END, limits).passed:
        return replace(outcome, status="failed", error="it claims an end that it can not have reached")
    return outcome


@cache
def check_level(level: Level) -> None:
    """Let a gentle program ask for a little too much, once a process: no other runs at a level that would give it."""
    if level not in _LAUNCHES:
        raise ParameterError(
            "There is no such sandbox.", expected=list(LEVELS), found=level, do="use one of these levels"
        )
    outcome = exchange(_LAUNCHES[level](_GENTLE), _GENTLE_PROGRAM, _GENTLE)
    if not outcome.passed:
        raise SandboxError(
            f"Level '{level}' does not hold its limits here, so nothing is run at it.",
            expected="a process and memory refused to a program that asks for too much, as no root",
            found=f"{outcome.status}: {outcome.error} {outcome.stderr}".strip(),
            do="use another level or another machine; `python -m qkld.benchmarks.judging.sandbox` says what works here",
        )
