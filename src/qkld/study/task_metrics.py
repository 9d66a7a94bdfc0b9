"""Which metric says that an answer to a benchmark is right: what the field publishes for it.

``acc`` takes the choice of the highest log-probability, so of choices of different length the shorter ones are favoured
and a score can lie below that of guessing. ``acc_norm`` divides each log-probability by the characters of its choice
first (lm-evaluation-harness). Where choices are whole texts the field publishes ``acc_norm``: HellaSwag and
ARC-Challenge since the Open LLM Leaderboard (2023), OpenBookQA and PIQA since GPT-3 (Brown et al. 2020).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pydantic import Field

from qkld.study.entries import Strict

ChoiceMetric = Literal["acc", "acc_norm"]
"""Metrics of multiple choice that a study can ask for."""


PrimaryScore = Literal["accuracy", "probability"]
"""Scores that can decide."""


class Scores(Strict):
    """Which score of a study decides, and the margin of the second one.

    ``primary_score`` is named before scores are seen: the share of right answers, or the mean probability of the right
    choice. ``probability_margin`` is a difference of that probability that does not matter, a fraction of 1.
    """

    primary_score: PrimaryScore = "accuracy"
    probability_margin: float = Field(default=0.01, gt=0, lt=1)


BY_LENGTH = frozenset({"hellaswag", "openbookqa", "arc_challenge", "piqa"})
"""Tasks, by the harness's names, that are published by ``acc_norm``; all others of multiple choice by ``acc``."""


def published_metric(task: str, held: Collection[str] | None = None) -> ChoiceMetric | None:
    """The metric that a task of multiple choice is published by; None where ``held``, if given, lacks it."""
    metric: ChoiceMetric = "acc_norm" if task in BY_LENGTH else "acc"
    return metric if held is None or metric in held else None
