"""Samples of lm-evaluation-harness, as ``--log_samples`` writes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qkld.errors import TableError, explain
from qkld.importing.reading import json_lines, unreadable
from qkld.provenance import key_of

SAMPLES = re.compile(r"^samples_(?P<task>.+)_\d{4}-\d\d-\d\dT[\d.\-]+\.jsonl$")
"""The harness's file names: ``<output_path>/<model>/samples_<task>_<time>.jsonl``."""

METRICS = ("acc", "exact_match", "pass@1", "pass_at_1", "math_verify", "prompt_level_strict_acc")
"""Metrics of a sample that are its correctness, the first that it has."""


def read_harness_samples(path: Path, *, label: str | None = None, filter_name: str | None = None) -> pd.DataFrame:
    """Items of one file of samples, or of a folder of them; the folder of a file names its model.

    Parameters
    ----------
    path : a file, the folder of one model, or what was given as ``--output_path``
    label : the model, in place of its folder's name
    filter_name : of a task that reads each answer in several ways (gsm8k: strict-match, flexible-extract) take this one

    Raises
    ------
    TableError
        If there are no samples, or a line is none with a right or wrong answer, or has several filters.
    """
    candidates = [path] if path.is_file() else sorted(path.rglob("*.jsonl"))
    files = [(file, match["task"]) for file in candidates if (match := SAMPLES.match(file.name))]
    if not files:
        raise TableError(
            explain(
                f"{path} holds no samples of lm-evaluation-harness.",
                expected="files <model>/samples_<task>_<time>.jsonl, as --log_samples writes them",
                found=f"{sum(1 for _ in path.rglob('*'))} other files and folders",
                do="name the folder given as --output_path",
            )
        )
    rows = [row for file, task in files for row in _rows(file, label or file.parent.name, task, filter_name)]
    if not rows:
        raise unreadable(path, "a sample a line", "no line")
    table = pd.DataFrame(rows)
    return table.drop(columns="margin") if table["margin"].isna().all() else table


def _rows(path: Path, model: str, task: str, wanted: str | None) -> Iterator[dict[str, Any]]:
    filters = set()
    for number, sample in json_lines(path, expected="a sample of lm-evaluation-harness a line"):
        own = str(sample.get("filter", "none")) if isinstance(sample, dict) else "none"
        filters.add(own)
        if wanted is None and len(filters) > 1:
            raise _several_filters(path, filters)
        if own in (wanted or own, "none"):
            yield {"model": model, "benchmark": task, **_row(path, number, sample)}
    if wanted is not None and filters.isdisjoint({wanted, "none"}):
        raise _several_filters(path, filters)


def _row(path: Path, number: int, sample: Any) -> dict[str, Any]:
    try:
        metric = next(m for m in METRICS if m in sample)
        return {
            "item": str(sample["doc_id"]),
            "correct": float(sample[metric]),
            "request": key_of([sample.get(f"{part}_hash") for part in ("doc", "prompt", "target")]),
            "answer": _answer(sample),
            "margin": _margin(sample),
        }
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise TableError(
            explain(
                f"{path}, line {number}, is no sample with a right or wrong answer.",
                expected=f"JSON with doc_id and one of {METRICS}",
                found=f"{type(error).__name__} {error}".strip(),
                do="log samples of a task that has one of these metrics",
            )
        ) from error


def _several_filters(path: Path, filters: set[str]) -> TableError:
    return TableError(
        explain(
            f"{path} has each item under several filters.",
            expected="one filter",
            found=sorted(filters),
            do="name one with --filter, or keep the lines of one filter",
        )
    )


def _choices(sample: dict[str, Any]) -> np.ndarray | None:
    """Log-likelihood of each choice, nats; None where the sample is no multiple choice."""
    answers = sample.get("filtered_resps")
    try:
        return np.array([float(answer[0]) for answer in answers if len(answer) == 2]) if len(answers) > 1 else None
    except (TypeError, ValueError, IndexError):
        return None


def _answer(sample: dict[str, Any]) -> str | None:
    """The choice taken, the first of equal ones, as the harness's ``acc`` has it; or the text generated."""
    values, answers = _choices(sample), sample.get("filtered_resps")
    if values is not None and len(values) == len(answers):
        return str(int(np.argmax(values)))
    text = answers[0] if isinstance(answers, list) and answers else None
    return text if isinstance(text, str) else None


def _margin(sample: dict[str, Any]) -> float:
    """Log-probability of the right choice less the best other one, nats; NaN where the sample is no multiple choice."""
    values, target = _choices(sample), str(sample.get("target", ""))
    if values is None or not target.isdigit() or not 0 <= int(target) < len(values) > 1:
        return np.nan
    return float(values[int(target)] - np.delete(values, int(target)).max())
