"""Answers item by item: a long table, or the samples that lm-evaluation-harness logs, read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from qkld.analysis.importing.formats import checked_items
from qkld.analysis.importing.groups import Groups, grouped, harness_groups, largest, suggested
from qkld.analysis.importing.harness_samples import read_harness_samples, sample_files
from qkld.analysis.importing.imported_items import item_divergence
from qkld.analysis.importing.long_table import read_long_table
from qkld.analysis.importing.matching import check_metric_taken, check_same_metrics, check_same_requests, metric_notes
from qkld.errors import StatisticsError, TableError
from qkld.statistics.core.checks import Missing

UNREAD = ("request", "answer", "tokens", "truncated", "metrics", "probability_by_token")
"""Columns of imported items that no analysis reads."""

TABLES = (".parquet", ".csv", ".tsv")
"""Endings of item tables in a folder."""

NAMED = 8
"""Names that a note gives before it counts the rest."""


@dataclass(frozen=True)
class OwnItems:
    """Answers of models of the table, one row a model and item, and what a reader should know of them."""

    items: pd.DataFrame
    notes: tuple[str, ...]
    divergence: str | None
    """The column of the items' KLD, where there is one."""

    @property
    def models(self) -> list[str]:
        return sorted(self.items["model"].unique())

    @property
    def benchmarks(self) -> list[str]:
        return sorted(self.items["benchmark"].unique())


@dataclass(frozen=True)
class Reading:
    """How files of items are read: filter and metric of lm-evaluation-harness's samples, groups of benchmarks, and the
    column of an item's KLD, None for that of `item_divergence`."""

    filter_name: str | None = None
    metric: str | None = None
    groups: Groups = field(default_factory=dict)
    item_kld: str | None = None


def items_of(
    loaded: Loaded, *, quants: Sequence[str], reference: str | None, scores: Sequence[str], missing: Missing
) -> OwnItems:
    """What of loaded items is of the table's models and scores.

    Parameters
    ----------
    quants, reference : labels of the table; other models are left out and named
    scores : score columns of the table; benchmarks of another name are left out and named
    missing : "drop" leaves out models that lack answers, "refuse" names them and stops

    Raises
    ------
    TableError
        If no model or benchmark is the table's.
    StatisticsError
        If models lack answers and ``missing`` is "refuse".
    """
    items, path = loaded.items, loaded.path
    labels = [*([reference] if reference is not None else []), *quants]
    kept = items[items["model"].isin(labels) & items["benchmark"].isin(scores)]
    if kept.empty:
        raise _nothing_shared(items, path, labels, scores)
    notes = [*loaded.notes, *_left_out(items, labels, scores)]
    short = _short_of_answers(kept, labels)
    if short and missing == "refuse":
        raise StatisticsError(
            "Answers of some models are missing.",
            expected="every model of the table on the same items",
            found=", ".join(f"{model}: {why}" for model, why in list(short.items())[:8]),
            do="provide them, or leave out these models with --missing drop",
        )
    if short:
        notes.append(f"left out of what needs items, for missing answers: {', '.join(short)}")
    kept = kept[~kept["model"].isin(short)].astype({"correct": "int8"}).reset_index(drop=True)
    return OwnItems(kept, tuple(notes), item_divergence(kept, loaded.item_kld))


@dataclass(frozen=True)
class Loaded:
    """All items of a file or folder, notes on the metric by which the scores were judged right, and the column of an
    item's KLD that was asked for."""

    path: Path
    items: pd.DataFrame
    notes: tuple[str, ...]
    item_kld: str | None = None


