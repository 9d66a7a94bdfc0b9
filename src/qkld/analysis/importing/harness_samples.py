"""Samples of lm-evaluation-harness, as ``--log_samples`` writes them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qkld.analysis.importing.choice_columns import right_choice, sample_columns
from qkld.analysis.importing.choosing import Chosen, parse_chosen
from qkld.analysis.importing.reading import json_rows, unreadable
from qkld.errors import TableError
from qkld.study.provenance import key_of
from qkld.study.task_metrics import published_metric

SAMPLES = re.compile(r"^samples_(?P<task>.+)_\d{4}-\d\d-\d\dT[\d.\-]+\.jsonl?(?:\.gz)?$")
"""The harness's file names: ``<output_path>/<model>/samples_<task>_<time>.jsonl``; in 2024 ``.json`` with one list."""

METRICS = ("acc", "exact_match", "pass@1", "pass_at_1", "math_verify", "prompt_level_strict_acc")
"""Metrics of a sample that are its correctness unless one is named: what its task is published by, else the first of
these that it has, else its only metric."""

FACTS = frozenset({"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"})
"""What else a sample holds; and hashes."""

NO_FILTER = "none"
"""The harness's name of the filter of a task that has none."""


def sample_files(path: Path) -> list[tuple[Path, str]]:
    """Files of samples, by their names, each with its task: the file itself, or those of a folder."""
    candidates = [path] if path.is_file() else sorted(path.rglob("samples_*"))
    return [(file, match["task"]) for file in candidates if (match := SAMPLES.match(file.name))]


def read_harness_samples(
    path: Path, *, label: str | None = None, filter_name: str | None = None, metric: str | None = None
) -> pd.DataFrame:
    """Items of one file of samples, or of a folder of them; the folder of a file names its model.

    Column ``metric`` is what their correctness was taken from, ``metrics`` all that the samples hold.

    Parameters
    ----------
    path : a file, the folder of one model, or what was given as ``--output_path``
    label : the model, in place of its folder's name
    filter_name : of tasks that read each answer in several ways (gsm8k: strict-match, flexible-extract), the one to
        take, ``NAME`` or ``TASK=NAME``, separated by commas; a task with a single one passes
    metric : the metric that is the correctness, likewise, where it is not to be the usual one (`METRICS`);
        ``NAME`` concerns the tasks that have it

    Raises
    ------
    TableError
        If there are no samples, a model ran a task twice, a line is none with a right or wrong answer, a task has
        several filters and none of them was named, or it lacks the filter or metric that was named for it.
    """
    filters, metrics = parse_chosen(filter_name, option="--filter"), parse_chosen(metric, option="--metric")
    files = sample_files(path)
    if not files:
        raise TableError(
            f"{path} holds no samples of lm-evaluation-harness.",
            expected="files <model>/samples_<task>_<time>.jsonl, as --log_samples writes them",
            found=f"{sum(1 for _ in path.rglob('*'))} other files and folders",
            do="name the folder given as --output_path",
        )
    _check_one_run(path, [(label or _model(file), task, file) for file, task in files])
    rows = [row for file, task in files for row in _rows(file, label or _model(file), task, filters, metrics)]
    if not rows:
        raise unreadable(path, "a sample a line", "no line")
    table = pd.DataFrame(rows)
    return table.drop(columns="margin") if table["margin"].isna().all() else table


def _check_one_run(path: Path, runs: Sequence[tuple[str, str, Path]]) -> None:
    """Refuse a task that one model ran twice: which run counts is not for this code to say."""
    of_task: dict[tuple[str, str], list[str]] = {}
    for model, task, file in runs:
        of_task.setdefault((model, task), []).append(file.name)
    again = [f"{task} of {model}: {', '.join(names)}" for (model, task), names in of_task.items() if len(names) > 1]
    if again:
        raise TableError(
            f"{path} holds several runs of one task.",
            expected="one file of samples for each model and task",
            found="; ".join(again[:3]) + (f"; and {len(again) - 3} more" if len(again) > 3 else ""),
            do="keep one run of each: move the files of the others out of this folder",
        )


def _model(path: Path) -> str:
    name = path.resolve().parent.name
    if not name:
        raise unreadable(path, "a folder that names the model", "the root of the file system")
    return name


