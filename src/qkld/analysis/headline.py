"""What headlines, figures and report are about: the score and the zone, as the study's tables have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from qkld.analysis.study import LoadedStudy
from qkld.statistics.core.checks import score_column
from qkld.statistics.items.probability import Score


@dataclass(frozen=True)
class Zone:
    """The zone that notebook 05 wrote: labels of its quants, and its cut in nats where the rule is one on KLD."""

    labels: frozenset[str]
    cut: float | None


@dataclass(frozen=True)
class ShownScore:
    """A benchmark or ``composite``, the cohort's columns of its primary score and of that score's standard error, and
    the reference's error, as a fraction."""

    benchmark: str
    column: str
    error_column: str
    reference_error: float


def cohort_columns(benchmark: str, score: Score) -> tuple[str, str]:
    """The cohort's columns of a benchmark's, or the composite's, score and of its standard error."""
    if score == "accuracy":
        return score_column(benchmark), "composite_se" if benchmark == "composite" else f"se_{benchmark}"
    if benchmark == "composite":
        return "composite_probability", "composite_probability_se"
    return f"probability_{benchmark}", f"se_probability_{benchmark}"


def headline_of(benchmarks: Sequence[str], *, composite: bool) -> str:
    """The composite where there is one, else the first benchmark."""
    return "composite" if composite else benchmarks[0]


def score_names(study: LoadedStudy) -> dict[str, str]:
    """Benchmark → its name with the metric that says what is right, such as ``hellaswag (acc_norm)``."""
    table = study.analysis("composite")
    return {
        str(row.benchmark): f"{row.benchmark} ({row.metric})" if row.metric else str(row.benchmark)
        for row in table.itertuples()
    }


def zone_of(study: LoadedStudy) -> Zone:
    """The zone that notebook 05 wrote."""
    members = study.analysis("zone_members")
    first = study.analysis("zone").iloc[0]
    cut = float(first["cut"]) if first["rule"] == "kld_cut" else None
    return Zone(frozenset(members.loc[members["in_zone"], "label"]), cut)


def shown_score(study: LoadedStudy) -> ShownScore:
    """The composite where the study has one, else its first benchmark: what headlines and figures are about.

    By the study's primary score; by accuracy where its items were made before they held the other.
    """
    cohort = study.cohort
    is_composite = cohort.loc[cohort["role"] == "quant", "composite"].notna().any()
    benchmark = headline_of(study.benchmarks, composite=bool(is_composite))
    column, error = cohort_columns(benchmark, study.params.primary_score)
    if not (column in cohort and cohort.loc[cohort["role"] != "floor", column].notna().all()):
        column, error = cohort_columns(benchmark, "accuracy")
    return ShownScore(benchmark, column, error, float(cohort.loc[cohort["role"] == "reference", error].iloc[0]))


def drawn_flips(study: LoadedStudy) -> pd.DataFrame:
    """The flips of every quant on the shown benchmark, with its family, KLD and whether it is at the floor."""
    flips = study.analysis("flips")
    shown = flips[flips["benchmark"] == shown_score(study).benchmark]
    return shown.merge(study.cohort[["label", "family", "kl_mean", "at_floor"]], on="label", validate="one_to_one")


def self_flip_rate(study: LoadedStudy) -> float | None:
    """The flip rate of the reference with itself on the shown benchmark; None where it was not run a second time."""
    table = study.analysis("self_flips")
    rate = float(table.loc[table["benchmark"] == shown_score(study).benchmark, "self_flip_rate"].iloc[0])
    return None if np.isnan(rate) else rate


def shown_direction(study: LoadedStudy) -> pd.DataFrame:
    """ρ of the headline's KLD with volume and direction on the shown benchmark, with reliabilities."""
    table = study.analysis("volume_direction")
    return table[table["benchmark"] == shown_score(study).benchmark]


def prompt_benchmarks(study: LoadedStudy) -> list[str]:
    """Benchmarks whose per-prompt KLD is drawn: those of the composite, or all where there is no composite."""
    tasks = study.analysis("composite")
    chosen = tasks.loc[tasks["in_composite"], "benchmark"].tolist()
    return chosen or study.benchmarks
