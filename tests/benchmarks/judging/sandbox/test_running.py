"""What a program's outcome holds, and what is said where a sandbox can not be had."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from ordinary_user import as_ordinary_user

from qkld.benchmarks.judging.sandbox import Limits, bubblewrap, container, limited, run_python, running
from qkld.benchmarks.judging.sandbox.inside import judged
from qkld.benchmarks.judging.sandbox.interpreter import bare_interpreter, readable_by_all
from qkld.benchmarks.judging.sandbox.launch import Launch, exchange
from qkld.errors import ParameterError, SandboxError

pytestmark = pytest.mark.sandbox


def test_a_program_that_reaches_its_end_passes_and_its_output_is_kept():
    outcome = run_python("import sys\nprint('out')\nprint('err', file=sys.stderr)")
    assert (outcome.status, outcome.stdout, outcome.stderr) == ("passed", "out\n", "err\n")
    assert outcome.passed
    assert outcome.return_code == 0


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("assert 1 == 2, 'one is not two'", "AssertionError: one is not two"),
        ("def f(:", "SyntaxError"),
        ("input()", "EOFError"),
        ("import qkld", "ModuleNotFoundError"),
        ("__name__ + __file__", "NameError"),
        ("raise ValueError('\U0001f600' * 9999)", "ValueError: \U0001f600"),
    ],
)
def test_a_program_that_does_not_fails_with_its_exception(source, error):
    outcome = run_python(source)
    assert outcome.status == "failed"
    assert outcome.error.startswith(error)


def test_the_last_of_a_long_output_is_kept():
    outcome = run_python("print('a' * 50_000 + 'the end')")
    assert outcome.passed
    assert len(outcome.stdout) == 4096
    assert outcome.stdout.endswith("the end\n")


def test_a_program_may_be_longer_than_a_pipe_holds():
    assert run_python("x = 1\n" * 20_000).passed


def test_a_limit_that_goes_over_names_itself_before_all_else():
    assert judged("timeout", 0, {"status": "passed", "error": ""}) == ("timeout", "out of time")
    assert judged("", 0, {"status": "passed", "error": ""}) == ("passed", "")
    assert judged("", 3 << 8, {}) == ("failed", "left with exit status 3 before its end")


@pytest.mark.parametrize("wrong", [{"wall_seconds": 0}, {"cpu_seconds": 1.5}, {"memory_bytes": -1}, {"processes": 0}])
def test_a_limit_that_is_none_is_refused(wrong):
    (name,) = wrong
    with pytest.raises(ParameterError, match=f"(?s){name}.*above 0"):
        Limits(**wrong)


def test_an_unknown_level_is_refused_with_those_there_are():
    with pytest.raises(ParameterError, match=r"(?s)bubblewrap.*container.*limits.*chroot"):
        run_python("pass", level="chroot")


def test_limits_refuse_root(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(SandboxError, match=r"(?s)does not run as root.*bubblewrap"):
        limited.launch(Limits())


def test_limits_leave_no_folder_behind():
    def act() -> list[str]:
        place = run_python("import os\nprint(os.getcwd())", level="limits").stdout.strip()
        return [place, str(Path(place).exists())]

    place, exists = as_ordinary_user(act)
    assert "qkld-program-" in place
    assert exists == "False"


def test_a_level_that_holds_no_limits_runs_nothing(monkeypatch):
    plain = (str(bare_interpreter().executable), "-I", "-S", "-c", without_limits())
    monkeypatch.setitem(running._LAUNCHES, "limits", lambda limits: Launch(plain, {"start_new_session": True}))
    running.check_level.cache_clear()
    with pytest.raises(SandboxError, match=r"(?s)does not hold its limits.*(not limited|as root)"):
        run_python("raise AssertionError('it ran')", level="limits")
    running.check_level.cache_clear()


def without_limits() -> str:
    """A supervisor that forgets to set limits."""
    from qkld.benchmarks.judging.sandbox.launch import SUPERVISOR

    changed = SUPERVISOR.replace("    set_limits(child, job, others)\n", "")
    assert changed != SUPERVISOR
    return changed


def test_a_sandbox_that_does_not_start_says_why():
    launch = Launch((sys.executable, "-c", "import sys; sys.exit('no namespaces for you')"))
    with pytest.raises(
        SandboxError, match=r"(?s)did not start.*no namespaces for you.*qkld.benchmarks.judging.sandbox"
    ):
        exchange(launch, "pass", Limits())


def test_an_answer_under_another_name_counts_for_nothing():
    forged = 'import sys; sys.stdin.read(); print(\'started\'); print(\'{"nonce": "0", "status": "passed"}\')'
    outcome = exchange(Launch((sys.executable, "-c", forged)), "pass", Limits())
    assert outcome.status == "killed"


def test_an_answer_without_end_is_cut_off():
    flood = "import sys; sys.stdin.read(); print('started')\nwhile True: sys.stdout.write('x' * 65536)"
    assert exchange(Launch((sys.executable, "-c", flood)), "pass", Limits(wall_seconds=60)).status == "killed"


def test_a_missing_bubblewrap_is_said_with_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("QKLD_DATA", str(tmp_path))
    with pytest.raises(SandboxError, match=r"(?s)not here.*0\.8.*python -m qkld\.sandbox.*apt-get install"):
        bubblewrap.find_bubblewrap()


def test_an_ordinary_user_has_the_same_sandbox(monkeypatch):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        here = bubblewrap.find_bubblewrap()
        monkeypatch.setenv("QKLD_DATA", folder)
        readable = bubblewrap.fetched_bubblewrap()  # the repository's own may lie where only root can read
        readable.parent.mkdir(parents=True)
        shutil.copy(here, readable)
        source = "import os\nassert (os.getuid(), os.getgid(), os.getpid()) == (65534, 65534, 3)"
        assert as_ordinary_user(lambda: run_python(source).error) == ""


def test_the_interpreter_is_bare_and_lies_where_all_may_read():
    interpreter = bare_interpreter()
    assert readable_by_all(interpreter.executable)
    assert not interpreter.executable.is_relative_to(Path.home())
    code = "import sys; print(sys.version_info[:2])"
    said = subprocess.run([interpreter.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(sys.version_info[:2])


def test_a_container_is_asked_for_every_wall_and_limit():
    limits = Limits(memory_bytes=100 << 20, processes=5, file_bytes=4096)
    words = container.arguments(limits, "name")
    pairs = set(pairwise(words))
    assert words[0] == "run"
    assert {("--network", "none"), ("--cap-drop", "ALL"), ("--security-opt", "no-new-privileges")} < pairs
    assert {("--pids-limit", "6"), ("--user", "65534:65534"), ("--name", "name")} < pairs
    assert {("--memory", str(132 << 20)), ("--memory-swap", str(132 << 20))} < pairs
    assert {"--read-only", "--rm"} < set(words)
    assert "--volume" not in words


def test_no_container_engine_is_said_with_what_each_answered(monkeypatch, tmp_path):
    engine = tmp_path / "docker"
    engine.write_text("#!/bin/sh\necho 'no daemon' >&2\nexit 1\n")
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    container.find_engine.cache_clear()
    with pytest.raises(SandboxError, match=r"(?s)podman.*not installed.*docker.*no daemon"):
        run_python("pass", level="container")
    container.find_engine.cache_clear()
