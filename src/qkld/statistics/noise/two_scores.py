"""Accuracy and the probability of the right choice side by side: what each resolves, and where verdicts differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from qkld.statistics.core.checks import joined, noted, quants_of
from qkld.statistics.core.correlations_of_resamples import correlation
from qkld.statistics.items.covariance import NetNoise
from qkld.statistics.items.probability import Score
from qkld.statistics.noise.noise_and_verdict import verdict_table
from qkld.statistics.noise.reliability import noise_mean_squares, reliability
from qkld.study.registry import registered

NAMES: Mapping[Score, str] = {"accuracy": "accuracy", "probability": "the probability of the right choice"}
"""The scores as sentences name them."""

NOT_AVAILABLE = "the second score is not available: run notebook 03_benchmark_scores again"

NO_PRIMARY = "the primary score, the probability of the right choice, is not available: nothing is decided"
"""Stands in place of a verdict and of decisions where items lack the score that was named to decide."""

OF_EACH = ("verdict", "estimate", "mean_se", "reliability", "r2", "items_to_settle")
"""What is told of each score."""


def two_scores_table(
    noises: Mapping[Score, Mapping[str, NetNoise]],
    cohort: pd.DataFrame,
    members: pd.Series,
    *,
    primary: Score,
    confidence: float,
    metric: str = "kl_mean",
) -> pd.DataFrame:
    """Verdict, ρ, noise and reliability by both scores, one row a benchmark and subset of quants.

    Parameters
    ----------
    noises : score → benchmark → net scores with their item noise; without ``probability`` its columns stay empty
    members : which rows of ``cohort`` are in the zone
    primary : the score that decides, named before either was seen
    confidence : of the reliabilities' intervals, which are not told here

    Returns
    -------
    DataFrame
        ``<number>_accuracy`` and ``<number>_probability`` for each of `OF_EACH`; ``says`` is a sentence that names the
        verdict, whether the scores differ in it, and whose error rate is meant.
    """
    verdicts = {
        score: verdict_table(noise, cohort, members, metric=metric).set_index(["benchmark", "subset"])
        for score, noise in noises.items()
    }
    inside = {"full": quants_of(cohort), "zone": quants_of(cohort[members])}
    rows = []
    for (benchmark, subset), first in verdicts["accuracy"].iterrows():
        row: dict[str, Any] = {c: first[c] for c in ("metric", "n", "items")}
        row |= {"benchmark": benchmark, "subset": subset, "primary_score": primary}
        notes = []
        for score in NAMES:
            own = verdicts[score].loc[(benchmark, subset)] if score in noises else None
            noise = None if own is None else noises[score][benchmark]
            found = _of_score(own, noise, inside[subset], metric, confidence)
            notes.append(found.pop("note"))
            row |= {f"{name}_{score}": value for name, value in found.items()}
        said = _sentence({score: row[f"verdict_{score}"] for score in noises}, primary)
        rows.append({**row, "says": said, "note": joined(*dict.fromkeys(notes))})
    return registered("two_scores").frame(rows)


def _of_score(
    verdict: pd.Series | None, noise: NetNoise | None, quants: pd.DataFrame, metric: str, confidence: float
) -> dict[str, Any]:
    empty = {name: "" if name == "verdict" else np.nan for name in OF_EACH}
    if verdict is None or noise is None:
        return {**empty, "note": NOT_AVAILABLE}

    def numbers() -> dict[str, float]:
        part = noise.of(list(quants["label"]))
        return {
            "estimate": correlation(quants[metric].to_numpy(float), part.net),
            "mean_se": float(np.sqrt(np.diag(part.covariance).mean())),
            "reliability": reliability(noise_mean_squares(part), confidence).estimate,
        }

    own = {name: verdict[name] for name in ("verdict", "r2", "items_to_settle")}
    found = noted(numbers, {name: np.nan for name in ("estimate", "mean_se", "reliability")})
    return {**empty, **own, **found, "note": joined(verdict["note"], found["note"])}


def _sentence(verdicts: Mapping[Score, str], primary: Score) -> str:
    """The verdict by both scores, and whose error rate is meant."""
    told = {score: verdict or "no verdict" for score, verdict in verdicts.items()}
    if len(told) < len(NAMES):
        which = next(iter(told))
        decides = "" if which == primary else ", which was not named to decide"
        return f"By {NAMES[which]}{decides}: {told[which]}; {NOT_AVAILABLE}."
    other = next(score for score in told if score != primary)
    rate = f"Error rates are those of {NAMES[primary]}, the primary score"
    if told[primary] == told[other]:
        return f"Both scores: {told[primary]}. {rate}."
    return (
        f"The scores differ: {told[primary]} by {NAMES[primary]}, {told[other]} by {NAMES[other]}. {rate}; the other "
        "is shown for comparison."
    )
