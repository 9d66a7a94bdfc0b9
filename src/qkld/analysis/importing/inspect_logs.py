"""Logs of Inspect (``.eval`` and ``.json``), through inspect-ai's own reader, which is the extra ``inspect``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from qkld.analysis.importing.choosing import Chosen, parse_chosen
from qkld.analysis.importing.reading import unreadable
from qkld.errors import TableError
from qkld.study.provenance import key_of

EXPECTED = "a log of Inspect, <time>_<task>_<id>.eval or .json, or a folder of them"

RIGHT = {"C": 1, "I": 0, 1: 1, 0: 0}
"""Values of a score that are a right or wrong answer; Inspect's P (partly right) and N (none) are neither."""


def read_inspect(path: Path, *, label: str | None = None, metric: str | None = None) -> pd.DataFrame:
    """Items of one log, or of a folder of logs; the log names its model and its task.

    Parameters
    ----------
    path : a log, or a folder of logs
    label : the model, in place of the log's own name for it
    metric : the scorer whose score is the correctness, ``NAME`` or ``TASK=NAME``, where a task has several

    Raises
    ------
    TableError
        If inspect-ai is not installed, a log is damaged or of a run that did not end, or a score is neither right nor
        wrong.
    """
    scorers = parse_chosen(metric, option="--metric")
    files = sorted(p for p in path.rglob("*") if p.suffix in (".eval", ".json")) if path.is_dir() else [path]
    rows = [row for file in files for row in _rows(file, label, scorers)]
    if not rows:
        raise unreadable(path, EXPECTED, "no sample")
    return pd.DataFrame(rows)


def _rows(path: Path, label: str | None, scorers: Chosen) -> Iterator[dict[str, Any]]:
    log = _read(path)
    if log.status != "success":
        raise unreadable(path, "a run that ended", f"status {log.status}")
    task = log.eval.task.rpartition("/")[2]
    for sample in log.samples or []:
        name, score = _score(path, task, sample, scorers)
        several = (log.eval.config.epochs or 1) > 1
        yield {
            "model": label or log.eval.model,
            "benchmark": task,
            "item": f"{sample.id}#{sample.epoch - 1}" if several else str(sample.id),
            "cluster": str(sample.id),
            "correct": RIGHT[score.value],
            "answer": score.answer,
            "request": key_of([_plain(sample.input), _plain(sample.target), sample.choices]),
            "metric": name,
            "metrics": ", ".join(sample.scores),
        }


def _read(path: Path) -> Any:
    """The whole log, by inspect-ai."""
    try:
        from inspect_ai.log import read_eval_log
    except ModuleNotFoundError as error:
        raise TableError(
            "Logs of Inspect need the package inspect-ai.",
            expected="the extra 'inspect'",
            found=f"no module {error.name}",
            do='pip install "qkld[inspect]"',
        ) from error
    if not path.is_file():
        raise unreadable(path, EXPECTED, "no such file")
    try:
        return read_eval_log(str(path))
    except Exception as error:  # whatever its reader raises of a file that it did not write
        raise unreadable(path, EXPECTED, error) from error


def _score(path: Path, task: str, sample: Any, scorers: Chosen) -> tuple[str, Any]:
    """The scorer and the score that is the correctness of a sample."""
    held = dict(sample.scores or {})
    named = scorers.of_task(task) or scorers.everywhere
    name = named if named is not None else next(iter(held), "") if len(held) == 1 else ""
    if name not in held or not _is_answer(held[name].value):
        found = f"{name} = {held[name].value}" if name in held else f"scorers {', '.join(held) or 'none'}"
        raise TableError(
            f"{path}, sample {sample.id}, has no right or wrong answer.",
            expected=f"a score of C or I, 1 or 0, of {name or 'one scorer'}",
            found=found,
            do=f"name the scorer that says it with --metric NAME or --metric {task}=NAME",
        )
    return name, held[name]


def _is_answer(value: Any) -> bool:
    return isinstance(value, str | int | float) and value in RIGHT


def _plain(value: Any) -> Any:
    """What was asked, as JSON."""
    return json.loads(json.dumps(value, default=lambda v: v.model_dump(mode="json", exclude={"id"})))
