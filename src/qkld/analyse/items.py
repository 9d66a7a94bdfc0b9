"""Answers item by item: a long table, or the samples that lm-evaluation-harness logs, read and checked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qkld.errors import StatisticsError, TableError, explain
from qkld.statistics.checks import Missing, checked_kld
from qkld.statistics.covariance import binary

COLUMNS = ("model", "benchmark", "item", "correct")
DIVERGENCES = ("kl_choice_mean", "kl_choice_right", "kl_prompt", "kl", "kld")
"""Columns of an item's KLD in nats, the first that is there is analysed."""

OPTIONAL = ("margin", "cluster", *DIVERGENCES)

SAMPLES = re.compile(r"^samples_(?P<task>.+)_\d{4}-\d\d-\d\dT[\d.\-]+\.jsonl$")
"""The harness's file names: ``<output_path>/<model>/samples_<task>_<time>.jsonl``."""

METRICS = ("acc", "exact_match", "pass@1", "prompt_level_strict_acc")
"""Metrics of a sample that are its correctness, the first that it has."""


@dataclass(frozen=True)
class OwnItems:
    """Answers of models of the table, one row a model and item, and what a reader should know of them."""

    items: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def models(self) -> list[str]:
        return sorted(self.items["model"].unique())

    @property
    def divergence(self) -> str | None:
        """The column of the items' KLD, where there is one."""
        return next((c for c in DIVERGENCES if c in self.items), None)

    @property
    def benchmarks(self) -> list[str]:
        return sorted(self.items["benchmark"].unique())


def read_own_items(
    path: Path, *, quants: Sequence[str], reference: str | None, scores: Sequence[str], missing: Missing = "refuse"
) -> OwnItems:
    """Read answers of the table's models to its benchmarks.

    Parameters
    ----------
    path : a Parquet or CSV file with a row a model, benchmark and item (`COLUMNS`, and `OPTIONAL`), or a folder that
        lm-evaluation-harness wrote with ``--log_samples``: a folder a model, named by its label
    quants, reference : labels of the table; other models are left out and named
    scores : score columns of the table; benchmarks of another name are left out and named
    missing : "drop" leaves out models that lack answers, "refuse" names them and stops

    Raises
    ------
    TableError
        If the file or a column is missing, an item is there twice, or no model or benchmark is the table's.
    StatisticsError
        If a correctness is neither 0 nor 1, a KLD is negative, or models lack answers and ``missing`` is "refuse".
    """
    items = _read_samples(path) if path.is_dir() else _read_long(path)
    items = items.assign(**{c: items[c].astype(str) for c in ("model", "benchmark", "item")})
    items = _checked(items, path)
    labels = [*([reference] if reference is not None else []), *quants]
    kept = items[items["model"].isin(labels) & items["benchmark"].isin(scores)]
    if kept.empty:
        raise _nothing_shared(items, path, labels, scores)
    notes = _left_out(items, labels, scores)
    short = _short_of_answers(kept, labels)
    if short and missing == "refuse":
        raise StatisticsError(
            explain(
                "Answers of some models are missing.",
                expected="every model of the table on the same items",
                found=", ".join(f"{model}: {why}" for model, why in list(short.items())[:8]),
                do="give them, or leave out models without them with --missing drop",
            )
        )
    if short:
        notes.append(f"left out of what needs items, for missing answers: {', '.join(short)}")
    kept = kept[~kept["model"].isin(short)].astype({"correct": "int8"}).reset_index(drop=True)
    return OwnItems(kept, tuple(notes))


def _read_long(path: Path) -> pd.DataFrame:
    try:
        items = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise TableError(
            explain(
                f"{path} can not be read.",
                expected="a Parquet or CSV file, or a folder of lm-evaluation-harness samples",
                found=error,
                do="mend the path",
            )
        ) from error
    lacking = [c for c in COLUMNS if c not in items]
    if lacking or items.empty:
        raise TableError(
            explain(
                f"{path} is no table of items.",
                expected=f"columns {COLUMNS}, one row a model, benchmark and item",
                found=f"missing {lacking}, {len(items)} rows",
                do="bring it into this long form",
            )
        )
    return items[[*COLUMNS, *(c for c in OPTIONAL if c in items)]]


