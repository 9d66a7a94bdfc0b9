"""Scores in lm-evaluation-harness's ``results_*.json``: a table of models, where there are no samples."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from qkld.analysis.importing.choosing import Chosen, parse_chosen
from qkld.analysis.importing.harness_samples import METRICS, NO_FILTER
from qkld.analysis.importing.imported import QUANTS, Imported
from qkld.analysis.importing.reading import json_file, unreadable
from qkld.errors import TableError
from qkld.study.task_metrics import published_metric

NAME = re.compile(r"^results(?:_.*)?\.json$")
EXPECTED = "lm-evaluation-harness's results_<time>.json, with results, versions and config"

ALIKE = {"versions": "version", "n-shot": "number of examples", "n-samples": "number of items"}
"""What must be the same of a task for every model: section of the file → its meaning."""

SAID = ("lm_eval_version", "git_hash", "transformers_version", "chat_template_sha", "fewshot_as_multiturn")
"""What may differ between files and is then said."""


def results_files(path: Path) -> list[Path]:
    """The file, or the files of results below a folder."""
    return [p for p in sorted(path.rglob("*.json")) if NAME.match(p.name)] if path.is_dir() else [path]


def read_harness_results(
    paths: Sequence[Path], *, labels: Sequence[str] = (), filter_name: str | None = None, metric: str | None = None
) -> Imported:
    """A table with a row a model: each task's score as a fraction, and ``<task>_se``.

    Raises
    ------
    TableError
        If a file is none of the harness's, a model has a task twice, or models have different versions, numbers of
        examples or of items of a task.
    """
    files = [file for path in paths for file in results_files(path)]
    of_file = labels if labels and len(labels) == len(files) else [None] * len(files)
    filters, metrics = parse_chosen(filter_name, option="--filter"), parse_chosen(metric, option="--metric")
    scores: dict[str, dict[str, float]] = {}
    runs: list[tuple[Path, Mapping[str, Any]]] = []
    taken: dict[str, str] = {}
    for file, label in zip(files, of_file, strict=True):
        run = _run(file)
        runs.append((file, run))
        own = scores.setdefault(label or _model(file, run), {})
        for task, name, value, error in _scores(file, run, filters, metrics):
            if task in own:
                raise unreadable(file, "each task of a model once", f"{task} of this model in another file too")
            own |= {task: value} | ({f"{task}_se": error} if error is not None else {})
            taken.setdefault(task, name)
    if not any(scores.values()):
        raise unreadable(paths[0], EXPECTED, "no file of results, or none with a share of right answers")
    _check_alike(runs)
    table = pd.DataFrame([{"label": label, **own} for label, own in scores.items()])
    said = tuple(f"{file}: results of {', '.join(run['results'])[:120]}" for file, run in runs)
    notes = (*(f"'{task}' is {name}" for task, name in taken.items()), *_versions(runs))
    return Imported(quants=QUANTS.checked(table), found=said, notes=notes)


def notes_beside_samples(paths: Sequence[Path]) -> tuple[str, ...]:
    """What results beside samples say of their runs that the samples do not: versions of harness and tasks, limits.

    The samples themselves are held against each other question by question, so that nothing is refused here.
    """
    runs = [(file, _run(file)) for path in paths if path.is_dir() for file in results_files(path)]
    try:
        _check_alike(runs)
    except TableError as error:
        return (*_versions(runs), f"{error.problem} Expected {error.expected}, found {error.found}")
    return tuple(_versions(runs))


def _run(file: Path) -> Mapping[str, Any]:
    value = json_file(file, expected=EXPECTED)
    if not isinstance(value, dict) or not isinstance(value.get("results"), dict):
        raise unreadable(file, EXPECTED, "no object `results`")
    return value


def _model(file: Path, run: Mapping[str, Any]) -> str:
    """The model as the file names it, else as its folder is named."""
    named = run.get("model_name_sanitized") or run.get("model_name")
    arguments = (run.get("config") or {}).get("model_args")
    if named is None and isinstance(arguments, dict):
        named = arguments.get("pretrained")
    if named is None and isinstance(arguments, str):
        named = next((v for k, _, v in (a.partition("=") for a in arguments.split(",")) if k == "pretrained"), None)
    return str(named) if named else file.resolve().parent.name


def _scores(
    file: Path, run: Mapping[str, Any], filters: Chosen, metrics: Chosen
) -> Iterator[tuple[str, str, float, float | None]]:
    """(task, metric, score, standard error) of every task with a metric that is a share of right answers."""
    for task, held in run["results"].items():
        values = dict(_values(held))
        names = sorted({name for name, _ in values})
        metric = metrics.of_task(task) or (metrics.everywhere if metrics.everywhere in names else None)
        metric = metric or published_metric(task, names) or next((m for m in METRICS if m in names), None)
        of_metric = [f for name, f in values if name == metric]
        if not of_metric:
            continue
        wanted = filters.of_task(task) or (filters.everywhere if len(of_metric) > 1 else of_metric[0])
        if wanted not in of_metric:
            raise unreadable(file, f"{task}: one filter named with --filter", ", ".join(of_metric))
        value, error = values[metric, wanted]
        yield task, metric if wanted == NO_FILTER else f"{metric}, {wanted}", value, error


def _values(held: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], tuple[float, float | None]]]:
    """((metric, filter), (value, standard error)); files before 2024 have metrics without a filter."""
    for key, value in held.items():
        name, _, chosen = key.partition(",")
        if name.endswith("_stderr") or not isinstance(value, int | float) or isinstance(value, bool):
            continue
        error = held.get(f"{name}_stderr,{chosen}" if chosen else f"{name}_stderr")
        yield (name, chosen or NO_FILTER), (float(value), float(error) if isinstance(error, int | float) else None)


def _check_alike(runs: Sequence[tuple[Path, Mapping[str, Any]]]) -> None:
    known: dict[tuple[str, str], tuple[Path, Any]] = {}
    for file, run in runs:
        for section, meaning in ALIKE.items():
            for task, value in (run.get(section) or {}).items():
                value = value.get("effective") if isinstance(value, dict) else value
                first, own = known.setdefault((section, task), (file, value))
                if own != value and task in run["results"]:
                    raise TableError(
                        f"Models were tested differently on {task}: {meaning}.",
                        expected=f"{own} as in {first}",
                        found=f"{value} in {file}",
                        do="run these models with the same version of the harness, prompt and limit",
                    )


def _versions(runs: Sequence[tuple[Path, Mapping[str, Any]]]) -> list[str]:
    """A note on each thing that is not the same in all files."""
    notes = []
    for name in SAID:
        values = sorted({str(run[name]) for _, run in runs if run.get(name) is not None})
        if len(values) > 1:
            notes.append(f"the files are of several {name.replace('_', ' ')}s: {', '.join(values[:4])}")
    return notes
