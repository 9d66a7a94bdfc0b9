"""Result files of EvalPlus: HumanEval and MBPP, each with its own tests and with the further ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from qkld.analysis.importing.reading import json_file, unreadable
from qkld.analysis.importing.sampled import sample_rows
from qkld.study.provenance import key_of

EXPECTED = "what evalplus.evaluate writes, *eval_results.json: 'eval' with base_status for every sample of every task"

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
    results = json_file(path, expected=EXPECTED)
    try:
        rows = [row for task, samples in results["eval"].items() for row in _rows(task, samples, results["hash"])]
    except (KeyError, TypeError, AttributeError) as error:
        raise unreadable(path, EXPECTED, error) from error
    if not rows:
        raise unreadable(path, EXPECTED, "no task")
    return pd.DataFrame(rows).assign(model=label)


def _rows(task: str, samples: list[dict[str, Any]], version: str) -> Iterator[dict[str, Any]]:
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
