"""Whether models answered the same items: what only some were asked, or were asked in other words, is named."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from qkld.analysis.importing.choosing import parse_chosen
from qkld.errors import BenchmarkError, TableError

NAMED = 3
"""Items that a message names, and how many lines it has at most."""


def check_same_items(items: pd.DataFrame) -> None:
    """Refuse benchmarks of which some models answered other items than others.

    Raises
    ------
    BenchmarkError
        Naming each such model and benchmark with the items that it lacks.
    """
    problems = []
    for benchmark, rows in items.groupby("benchmark", sort=False):
        has = {model: set(own) for model, own in rows.groupby("model")["item"]}
        everything = list(dict.fromkeys(rows["item"]))
        for model in items["model"].unique():
            lacking = [item for item in everything if item not in has.get(model, ())]
            if lacking:
                problems.append(f"{benchmark}: '{model}' lacks {_some(lacking)} of {len(everything)} items")
    if problems:
        raise _mismatch(problems, "import models that were run on the same items, or one benchmark at a time")
    check_same_requests(items)
    check_same_metrics(items)


def check_same_metrics(items: pd.DataFrame) -> None:
    """Refuse benchmarks whose answers were judged by one metric for some models and by another for others.

    Raises
    ------
    BenchmarkError
        Naming each such benchmark with its metrics.
    """
    if "metric" not in items:
        return
    judged = items.groupby(["benchmark", "model"], sort=False)["metric"].unique().map(set)
    problems = []
    for benchmark, own in judged.groupby("benchmark", sort=False):
        if any(metrics != own.iloc[0] for metrics in own):
            by_model = (f"'{model}' by {', '.join(sorted(map(str, m)))}" for (_, model), m in own.items())
            problems.append(f"{benchmark}: {'; '.join(list(by_model)[:NAMED])}")
    if problems:
        raise _mismatch(problems, "take one metric for all models, with --metric where samples hold several")


def check_metric_taken(items: pd.DataFrame, metric: str | None) -> None:
    """Refuse a metric that was named for every task and that none has.

    Raises
    ------
    TableError
        With the metrics that the files hold.
    """
    wanted = parse_chosen(metric, option="--metric").everywhere
    held = {m for text in items.get("metrics", pd.Series(dtype=str)).dropna().unique() for m in text.split(", ")}
    if wanted is None or wanted in held:
        return
    raise TableError(
        f"No task has the metric '{wanted}'.",
        expected="a metric of the samples",
        found=", ".join(sorted(held)),
        do="name one of these with --metric",
    )


def metric_notes(items: pd.DataFrame) -> list[str]:
    """By which metric each benchmark's answers were judged right, and which others the files hold."""
    if "metric" not in items:
        return []
    columns = ["benchmark", "metric", *(["metrics"] if "metrics" in items else [])]
    known = items[columns].dropna(subset="metric").drop_duplicates()
    notes = []
    for metric, rows in known.groupby("metric", sort=False):
        held = {m for text in rows.get("metrics", pd.Series(dtype=str)).dropna() for m in text.split(", ")} - {metric}
        more = f"; the files hold {', '.join(sorted(held))} too (--metric)" if held else ""
        notes.append(f"right by '{metric}': {_some(list(rows['benchmark'].unique()))}{more}")
    return notes


def check_same_requests(items: pd.DataFrame) -> None:
    """Refuse items that have one name and were not the same question for every model.

    Raises
    ------
    BenchmarkError
        Naming each such model and benchmark with the items that differ from the first model's.
    """
    if "request" not in items:
        return
    problems = []
    for benchmark, rows in items.groupby("benchmark", sort=False):
        asked = rows.pivot(index="item", columns="model", values="request")
        first = rows["model"].iloc[0]
        for model in asked.columns:
            both = asked[model].notna() & asked[first].notna()
            others = list(asked.index[both & (asked[model] != asked[first])])
            if others:
                problems.append(f"{benchmark}: '{model}' was asked otherwise than '{first}' in {_some(others)}")
    if problems:
        raise _mismatch(problems, "run these models on one version of the benchmark, with one prompt")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _mismatch(problems: Sequence[str], do: str) -> BenchmarkError:
    more = [f"and {len(problems) - NAMED} more"] if len(problems) > NAMED else []
    return BenchmarkError(
        "The models' items do not match.",
        expected="the same items with the same prompts for every model",
        found="\n            ".join([*problems[:NAMED], *more]),
        do=do,
    )
