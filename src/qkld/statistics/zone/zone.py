"""The silent zone: which quants are in it, and the correlation inside it.

arXiv:2606.19558 does not say how its zone was chosen. The primary rule here is a cut of KLD fixed before scores are
seen: it restricts the range of the metric and nothing else. The other rules read the scores they are then judged by;
they are for comparison, each with what it does to the correlation inside. `qkld.statistics.zone.split_zone` chooses on
one half of the items and judges on the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import Missing, checked_kld, complete_quants, noted, quants_of, score_column
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.correlation.metric_correlations import correlation_table
from qkld.statistics.correlation.twoway import ItemDraws
from qkld.statistics.items.score_differences import equivalence_p
from qkld.statistics.zone.break_point import break_cuts

Rule = Literal["kld_cut", "score_margin", "equivalence", "break_point"]

SELECTION_EFFECT: Mapping[str, str] = {
    "kld_cut": "chosen by the metric alone: the range of KLD is restricted, the scores are not selected",
    "score_margin": "chosen by the score itself: this pulls the correlation inside toward 0; for comparison only",
    "equivalence": "chosen by the score and, as quants that change few answers pass more easily, by the metric: "
    "this pulls the correlation inside toward 0; for comparison only",
    "break_point": "cut where the scores bend, which makes them flat below it: this pulls the correlation inside "
    "toward 0; for comparison only",
}
"""What each rule does to the correlation inside the zone."""

EQUIVALENCE_LEVEL = 0.05
"""Level of each quant's own test of equivalence; the zone is no claim about all of them together."""


def compared_rules(rule: Rule, cut: float, *, margin: float) -> dict[Rule, float | None]:
    """The study's own rule with its cut first, then the others that read scores; ``margin`` is a fraction of 1."""
    others: dict[Rule, float | None] = {"score_margin": margin, "equivalence": margin, "break_point": None}
    return {rule: cut} | {name: other for name, other in others.items() if name != rule}


def zone_members(
    cohort: pd.DataFrame,
    *,
    rule: Rule,
    cut: float | None,
    metric: str = "kl_mean",
    score: str = "composite",
    flips: pd.DataFrame | None = None,
    tasks: Sequence[str] = (),
    missing: Missing = "refuse",
) -> pd.Series:
    """Which rows of the cohort are quants in the zone: bool, index of ``cohort``.

    ``kld_cut``: ``metric`` ≤ ``cut`` (nats). ``score_margin``: ``score`` at most ``cut`` (a fraction of 1) below the
    reference's. ``equivalence``: a difference of ``cut`` (a fraction of 1) or more is refused at `EQUIVALENCE_LEVEL`
    (`paired.equivalence_p`) by ``flips``, the table of `flips.flip_table`, averaged over ``tasks``. ``break_point``:
    ``metric`` at or below the best break of ``score`` in its logarithm; ``cut`` is not read.
    Reference and floor rows are never members.

    Raises
    ------
    StatisticsError
        If the columns that the rule reads have missing values among the quants and ``missing`` is "refuse", the
        reference has no score, or counts of flips are missing.
    """
    is_quant = cohort["role"] == "quant"
    columns = {"kld_cut": [metric], "score_margin": [score], "equivalence": [], "break_point": [metric, score]}[rule]
    if missing == "refuse":
        for column in columns:
            _refuse_missing(cohort.loc[is_quant, column], rule)
    if rule == "kld_cut":
        return is_quant & (cohort[metric] <= cut)
    if rule == "score_margin":
        return is_quant & (cohort[score] >= _reference_score(cohort, score) - cut)
    if rule == "equivalence":
        return is_quant & cohort["label"].isin(_equivalent(quants_of(cohort)["label"], flips, tasks, cut))
    return is_quant & (cohort[metric] <= _break(cohort, metric, score, missing))


def _refuse_missing(column: pd.Series, rule: str) -> None:
    if column.isna().any():
        raise StatisticsError(
            f"The zone by rule {rule} needs '{column.name}' for every quant.",
            expected=f"{len(column)} values",
            found=f"{int(column.isna().sum())} missing",
            do='measure these quants, use another rule, or leave them out with missing="drop"',
        )


def _reference_score(cohort: pd.DataFrame, score: str) -> float:
    reference = cohort.loc[cohort["role"] == "reference", score]
    if len(reference) != 1 or reference.isna().any():
        raise StatisticsError(
            "The score margin needs a reference.",
            expected=f"one reference row with a {score}",
            found=f"{len(reference)} rows, {int(reference.isna().sum())} without a value",
            do="run notebook 03_benchmark_scores for the reference, or use rule kld_cut",
        )
    return float(reference.iloc[0])


