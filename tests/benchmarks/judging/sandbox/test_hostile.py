"""Hostile programs end as failed items within their limits, and the run goes on."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hostile_programs import NAME, Hostile, hostile_programs

from qkld.benchmarks.judging.sandbox import Outcome, run_python

PROGRAMS = tuple(hostile_programs(secret="", port=0, outside=""))

pytestmark = pytest.mark.sandbox


@dataclass(frozen=True)
class Aftermath:
    """What came of every program, and what was left of it outside."""

    programs: dict[str, Hostile]
    outcomes: dict[str, Outcome]
    bombs_left: int
    written_outside: bool
    connections: int
    last: Outcome


@pytest.fixture(scope="module")
def aftermath() -> Iterator[Aftermath]:
    """All programs, one after the other, and a harmless one at the end."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as server:
        Path(folder).chmod(0o777)
        secret, outside = Path(folder) / "secret", Path(folder) / "outside"
        secret.write_text("secret")
        secret.chmod(0o644)
        programs = hostile_programs(secret=str(secret), port=server.getsockname()[1], outside=str(outside))
        outcomes = {name: run_python(p.source, limits=p.limits) for name, p in programs.items()}
        last = run_python("assert sum(range(4)) == 6")
        yield Aftermath(programs, outcomes, named(NAME), outside.exists(), waiting(server), last)


def named(name: str) -> int:
    """Processes of this name on the whole machine."""
    count = 0
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            count += path.read_text().strip() == name
        except OSError:
            continue
    return count


def waiting(server: socket.socket) -> int:
    """Connections that nobody has taken yet."""
    server.setblocking(False)
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return 0
    return 1


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_hostile_program_comes_to_nothing(aftermath, name):
    program, outcome = aftermath.programs[name], aftermath.outcomes[name]
    assert outcome.status == program.status, outcome
    assert program.error in outcome.error
    assert len(outcome.stdout) <= 4096


def test_nothing_is_left_and_the_run_goes_on(aftermath):
    assert aftermath.bombs_left == 0
    assert aftermath.last == Outcome("passed", return_code=0, seconds=aftermath.last.seconds)
    assert not aftermath.written_outside
    assert aftermath.connections == 0


SEES_NOTHING = """
import os
assert os.getuid() == 65534 and os.getpid() < 10
assert sorted(os.listdir("/home")) == ["sandbox"] and os.listdir(os.environ["HOME"]) == []
assert [n for n in os.listdir("/proc") if n.isdigit()] == ["1", "2", "3"]
for place in {places!r}:
    assert not os.path.exists(place), place
for place in ("/", "/dev", "/home", "/usr", "/usr/lib", "/proc/sys/kernel"):
    try:
        open(os.path.join(place, "new"), "w")
    except OSError:
        continue
    raise AssertionError(place)
"""


def test_bubblewrap_shows_neither_home_nor_repository_nor_processes(repository):
    places = [str(Path.home()), str(repository), "/etc/passwd", "/var", "/run", "/sys"]
    places = [place for place in places if os.path.exists(place)]
    assert run_python(SEES_NOTHING.format(places=places)).error == ""


REFUSED = """
import ctypes
call = ctypes.CDLL(None, use_errno=True).syscall
for number in {numbers!r}:
    assert call(number, 0, 0, 0, 0) == -1 and ctypes.get_errno() == 1, number
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x10000000) == -1
assert open("/proc/self/status").read().count("CapEff:\\t0000000000000000") == 1
"""


def test_bubblewrap_refuses_calls_that_go_past_the_limits():
    import platform

    from qkld.benchmarks.judging.sandbox.seccomp import AUDIT_ARCHITECTURE, NUMBERS

    column = list(AUDIT_ARCHITECTURE).index(platform.machine())
    numbers = [numbers[column] for numbers in NUMBERS.values()]
    assert run_python(REFUSED.format(numbers=numbers)).error == ""
