"""Result tables of the second score, the probability of the right choice, beside accuracy."""

from __future__ import annotations

import pandas as pd

from qkld.analysis.evidence import Evidence
from qkld.analysis.flip_tables import decisions_by_accuracy
from qkld.statistics.flips import second_score
from qkld.statistics.items.probability import Score
from qkld.statistics.noise import two_scores
from qkld.study.registry import registered

SCORES: tuple[Score, ...] = ("accuracy", "probability")


def two_scores_table(evidence: Evidence) -> pd.DataFrame:
    """Verdict, ρ, noise and reliability by both scores, with a sentence where they differ."""
    scores = SCORES if evidence.has("probability") else SCORES[:1]
    return two_scores.two_scores_table(
        {score: evidence.by(score).noises for score in scores},
        evidence.cohort,
        evidence.members,
        primary=evidence.settings.primary_score,
        confidence=evidence.resampling.confidence,
        metric=evidence.kld,
    )


def probability_table(evidence: Evidence) -> pd.DataFrame:
    """Every quant's probability of the right choice against the reference's, with the decision by accuracy beside it.

    Where items lack the probability there is a row a quant and score all the same, empty but for the decision by
    accuracy and the note.
    """
    described = registered("probability")
    by_accuracy = decisions_by_accuracy(evidence)[["label", "benchmark", "decision"]]
    known = by_accuracy.rename(columns={"decision": "decision_accuracy"})
    if not evidence.has("probability"):
        return described.frame(known.assign(note=two_scores.NOT_AVAILABLE).to_dict("records"))
    found = second_score.probability_table(
        evidence.answers,
        evidence.cohort,
        reference=evidence.base,
        benchmarks=evidence.benchmarks,
        tasks=evidence.tasks,
        margin=evidence.settings.probability_margin,
        confidence=evidence.settings.direction_confidence,
    )
    table = found.merge(known, on=["label", "benchmark"], validate="one_to_one")
    primary = evidence.settings.primary_score
    pairs = zip(table["decision"], table["decision_accuracy"], strict=True)
    table["says"] = [second_score.decision_sentence(own, other, primary) for own, other in pairs]
    return table[list(described.columns)]