def _equivalent(
    labels: pd.Series, flips: pd.DataFrame | None, tasks: Sequence[str], margin: float | None
) -> Sequence[str]:
    """Labels of the quants whose mean difference over the tasks is shown to be below the margin."""
    tables = []
    if flips is not None and tasks:
        rows = flips[flips["benchmark"].isin(tasks) & flips["label"].isin(labels)]
        tables = [rows.pivot(index="label", columns="benchmark", values=c) for c in ("leapfrogs", "drops", "items")]
    if not tables or tables[0].shape != (len(labels), len(tasks)) or tables[0].isna().to_numpy().any():
        raise StatisticsError(
            "The zone by rule equivalence needs leapfrogs and drops.",
            expected=f"flips of {len(labels)} quants on {', '.join(tasks) or 'at least one task'}",
            found="none" if not tables else f"{int(tables[0].notna().to_numpy().sum())} of them",
            do="give the table of flips and its tasks, or use rule kld_cut",
        )
    shown = flips[flips["benchmark"] == (tasks[0] if len(tasks) == 1 else "composite")].set_index("label")
    alone = {"design_effect": 1.0, "design_df": np.inf}
    wider = shown[list(alone)].reindex(tables[0].index).fillna(alone).to_numpy().T
    p = equivalence_p(*(table.to_numpy() for table in tables), margin, *wider)
    return list(tables[0].index[p < EQUIVALENCE_LEVEL])


def _break(cohort: pd.DataFrame, metric: str, score: str, missing: Missing) -> float:
    quants, _ = complete_quants(cohort, [metric, score], missing=missing)
    kld = checked_kld(quants[metric], name=metric, labels=quants["label"])
    return float(break_cuts(kld[kld > 0], quants.loc[kld > 0, score])[0])


def members_table(
    cohort: pd.DataFrame, members: pd.Series, *, rule: Rule, cut: float | None, metric: str = "kl_mean"
) -> pd.DataFrame:
    """Every quant with its metric, its composite and whether it is in the zone, by rising metric."""
    table = cohort.assign(in_zone=members, rule=rule, cut=cut)[cohort["role"] == "quant"]
    columns = ["label", "family", metric, "composite", "in_zone", "rule", "cut"]
    return table[columns].sort_values([metric, "label"]).reset_index(drop=True)


def full_and_zone(
    cohort: pd.DataFrame,
    members: pd.Series,
    metrics: Sequence[str],
    benchmarks: Sequence[str],
    *,
    resampling: Resampling,
    missing: Missing = "refuse",
    items: ItemDraws | None = None,
) -> pd.DataFrame:
    """Spearman of each metric with each benchmark over all quants and over those in the zone, one below the other."""
    settings = {"resampling": resampling, "missing": missing, "items": items, "whole": cohort}
    parts = [
        correlation_table(rows, metrics, benchmarks, subset=subset, **settings)
        for subset, rows in (("full", cohort), ("zone", cohort[members]))
    ]
    return pd.concat(parts, ignore_index=True)


def zone_table(
    cohort: pd.DataFrame,
    members: pd.Series,
    benchmarks: Sequence[str],
    *,
    rule: Rule,
    cut: float | None,
    resampling: Resampling,
    metric: str = "kl_mean",
    missing: Missing = "refuse",
    items: ItemDraws | None = None,
) -> pd.DataFrame:
    """The headline metric over the full cohort and in the zone, with rule, cut, selection effect and sizes."""
    table = full_and_zone(cohort, members, [metric], benchmarks, resampling=resampling, missing=missing, items=items)
    return pd.concat([pd.DataFrame([_facts(cohort, members, rule, cut)] * len(table)), table], axis=1)


def _facts(cohort: pd.DataFrame, members: pd.Series, rule: str, cut: float | None) -> dict[str, Any]:
    return {
        "rule": rule,
        "cut": np.nan if cut is None else cut,
        "selection": SELECTION_EFFECT[rule],
        "n_full": len(quants_of(cohort)),
        "n_zone": int(members.sum()),
    }


def rules_table(
    cohort: pd.DataFrame,
    rules: Mapping[Rule, float | None],
    *,
    resampling: Resampling,
    metric: str = "kl_mean",
    benchmark: str = "composite",
    flips: pd.DataFrame | None = None,
    tasks: Sequence[str] = (),
    missing: Missing = "refuse",
    items: ItemDraws | None = None,
) -> pd.DataFrame:
    """The correlation inside the zone by each rule, one row a rule; columns as `zone_table`.

    ``rules`` names each rule with its cut. A rule that cannot be applied keeps its row, and ``note`` says why. For
    ``break_point`` the column ``cut`` holds the break that was found, in nats.

    Raises
    ------
    StatisticsError
        As `complete_quants`.
    """
    score = score_column(benchmark)
    rows = []
    for rule, cut in rules.items():
        settings = {"metric": metric, "score": score, "flips": flips, "tasks": tasks, "missing": missing}
        found = noted(lambda r=rule, c=cut, s=settings: {"members": zone_members(cohort, rule=r, cut=c, **s)}, {})
        members = found.get("members", pd.Series(False, index=cohort.index))
        if rule == "break_point" and members.any():
            cut = float(cohort.loc[members, metric].max())
        inside = {"subset": "zone", "missing": missing, "items": items, "whole": cohort}
        row = correlation_table(cohort[members], [metric], [benchmark], resampling=resampling, **inside).iloc[0]
        rows.append({**_facts(cohort, members, rule, cut), **row.to_dict(), "note": found["note"] or row["note"]})
    return pd.DataFrame(rows)
