"""Every format by its name, and files of one → one checked table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from qkld.analysis.importing.bfcl_results import read_bfcl
from qkld.analysis.importing.evalplus_and_livecodebench import read_evalplus, read_livecodebench
from qkld.analysis.importing.groups import Groups, grouped
from qkld.analysis.importing.harness_samples import read_harness_samples
from qkld.analysis.importing.imported_items import COLUMNS, DIVERGENCES, IMPORTED
from qkld.analysis.importing.inspect_logs import read_inspect
from qkld.analysis.importing.long_table import read_long_table
from qkld.analysis.importing.matching import check_metric_taken, check_same_items
from qkld.errors import ParameterError, TableError
from qkld.statistics.core.checks import checked_kld
from qkld.statistics.items.covariance import binary
from qkld.statistics.items.probability import PROBABILITY, checked_probabilities


@dataclass(frozen=True)
class Format:
    """How one tool's files are read.

    Attributes
    ----------
    meaning : what is given, for the command's help
    read : one path with its label → rows; None where files are read together
    read_all : all paths → rows
    naming : whether files name their models: ``always``, ``unless`` a label is given, or ``never``
    """

    meaning: str
    read: Callable[..., pd.DataFrame] | None = None
    read_all: Callable[[Sequence[Path]], pd.DataFrame] | None = None
    naming: str = "unless"


FORMATS = {
    "lm-eval": Format("lm-evaluation-harness: samples_*.jsonl, or the folder of --output_path", read_harness_samples),
    "evalplus": Format("EvalPlus: *eval_results.json, one model a file", read_evalplus, naming="never"),
    "livecodebench": Format("LiveCodeBench: *_eval_all.json, one model a file", read_livecodebench, naming="never"),
    "inspect": Format("Inspect: .eval and .json logs, or a folder of them", read_inspect),
    "bfcl": Format("bfcl-eval: the folders result and score", read_all=read_bfcl, naming="always"),
    "csv": Format("CSV, JSON lines or Parquet with model, benchmark, item, correct", read_long_table),
}


def import_items(
    name: str,
    paths: Sequence[Path],
    *,
    labels: Sequence[str] = (),
    filter_name: str | None = None,
    metric: str | None = None,
    groups: Groups | None = None,
) -> pd.DataFrame:
    """Items of several models as one table of schema `IMPORTED`.

    Parameters
    ----------
    name : a key of `FORMATS`
    paths : files or folders of that format
    labels : a model's label for each path, where the files do not name it
    filter_name, metric : of lm-evaluation-harness's samples, the filter and the metric to take: ``NAME``, or
        ``TASK=NAME`` separated by commas
    groups : benchmark → patterns of the parts that make it up, see `qkld.analysis.importing.groups.grouped`

    Raises
    ------
    ParameterError
        If the format is unknown, labels and paths do not go together, or a filter is given to another format.
    TableError
        If a file is not of that format, or an item is there twice.
    StatisticsError
        If a correctness is neither 0 nor 1, or a KLD is negative.
    BenchmarkError
        If models answered other items, or were asked otherwise.
    """
    of_samples = {k: v for k, v in (("filter_name", filter_name), ("metric", metric)) if v is not None}
    _check_call(name, paths, labels, of_samples)
    form = FORMATS[name]
    if form.read_all is not None:
        items = form.read_all(paths)
    else:
        read = partial(form.read, **of_samples)
        given = labels or [None] * len(paths)
        items = pd.concat([read(p, label=label) for p, label in zip(paths, given, strict=True)], ignore_index=True)
    check_metric_taken(items, metric)
    return whole_items(items, groups or {}, source=", ".join(str(p) for p in paths[:3]))


def whole_items(items: pd.DataFrame, groups: Groups, *, source: str) -> pd.DataFrame:
    """Items as a table of schema `IMPORTED`, the same ones for every model.

    Raises
    ------
    TableError, StatisticsError, BenchmarkError
        As `import_items`.
    """
    checked = checked_items(grouped(items, groups), source=source)
    check_same_items(checked)
    return IMPORTED.checked(_filled(checked))


def checked_items(items: pd.DataFrame, *, source: str) -> pd.DataFrame:
    """The items, each there once, with names as text, answers of 0 and 1, probabilities, and no negative KLD.

    Raises
    ------
    TableError, StatisticsError
        As `import_items`.
    """
    items = items.assign(**{c: items[c].astype(str) for c in ("model", "benchmark", "item")})
    doubled = items.duplicated(["model", "benchmark", "item"])
    if doubled.any():
        raise TableError(
            f"{source} has an item twice.",
            expected="one row for each model, benchmark and item",
            found=items.loc[doubled, ["model", "benchmark", "item"]].head(3).to_dict("records"),
            do="keep one run of each model and benchmark",
        )
    binary(items[["correct"]].to_numpy())
    if PROBABILITY in items:
        items = items.assign(**{PROBABILITY: checked_probabilities(items[PROBABILITY])})
    return items.assign(**{c: checked_kld(items[c], name=c, labels=items["model"]) for c in DIVERGENCES if c in items})


def _filled(items: pd.DataFrame) -> pd.DataFrame:
    """Without optional columns that say nothing: empty ones, and clusters of one item each."""
    empty = [c for c in items if c not in COLUMNS and items[c].isna().all()]
    alone = ["cluster"] if "cluster" in items and (items["cluster"] == items["item"]).all() else []
    return items.drop(columns=[*empty, *alone])


def _check_call(name: str, paths: Sequence[Path], labels: Sequence[str], of_samples: Mapping[str, str]) -> None:
    naming = FORMATS[name].naming if name in FORMATS else None
    problems = {
        "There is no such format.": (name in FORMATS, ", ".join(FORMATS), name, "give one of these"),
        "No file was given.": (bool(paths), "at least one file or folder", "none", "name the files"),
        f"Files of '{name}' name their models.": (
            not (naming == "always" and labels), "no --label", list(labels), "rename the models' folders instead"
        ),
        f"Files of '{name}' do not name their models.": (
            not (naming == "never" and not labels), f"{len(paths)} labels, one per file", "none",
            "give one --label for each file",
        ),
        "The numbers of labels and files differ.": (
            not labels or len(labels) == len(paths), f"{len(paths)} labels, one per file, in order", list(labels),
            "give one --label for each file",
        ),
        "A filter belongs to samples of lm-evaluation-harness.": (
            name == "lm-eval" or "filter_name" not in of_samples, "no --filter", of_samples.get("filter_name"),
            "drop it"
        ),
        "A metric belongs to samples of lm-evaluation-harness and of Inspect.": (
            "metric" not in of_samples or name in ("lm-eval", "inspect"), "no --metric", of_samples.get("metric"),
            "drop it"
        ),
    }  # fmt: skip
    for problem, (holds, expected, found, do) in problems.items():
        if not holds:
            raise ParameterError(problem, expected=expected, found=found, do=do)
