"""Evaluation output of LiveCodeBench: the file ``*_eval_all.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from qkld.analysis.importing.reading import json_file, unreadable
from qkld.analysis.importing.sampled import sample_rows
from qkld.study.provenance import key_of

EXPECTED = "LiveCodeBench's *_eval_all.json: a list of questions with question_id and graded_list"

BENCHMARK = "livecodebench"

ANSWERS = ("code_list", "pred_list", "output_list")
"""Where the answers are: code, predictions of the other scenarios, else the raw output."""


def read_livecodebench(path: Path, *, label: str) -> pd.DataFrame:
    """Items of one file; the file names no model. Of several samples a question each is a row.

    Raises
    ------
    TableError
        If the file is another one of LiveCodeBench's: ``*_eval.json`` holds totals, and ``*_output.json`` no grades.
    """
    questions = json_file(path, expected=EXPECTED)
    try:
        rows = [row for question in questions for row in _rows(question)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise unreadable(path, EXPECTED, error) from error
    if not rows:
        raise unreadable(path, EXPECTED, "no question")
    return pd.DataFrame(rows).assign(model=label, benchmark=BENCHMARK)


def _rows(question: dict[str, Any]) -> list[dict[str, Any]]:
    graded = question["graded_list"]
    answers = next((question[name] for name in ANSWERS if question.get(name)), [None] * len(graded))
    name = "-".join(str(question[part]) for part in ("question_id", "test_id") if part in question)
    asked = key_of([question.get(part) for part in ("question_title", "question_content", "starter_code")])
    samples = [{"correct": int(bool(g)), "answer": a} for g, a in zip(graded, answers, strict=True)]
    return [{"request": asked, **row} for row in sample_rows(name, samples)]
