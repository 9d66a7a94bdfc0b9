"""Records of every_eval_ever, an interchange format of evaluations: scores of a model, and its answers item by item.

An evaluation is two files of one folder, ``<UUID>.json`` with the scores and, where answers are shared,
``<UUID>_samples.jsonl`` with a row an item and metric (schema 0.2 and 0.3 of the Python package ``every-eval-ever``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from qkld.analysis.importing.choosing import Chosen, parse_chosen
from qkld.analysis.importing.harness_samples import METRICS
from qkld.analysis.importing.imported import QUANTS, Imported
from qkld.analysis.importing.imported_items import IMPORTED, OPTIONAL
from qkld.analysis.importing.reading import json_file, json_lines, unreadable
from qkld.errors import TableError
from qkld.study.provenance import key_of
from qkld.study.task_metrics import published_metric

UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
NAME = re.compile(rf"^{UUID}(?:_samples\.jsonl|\.json)$")
SAMPLES = "_samples.jsonl"

KLD = "kl_mean"
"""Identifier of the metric of a mean KL divergence, in nats per token."""

ACCURACY = "accuracy"
"""Identifier of the metric of a share of right answers."""

LEVEL = 0.95
"""Confidence of the intervals that a table of quants holds."""

USUAL = (ACCURACY, *METRICS)
"""Metrics that are an answer's correctness unless one is named."""

NUMBERS = tuple(name for name in OPTIONAL if IMPORTED.columns[name].dtype == "float64")
"""Columns of items that a record's metadata may hold."""

UNNAMED = "is_correct"
"""The metric of records that name none."""

FIELDS = ("model_id", "evaluation_name", "sample_id", "input", "evaluation")
"""What a row of samples needs to have."""

EXPECTED_ROW = "a record of every_eval_ever's samples: an object with model_id, evaluation_name, sample_id, …"
EXPECTED = "a record of every_eval_ever: an object with evaluation_id, model_info and evaluation_results"


def read_every_eval_ever(paths: Sequence[Path], *, labels: Sequence[str] = (), metric: str | None = None) -> Imported:
    """Scores and items of files, or of folders of them; items alone count where an evaluation has both.

    Parameters
    ----------
    paths : ``<UUID>.json``, ``<UUID>_samples.jsonl``, or folders; files beside a named one are read with it
    labels : the model of each path, in place of the record's own name
    metric : the metric that is the correctness, ``NAME`` or ``TASK=NAME`` separated by commas, where a task has several

    Raises
    ------
    TableError
        If a file is no such record, a task has several metrics and none is usual, or an answer is neither right nor
        wrong.
    """
    metrics = parse_chosen(metric, option="--metric")
    given = labels or [None] * len(paths)
    files = {file: label for path, label in zip(paths, given, strict=True) for file in _files(path)}
    if not files:
        raise unreadable(paths[0], EXPECTED, "no file <UUID>.json or <UUID>_samples.jsonl")
    rows = [row for file, label in files.items() if _is_samples(file) for row in _items(file, label, metrics)]
    items = _numbered(pd.DataFrame(rows)) if rows else None
    scores, notes = _scores([(f, label) for f, label in files.items() if not _is_samples(f)], metrics, items)
    return Imported(quants=scores, items=items, found=tuple(map(str, files)), notes=tuple(notes))


