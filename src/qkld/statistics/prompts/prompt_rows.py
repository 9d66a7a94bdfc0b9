"""Items of several models as rows for per-prompt statistics: outcome, reference's answer, prompt, benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from qkld.errors import StatisticsError
from qkld.statistics.items.covariance import item_clusters
from qkld.statistics.items.scores import correct_matrix

ALL_QUANTS = "all quants"
ALL_BENCHMARKS = "all benchmarks"
ALL_PAIRS = "all pairs"

BASELINES = ("prompt_tokens", "entropy_prompt", "nll_prompt", "entropy_reference", "nll_reference")
"""Columns of the item table that a divergence has to beat, as far as they are there: length, the reference's mean
entropy and mean −ln p over the prompt's tokens, and over those of the right choice."""

ALSO = ("base", "choice_entropy", *BASELINES)
"""Columns that are read where they are there."""


@dataclass(frozen=True)
class PromptItems:
    """Items of several models as rows: what every statistic prompt by prompt rests on, put together once.

    ``rows`` are those of `prompt_rows`, with the ``divergence`` and what there is of `ALSO`; ``short`` says of which
    benchmarks the reference has too few items right or wrong, see `short_benchmarks`.
    """

    rows: pd.DataFrame
    models: Sequence[str]
    benchmarks: Sequence[str]
    divergence: str
    short: Mapping[str, str]

    def parts(self, rows: pd.DataFrame | None = None) -> Iterator[tuple[str, pd.DataFrame]]:
        """Each benchmark's rows, or of the given ones, then those of all benchmarks that are not short of items."""
        rows = self.rows if rows is None else rows
        for benchmark in self.benchmarks:
            yield benchmark, rows[rows["benchmark"] == benchmark]
        if len(self.benchmarks) > 1:
            yield ALL_BENCHMARKS, rows[~rows["benchmark"].isin(list(self.short))]


def prompt_items(
    items: pd.DataFrame,
    *,
    models: Sequence[str],
    benchmarks: Sequence[str],
    divergence: str,
    reference: str | None = None,
    minimum_reference: int = 0,
    families: Mapping[str, str] | None = None,
) -> PromptItems:
    """The models' items of these benchmarks, put together; errors as of `prompt_rows`.

    A benchmark, or family of benchmarks, on which the ``reference`` has fewer than ``minimum_reference`` items right or
    wrong keeps its rows in every table, with no estimate and a ``note``.
    """
    rows = prompt_rows(items, models=models, benchmarks=benchmarks, reference=reference, needs=[divergence], also=ALSO)
    return PromptItems(rows, models, benchmarks, divergence, short_benchmarks(rows, minimum_reference, families))


def prompt_rows(
    items: pd.DataFrame,
    *,
    models: Sequence[str],
    benchmarks: Sequence[str],
    reference: str | None = None,
    needs: Sequence[str],
    also: Sequence[str] = (),
) -> pd.DataFrame:
    """The models' rows of these benchmarks, sorted: what is needed, other columns where they have values, four more.

    ``failed``; ``reference_right`` (missing without a reference); ``prompt``, a number that rows of one item, or of one
    ``cluster`` of items, share over models; ``stratum``, a number for each model and benchmark.

    Raises
    ------
    StatisticsError
        If a model has no items or others than the rest, clusters differ between models, or a column that is needed is
        not there; as `correct_matrix`.
    """
    lacking = [column for column in needs if column not in items]
    if lacking:
        raise StatisticsError(
            "The items lack columns that this analysis needs.",
            expected=list(needs),
            found=f"no {', '.join(lacking)}",
            do="run notebook 03_benchmark_scores again, or name another column",
        )
    there = [column for column in dict.fromkeys(also) if column in items and items[column].notna().any()]
    columns = ["model", "item", "correct", *needs, *there]
    parts = [_benchmark_rows(items, benchmark, models, reference, columns) for benchmark in benchmarks]
    rows = pd.concat(parts, ignore_index=True)
    return rows.assign(
        prompt=rows.groupby(["benchmark", "unit"], sort=False).ngroup(),
        stratum=rows.groupby(["benchmark", "model"], sort=False).ngroup(),
    ).drop(columns="unit")


def _benchmark_rows(
    items: pd.DataFrame, benchmark: str, models: Sequence[str], reference: str | None, columns: Sequence[str]
) -> pd.DataFrame:
    right = correct_matrix(items, benchmark)
    absent = [m for m in (*models, *([reference] if reference is not None else [])) if m not in right]
    if absent:
        raise StatisticsError(
            f"Some models have no items of '{benchmark}'.",
            expected=f"items of {len(models)} quants and the reference",
            found=f"none of {', '.join(absent)}",
            do="run notebook 03_benchmark_scores for them, or leave them out",
        )
    rows = items.loc[(items["benchmark"] == benchmark) & items["model"].isin(models), list(columns)]
    rows = rows.sort_values(["item", "model"])
    clusters = item_clusters(items, benchmark, right.index)
    unit = rows["item"] if clusters is None else rows["item"].map(pd.Series(clusters, index=right.index))
    known = rows["item"].map(right[reference] == 1) if reference is not None else None
    failed = rows["correct"] == 0
    return rows.drop(columns="correct").assign(benchmark=benchmark, failed=failed, reference_right=known, unit=unit)


def short_benchmarks(rows: pd.DataFrame, minimum: int, families: Mapping[str, str] | None = None) -> dict[str, str]:
    """Benchmarks on which the reference has fewer than ``minimum`` items right or wrong → why they are left out.

    Benchmarks of one family (``families``: benchmark → family) are counted together, others each by itself; of items
    that come in clusters, the clusters with a right and with a wrong answer are counted. At the floor a quant's answers
    are guesses and at the ceiling it can only lose: neither says what a divergence does. Without a reference nothing is
    left out.
    """
    if rows["reference_right"].isna().all():
        return {}
    named = families or {}
    found = {}
    for group, part in rows.groupby(rows["benchmark"].map(lambda b: named.get(b, b)), sort=False):
        known = part["reference_right"].astype(bool)
        right, wrong = (int(part.loc[which, "prompt"].nunique()) for which in (known, ~known))
        if min(right, wrong) < minimum:
            place = "floor" if right < wrong else "ceiling"
            why = f"reference at the {place}: {right} items right and {wrong} wrong, {minimum} of each needed"
            members = part["benchmark"].unique()
            found |= {str(b): f"family {group}: {why}" if b in named else why for b in members}
    return found


def refuse_short(benchmark: str, short: Mapping[str, str]) -> None:
    """Raise for a benchmark that `short_benchmarks` names, and for all of them together where each is.

    Raises
    ------
    StatisticsError
        With the reason.
    """
    if benchmark in short:
        raise StatisticsError(
            "The reference has too few items right, or wrong.",
            expected="a benchmark at neither its floor nor its ceiling",
            found=short[benchmark],
            do="use more items, or easier or harder ones",
        )


def labelled(part: pd.DataFrame, models: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each model's rows of a part, then all of them as `ALL_QUANTS`."""
    own = dict(tuple(part.groupby("model")))
    for model in models:
        yield model, own.get(model, part.iloc[:0])
    yield ALL_QUANTS, part
