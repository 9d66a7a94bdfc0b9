"""Result files of what runs written programs: EvalPlus and LiveCodeBench."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from qkld.analysis.importing.reading import json_file, sample_rows, unreadable
from qkld.study.provenance import key_of

# --- EvalPlus: HumanEval and MBPP, each with its own tests and with the further ones ----------------------------------

EVALPLUS = "what evalplus.evaluate writes, *eval_results.json: 'eval' with base_status for every sample of every task"

PASSED = "pass"
"""EvalPlus's word; others are fail and timeout."""


def read_evalplus(path: Path, *, label: str) -> pd.DataFrame:
    """Items of one result file; the file names no model.

    ``humaneval`` or ``mbpp`` is right where the benchmark's own tests pass, ``humaneval+`` or ``mbpp+`` where the
    further ones pass too, as EvalPlus counts both. Without the further tests (``--base-only``) there is no second.

    Raises
    ------
    TableError
        If the file is none of EvalPlus's.
    """
    results = json_file(path, expected=EVALPLUS)
    try:
        version = results["hash"]
        rows = [row for task, samples in results["eval"].items() for row in _evalplus_rows(task, samples, version)]
    except (KeyError, TypeError, AttributeError) as error:
        raise unreadable(path, EVALPLUS, error) from error
    if not rows:
        raise unreadable(path, EVALPLUS, "no task")
    return pd.DataFrame(rows).assign(model=label)


def _evalplus_rows(task: str, samples: list[dict[str, Any]], version: str) -> Iterator[dict[str, Any]]:
    """``version`` is the digest of the file that EvalPlus took the tasks from."""
    name = task.split("/")[0].lower()
    base = [sample["base_status"] == PASSED for sample in samples]
    scored = {name: base}
    if all(sample["plus_status"] is not None for sample in samples):
        scored[f"{name}+"] = [b and s["plus_status"] == PASSED for b, s in zip(base, samples, strict=True)]
    for benchmark, correct in scored.items():
        answers = [{"correct": int(c), "answer": s["solution"]} for c, s in zip(correct, samples, strict=True)]
        for row in sample_rows(task, answers):
            yield {"benchmark": benchmark, "request": key_of([version, task]), **row}


# --- LiveCodeBench ----------------------------------------------------------------------------------------------------

LIVECODEBENCH = "LiveCodeBench's *_eval_all.json: a list of questions with question_id and graded_list"

ANSWERS = ("code_list", "pred_list", "output_list")
"""Where the answers are: code, predictions of the other scenarios, else the raw output."""


def read_livecodebench(path: Path, *, label: str) -> pd.DataFrame:
    """Items of one file; the file names no model. Of several samples a question each is a row.

    Raises
    ------
    TableError
        If the file is another one of LiveCodeBench's: ``*_eval.json`` holds totals, and ``*_output.json`` no grades.
    """
    questions = json_file(path, expected=LIVECODEBENCH)
    try:
        rows = [row for question in questions for row in _livecodebench_rows(question)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise unreadable(path, LIVECODEBENCH, error) from error
    if not rows:
        raise unreadable(path, LIVECODEBENCH, "no question")
    return pd.DataFrame(rows).assign(model=label, benchmark="livecodebench")


def _livecodebench_rows(question: dict[str, Any]) -> list[dict[str, Any]]:
    graded = question["graded_list"]
    answers = next((question[name] for name in ANSWERS if question.get(name)), [None] * len(graded))
    name = "-".join(str(question[part]) for part in ("question_id", "test_id") if part in question)
    asked = key_of([question.get(part) for part in ("question_title", "question_content", "starter_code")])
    samples = [{"correct": int(bool(g)), "answer": a} for g, a in zip(graded, answers, strict=True)]
    return [{"request": asked, **row} for row in sample_rows(name, samples)]
