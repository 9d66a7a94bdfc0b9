"""Result tables of notebook 06: volume and direction against the reference, and what can be decided."""

from __future__ import annotations

import numpy as np
import pandas as pd

from qkld.analysis.evidence import Evidence
from qkld.statistics.core.checks import joined
from qkld.statistics.flips import decision, direction, flips, second_score, self_flips, thinning
from qkld.statistics.noise.two_scores import NO_PRIMARY


def flip_table(evidence: Evidence) -> pd.DataFrame:
    """Leapfrogs and drops of every quant on every score."""
    return evidence.flips


def self_flip_table(evidence: Evidence, again: pd.DataFrame | None) -> pd.DataFrame:
    """Every quant's flips beside the reference's with itself; ``again`` are its items of a second run, if any."""
    return self_flips.self_flip_table(
        evidence.answers if again is None else pd.concat([evidence.answers, again], ignore_index=True),
        reference=evidence.base,
        again=None if again is None else str(again["model"].iloc[0]),
        quants=evidence.quants,
        benchmarks=evidence.benchmarks,
        tasks=evidence.tasks,
        confidence=evidence.settings.direction_confidence,
    )


def direction_table(evidence: Evidence) -> pd.DataFrame:
    """ρ of the metric with how much moved and which way, beside the reliability of each."""
    reliability = direction.direction_reliability(
        evidence.answers,
        evidence.subsets,
        reference=evidence.base,
        benchmarks=evidence.benchmarks,
        tasks=evidence.tasks,
    )
    return flips.direction_table(
        evidence.flips,
        evidence.cohort,
        evidence.members,
        resampling=evidence.resampling,
        metric=evidence.fidelity,
        reliability=reliability,
    )


def thinning_table(evidence: Evidence) -> pd.DataFrame:
    """ρ with volume and with the net at the same reliability."""
    return thinning.thinning_table(
        evidence.answers,
        evidence.cohort,
        evidence.members,
        reference=evidence.base,
        benchmarks=evidence.benchmarks,
        tasks=evidence.tasks,
        resampling=evidence.resampling,
        draws=evidence.settings.thinning_draws,
        metric=evidence.fidelity,
    )


def decision_table(evidence: Evidence) -> pd.DataFrame:
    """Which quants are as good as the reference within the margin, and which are worse, by the evidence's score.

    Nothing is decided where items lack the score that was named to decide.
    """
    if evidence.score == "probability":
        return _decisions_by_probability(evidence)
    table = decisions_by_accuracy(evidence)
    if not evidence.lacks_primary:
        return table
    note = [joined(NO_PRIMARY, note) for note in table["note"]]
    return table.assign(decision=decision.UNDECIDED, decision_alone=decision.UNDECIDED, smallest=False, note=note)


def _decisions_by_probability(evidence: Evidence) -> pd.DataFrame:
    return second_score.decision_table(
        evidence.answers,
        evidence.cohort,
        evidence.flips,
        reference=evidence.base,
        benchmarks=evidence.benchmarks,
        tasks=evidence.tasks,
        margin=evidence.settings.probability_margin,
        confidence=evidence.settings.direction_confidence,
        size=evidence.size,
    )


def decisions_by_accuracy(evidence: Evidence) -> pd.DataFrame:
    """The decisions by the share of right answers, whichever score is the primary one."""
    return decision.decision_table(
        evidence.answers,
        evidence.cohort,
        reference=evidence.base,
        benchmarks=evidence.benchmarks,
        tasks=evidence.tasks,
        margin=evidence.settings.equivalence_margin,
        confidence=evidence.settings.direction_confidence,
        size=evidence.size,
    )


def pair_table(evidence: Evidence) -> pd.DataFrame:
    """Which of two quants is the better on the headline, and whether the metric has them in that order."""
    metric = np.nan if evidence.metric is None else evidence.cohort[evidence.metric]
    return decision.pair_table(
        evidence.answers,
        evidence.cohort.assign(distance=-metric if evidence.falling else metric),
        tasks=evidence.groups[evidence.headline],
        confidence=evidence.settings.direction_confidence,
        metric="distance",
    )