def load_items(path: Path, reading: Reading, scores: Sequence[str] | None) -> Loaded:
    """All items of a file or folder, checked.

    Parameters
    ----------
    path : a Parquet or CSV file with a row a model, benchmark and item (columns of
        `qkld.analysis.importing.imported_items.IMPORTED`), a folder of such tables, as a study keeps them, or a folder
        that lm-evaluation-harness wrote with ``--log_samples``: a folder a model, named by its label
    reading : filter, metric, groups and the items' KLD
    scores : names of scores; one that is a group of lm-evaluation-harness's own is made of its tasks, and with no
        scores named all its groups are put together

    Raises
    ------
    TableError
        If the file or a column is missing, or an item is there twice.
    BenchmarkError
        If models were asked different things under one item's name.
    StatisticsError
        If a correctness is neither 0 nor 1, or a KLD is negative.
    """
    items = checked_items(_read(path, reading, scores), source=str(path))
    check_same_requests(items)
    check_same_metrics(items)
    taken = metric_notes(items if scores is None else items[items["benchmark"].isin(scores)])
    kept = items.drop(columns=[c for c in UNREAD if c in items])
    return Loaded(path, kept, tuple(taken), reading.item_kld)


def _read(path: Path, reading: Reading, scores: Sequence[str] | None) -> pd.DataFrame:
    """The items of a table, or of a folder of tables or samples, parts of one benchmark put together."""
    tables = _tables_of(path)
    if tables:
        return grouped(pd.concat([read_long_table(p) for p in tables], ignore_index=True), reading.groups)
    items = read_harness_samples(path, filter_name=reading.filter_name, metric=reading.metric)
    check_metric_taken(items, reading.metric)
    of_harness = harness_groups(path)
    if scores is None:
        wanted = largest(of_harness) if not reading.groups else set()
    else:
        wanted = set(scores) - set(items["benchmark"]) - set(reading.groups)
    return grouped(items, {**{g: of_harness[g] for g in wanted if g in of_harness}, **reading.groups})


def _tables_of(path: Path) -> list[Path]:
    """The file itself, or those of a folder without samples that are tables: a study keeps one a model."""
    if not path.is_dir():
        return [path]
    return [] if sample_files(path) else sorted(p for p in path.iterdir() if p.suffix.lower() in TABLES)


def _nothing_shared(items: pd.DataFrame, path: Path, labels: Sequence[str], scores: Sequence[str]) -> TableError:
    return TableError(
        f"{path} has no answers of the table's models on its benchmarks.",
        expected=f"models among {list(labels)[:8]}, benchmarks among {list(scores)}",
        found=f"models {sorted(items['model'].unique())[:8]}, benchmarks {sorted(items['benchmark'].unique())[:8]}",
        do=" or ".join(["use the same names of models and benchmarks in both", *_suggestions(items, scores)]),
    )


def _suggestions(items: pd.DataFrame, scores: Sequence[str]) -> list[str]:
    """``--group`` for every score that has items in parts only."""
    benchmarks = sorted(items["benchmark"].unique())
    return [text for s in scores if s not in benchmarks and (text := suggested(benchmarks, s))]


def _left_out(items: pd.DataFrame, labels: Sequence[str], scores: Sequence[str]) -> list[str]:
    """Notes on models and benchmarks of one side only."""
    models, benchmarks = set(items["model"]), set(items["benchmark"])
    named = {
        "items of models that the table does not have": models - set(labels),
        "items of benchmarks that are no named score": benchmarks - set(scores),
        "scores without items, left out of what needs them": set(scores) - benchmarks,
    }
    notes = [f"{what}: {_some(sorted(which))}" for what, which in named.items() if which]
    return [*notes, *(f"to use these parts as one score: {text}" for text in _suggestions(items, scores))]


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _short_of_answers(items: pd.DataFrame, labels: Sequence[str]) -> dict[str, str]:
    """Model → how many answers it has of how many, and the first that it lacks, for those that lack some."""
    known = list(dict.fromkeys(zip(items["benchmark"], items["item"], strict=True)))
    has = {model: set(zip(own["benchmark"], own["item"], strict=True)) for model, own in items.groupby("model")}
    short = {}
    for model in labels:
        own = has.get(model, set())
        lacking = [f"{item} of {benchmark}" for benchmark, item in known if (benchmark, item) not in own]
        if lacking:
            first = f"; it lacks {', '.join(lacking[:2])}{', …' if len(lacking) > 2 else ''}" if own else ""
            short[str(model)] = f"{len(own)} of {len(known)} answers{first}"
    return short