def _checked(items: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The items, each there once, with answers of 0 and 1 and no negative KLD."""
    doubled = items.duplicated(["model", "benchmark", "item"])
    if doubled.any():
        raise TableError(
            explain(
                f"{path} has an item twice.",
                expected="one row for each model, benchmark and item",
                found=items.loc[doubled, ["model", "benchmark", "item"]].head(3).to_dict("records"),
                do="keep one run of each model and benchmark",
            )
        )
    binary(items[["correct"]].to_numpy())
    return items.assign(**{c: checked_kld(items[c], name=c, labels=items["model"]) for c in DIVERGENCES if c in items})


def _nothing_shared(items: pd.DataFrame, path: Path, labels: Sequence[str], scores: Sequence[str]) -> TableError:
    return TableError(
        explain(
            f"{path} has no answers of the table's models to its benchmarks.",
            expected=f"models among {list(labels)[:8]}, benchmarks among {list(scores)}",
            found=f"models {sorted(items['model'].unique())[:8]}, benchmarks {sorted(items['benchmark'].unique())[:8]}",
            do="name models and benchmarks alike in both",
        )
    )


def _left_out(items: pd.DataFrame, labels: Sequence[str], scores: Sequence[str]) -> list[str]:
    """Notes on models and benchmarks of one side only."""
    models, benchmarks = set(items["model"]), set(items["benchmark"])
    named = {
        "items of models that the table does not have": models - set(labels),
        "items of benchmarks that are no named score": benchmarks - set(scores),
        "scores without items, left out of what needs them": set(scores) - benchmarks,
    }
    return [f"{what}: {', '.join(sorted(which))}" for what, which in named.items() if which]


def _short_of_answers(items: pd.DataFrame, labels: Sequence[str]) -> dict[str, str]:
    """Model → how many answers it has of how many, for those that lack some."""
    answered = items.groupby("model").size().reindex(labels, fill_value=0)
    known = items.drop_duplicates(["benchmark", "item"]).shape[0]
    return {str(model): f"{n} of {known} answers" for model, n in answered.items() if n < known}


# --- samples of lm-evaluation-harness ---------------------------------------------------------------------------------


def _read_samples(folder: Path) -> pd.DataFrame:
    files = [(path, match) for path in sorted(folder.rglob("*.jsonl")) if (match := SAMPLES.match(path.name))]
    if not files:
        raise TableError(
            explain(
                f"{folder} holds no samples of lm-evaluation-harness.",
                expected="files <model>/samples_<task>_<time>.jsonl, as --log_samples writes them",
                found=f"{sum(1 for _ in folder.rglob('*'))} other files and folders",
                do="name the folder given as --output_path",
            )
        )
    rows = [row for path, match in files for row in _sample_rows(path, path.parent.name, match["task"])]
    table = pd.DataFrame(rows)
    return table.drop(columns="margin") if table["margin"].isna().all() else table


def _sample_rows(path: Path, model: str, task: str) -> Iterator[dict[str, Any]]:
    filters = set()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            sample = json.loads(line)
            metric = next(m for m in METRICS if m in sample)
            row = {"model": model, "benchmark": task, "item": str(sample["doc_id"]), "correct": float(sample[metric])}
        except (ValueError, KeyError, TypeError, StopIteration) as error:
            raise TableError(
                explain(
                    f"{path}, line {number}, is no sample with a right or wrong answer.",
                    expected=f"JSON with doc_id and one of {METRICS}",
                    found=f"{type(error).__name__} {error}".strip(),
                    do="log samples of a task that has one of these metrics",
                )
            ) from error
        filters.add(str(sample.get("filter", "none")))
        if len(filters) > 1:
            raise TableError(
                explain(
                    f"{path} has each item under several filters.",
                    expected="one filter",
                    found=sorted(filters),
                    do="keep the lines of one filter",
                )
            )
        yield {**row, "margin": _margin(sample)}


def _margin(sample: dict[str, Any]) -> float:
    """Log-probability of the right choice less the best other one, nats; NaN where the sample is no multiple choice."""
    answers, target = sample.get("filtered_resps"), str(sample.get("target", ""))
    if not isinstance(answers, list) or not target.isdigit() or not 0 <= int(target) < len(answers) > 1:
        return np.nan
    try:
        values = np.array([float(answer[0]) for answer in answers])
    except (TypeError, ValueError, IndexError):
        return np.nan
    return float(values[int(target)] - np.delete(values, int(target)).max())