def _files(path: Path) -> list[Path]:
    """The files of a folder, or a file with the other one of its evaluation."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*.json*") if NAME.match(file.name))
    stem = path.name.removesuffix(SAMPLES).removesuffix(".json")
    beside = [path.with_name(f"{stem}{ending}") for ending in (".json", SAMPLES)]
    return [file for file in beside if file.is_file() or file == path]


def _is_samples(file: Path) -> bool:
    return file.suffix == ".jsonl"


# --- answers item by item ---------------------------------------------------------------------------------------------


def _items(file: Path, label: str | None, metrics: Chosen) -> Iterator[dict[str, Any]]:
    records = [(line, _record(file, line, value)) for line, value in json_lines(file, expected=EXPECTED_ROW)]
    held: dict[str, list[str]] = {}
    for _, record in records:
        names = held.setdefault(record["evaluation_name"], [])
        if _metric(record) not in names:
            names.append(_metric(record))
    wanted = {task: _chosen(file, task, names, metrics) for task, names in held.items()}
    for line, record in records:
        task = record["evaluation_name"]
        if _metric(record) == wanted[task]:
            yield _row(file, line, record, label, ", ".join(filter(None, held[task])))


def _record(file: Path, line: int, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise unreadable(file, EXPECTED_ROW, type(value).__name__, line=line)
    lacking = [name for name in FIELDS if name not in value]
    parts = [name for name in ("input", "evaluation") if not isinstance(value.get(name), dict)]
    if lacking or parts:
        raise unreadable(file, EXPECTED_ROW, f"no {', '.join(lacking or parts)}", line=line)
    return value


def _metric(record: Mapping[str, Any]) -> str:
    """The result that a row belongs to or is, which names its metric; empty where the record does not say it."""
    return str(record.get("evaluation_result_id") or "").removeprefix(f"{record.get('evaluation_name')}:")


def _chosen(file: Path, task: str, held: Sequence[str], metrics: Chosen) -> str:
    """The metric of a task that is the correctness of its answers."""
    everywhere = metrics.everywhere if metrics.everywhere in held else None
    named = metrics.of_task(task) or everywhere or _usual(task, held)
    if named in held:
        return named
    raise TableError(
        f"{file} has several metrics of {task}.",
        expected=f"'{named}'" if named else "one of them named",
        found=", ".join(held),
        do=f"name the metric that is 1 for a right answer with --metric NAME or --metric '{task}=NAME'",
    )


def _usual(task: str, held: Collection[str]) -> str | None:
    """The metric that a task is published by; its filter or scorer may stand beside it."""
    if len(held) == 1:
        return next(iter(held))
    published = published_metric(task, held)
    return published or next((metric for metric in USUAL if metric in held), None)


def _row(file: Path, line: int, record: Mapping[str, Any], label: str | None, held: str) -> dict[str, Any]:
    return {
        "model": label or record["model_id"],
        "benchmark": record["evaluation_name"],
        "item": str(record["sample_id"]),
        "correct": _correct(file, line, record["evaluation"]),
        "answer": _answer(record),
        "request": _request(record),
        "metric": _metric(record) or UNNAMED,
        "metrics": held or UNNAMED,
        **_numbers(file, line, record.get("metadata") or {}),
    }


def _correct(file: Path, line: int, evaluation: Mapping[str, Any]) -> int:
    """1 or 0, where the score says the same: a partial score is neither."""
    right, score = evaluation.get("is_correct"), evaluation.get("score")
    if not isinstance(right, bool) or score not in (0, 1) or bool(score) != right:
        raise unreadable(
            file, "is_correct with a score of 1 or 0", f"is_correct {right}, score {score}; --metric NAME", line=line
        )
    return int(right)


def _answer(record: Mapping[str, Any]) -> str | None:
    """The final answer as it was extracted, else the first output."""
    final = [a for a in record.get("answer_attribution") or [] if a.get("is_terminal")]
    outputs = (record.get("output") or {}).get("raw") or [None]
    return str(final[-1]["extracted_value"]) if final else outputs[0]


def _request(record: Mapping[str, Any]) -> str:
    """What was asked, as a hash; where the record leaves the text out its own hash, else that of the item's name."""
    asked = record["input"]
    if not asked.get("raw"):
        return record.get("sample_hash") or key_of([record["evaluation_name"], record["sample_id"]])
    return key_of([asked["raw"], asked.get("reference"), asked.get("choices")])