def _rows(path: Path, model: str, task: str, filters: Chosen, metrics: Chosen) -> Iterator[dict[str, Any]]:
    samples = [(n, s if isinstance(s, dict) else {}) for n, s in json_rows(path, expected="one sample per line")]
    wanted = _filter(path, task, [str(s.get("filter", NO_FILTER)) for _, s in samples], filters)
    for number, sample in samples:
        if str(sample.get("filter", NO_FILTER)) == wanted:
            yield {"model": model, "benchmark": task, **_row(path, number, sample, task, metrics)}


def _filter(path: Path, task: str, present: Sequence[str], chosen: Chosen) -> str:
    """The filter of a task whose answers count."""
    held = sorted(set(present) or {NO_FILTER})
    named = chosen.of_task(task)
    wanted = named or (chosen.everywhere if len(held) > 1 else held[0])
    if wanted in held:
        return wanted
    raise TableError(
        f"{path} has each item under several filters." if len(held) > 1 else f"{path} has one filter only.",
        expected=f"'{wanted}'" if wanted else "one of them named",
        found=", ".join(held),
        do=f"name one of these with --filter NAME or --filter {task}=NAME",
    )


def _row(path: Path, number: int, sample: dict[str, Any], task: str, metrics: Chosen) -> dict[str, Any]:
    held = _metrics(sample)
    named = metrics.everywhere if metrics.everywhere in held else None
    metric = metrics.of_task(task) or named or _usual(task, held)
    if "doc_id" not in sample or metric not in held or sample[metric] not in (0, 1):
        raise _no_answer(path, number, sample, held, metric)
    return {
        "item": str(sample["doc_id"]),
        "correct": float(sample[metric]),
        "request": key_of([sample.get(f"{part}_hash") for part in ("doc", "prompt", "target")]),
        "answer": _answer(sample, metric),
        "margin": _margin(sample) if metric == "acc" else np.nan,
        "metric": metric,
        "metrics": ", ".join(held),
        **sample_columns(sample, metric, _choices(sample)),
    }


def _metrics(sample: dict[str, Any]) -> list[str]:
    """The metrics with a number: those that the sample lists, or in files of older versions all its numbers."""
    named = sample.get("metrics") or [k for k in sample if k not in FACTS and not k.endswith("_hash")]
    return [name for name in named if isinstance(sample.get(name), int | float)]


def _usual(task: str, held: Sequence[str]) -> str | None:
    return published_metric(task, held) or next((m for m in METRICS if m in held), held[0] if len(held) == 1 else None)


def _no_answer(path: Path, number: int, sample: dict, held: Sequence[str], metric: str | None) -> TableError:
    if metric in held and "doc_id" in sample:
        found = f"{metric} = {sample[metric]}"
    else:
        found = f"metrics {', '.join(held) or 'none'}" + ("" if "doc_id" in sample else ", no doc_id")
    return TableError(
        f"{path}, line {number}, is not a sample with a right or wrong answer.",
        expected=f"JSON with doc_id, and {f'{metric!r}' if metric else f'one of {METRICS}'}, 0 or 1",
        found=found,
        do="name the metric that is 1 for a right answer with --metric NAME or --metric TASK=NAME",
    )


def _choices(sample: dict[str, Any]) -> np.ndarray | None:
    """Log-likelihood of each choice, nats; None where the sample is no multiple choice."""
    answers = sample.get("filtered_resps")
    try:
        return np.array([float(answer[0]) for answer in answers if len(answer) == 2]) if len(answers) > 1 else None
    except (TypeError, ValueError, IndexError):
        return None


def _answer(sample: dict[str, Any], metric: str) -> str | None:
    """The choice taken, the first of equal ones, as the harness's ``acc`` has it; or the text generated.

    None where another metric than ``acc`` chose: it divides by lengths that the sample does not hold.
    """
    values, answers = _choices(sample), sample.get("filtered_resps")
    if values is not None and len(values) == len(answers):
        return str(int(np.argmax(values))) if metric == "acc" else None
    text = answers[0] if isinstance(answers, list) and answers else None
    return text if isinstance(text, str) else None


def _margin(sample: dict[str, Any]) -> float:
    """Log-probability of the right choice less the best other one, nats; NaN where the sample is no multiple choice."""
    values = _choices(sample)
    right = None if values is None else right_choice(sample, len(values))
    return np.nan if right is None else float(values[right] - np.delete(values, right).max())