def _numbers(file: Path, line: int, metadata: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of the metadata under the names of item tables, such as the probability of the right choice."""
    try:
        return {name: float(metadata[name]) for name in NUMBERS if metadata.get(name) is not None}
    except (TypeError, ValueError) as error:
        raise unreadable(file, "numbers in the metadata, as text", error, line=line) from error


def _numbered(items: pd.DataFrame) -> pd.DataFrame:
    """Several answers to one item as samples of it, ``item#0``, ``item#1`` …"""
    keys = ["model", "benchmark", "item"]
    several = items.groupby(keys[1:])["model"].transform("size") > items.groupby(keys[1:])["model"].transform("nunique")
    if not several.any():
        return items
    place = items.groupby(keys).cumcount().astype(str)
    return items.assign(cluster=items["item"], item=items["item"].where(~several, items["item"] + "#" + place))


# --- scores -----------------------------------------------------------------------------------------------------------


def _scores(
    files: Iterable[tuple[Path, str | None]], metrics: Chosen, items: pd.DataFrame | None
) -> tuple[pd.DataFrame | None, list[str]]:
    """A row a model with its mean KLD, and the score of every evaluation that has no items."""
    of_items = set() if items is None else set(items["benchmark"])
    table: dict[str, dict[str, float]] = {}
    left: dict[str, str] = {}
    for file, label in files:
        record = _aggregate(file)
        own = table.setdefault(label or str(record["model_info"]["id"]), {})
        for name, columns in _results(file, record, metrics, left):
            if name in of_items:
                continue
            if name in own:
                raise unreadable(file, "each evaluation of a model once", f"{name} of this model in another file too")
            own |= columns
    notes = [f"'{name}' was left out: {why}" for name, why in left.items()]
    filled = [{"label": label, **own} for label, own in table.items() if own]
    return (QUANTS.checked(pd.DataFrame(filled)) if filled else None), notes


def _aggregate(file: Path) -> Mapping[str, Any]:
    value = json_file(file, expected=EXPECTED)
    if not isinstance(value, dict) or not isinstance(value.get("evaluation_results"), list):
        raise unreadable(file, EXPECTED, "no list evaluation_results")
    if not isinstance(value.get("model_info"), dict) or not value["model_info"].get("id"):
        raise unreadable(file, EXPECTED, "no model_info.id")
    return value


def _results(
    file: Path, record: Mapping[str, Any], metrics: Chosen, left: dict[str, str]
) -> Iterator[tuple[str, dict[str, float]]]:
    """(name, its columns) of a mean KLD and of every share; why others were left out goes to ``left``."""
    by_task: dict[str, dict[str, Mapping[str, Any]]] = {}
    for result in record["evaluation_results"]:
        name = _metric(result) or (result.get("metric_config") or {}).get("metric_id") or ""
        by_task.setdefault(str(result.get("evaluation_name")), {})[str(name)] = result
    for task, held in by_task.items():
        kept = {name: result for name, result in held.items() if _scale(result) is not None}
        if not kept:
            left[task] = "neither a share between 0 and 1 or 0 and 100 %, nor a KL divergence"
            continue
        result = kept[_chosen(file, task, list(kept), metrics)]
        name = KLD if _is_kld(result) else task
        yield name, _columns(name, result["score_details"], _scale(result))


def _columns(name: str, details: Mapping[str, Any], scale: float) -> dict[str, float]:
    """A score with its standard error, or of a KLD with its 95 % interval, where the record has them."""
    uncertainty = details.get("uncertainty") or {}
    error = (uncertainty.get("standard_error") or {}).get("value")
    interval = uncertainty.get("confidence_interval") or {}
    columns = {name: details["score"] / scale}
    if error is not None:
        columns[f"{name}_se"] = error / scale
    if name == KLD and interval.get("confidence_level") == LEVEL:
        columns |= {f"{name}_low": interval["lower"], f"{name}_high": interval["upper"]}
    return columns


def _is_kld(result: Mapping[str, Any]) -> bool:
    return (result.get("metric_config") or {}).get("metric_id") == KLD


def _scale(result: Mapping[str, Any]) -> float | None:
    """What a score is divided by: 1, or 100 of percent; None of what is neither a share nor a KLD."""
    config, score = result.get("metric_config") or {}, (result.get("score_details") or {}).get("score")
    if not isinstance(score, int | float):
        return None
    if _is_kld(result):
        return 1.0
    bounds = (config.get("min_score"), config.get("max_score"))
    return None if config.get("lower_is_better") else {(0, 1): 1.0, (0, 100): 100.0}.get(bounds)
