"""The answer from results that are there, of a study or of a table with items: nothing is run, there is one look."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qkld.analysis.evidence import Evidence, Settings
from qkld.analysis.flip_tables import decision_table
from qkld.analysis.own_table.answers_by_item import Reading
from qkld.analysis.own_table.given import Asked, read_given
from qkld.analysis.own_table.measure import Columns
from qkld.analysis.score_tables import probability_table
from qkld.analysis.study import load_study
from qkld.errors import StatisticsError
from qkld.pick.answer import Answer, Interval, Row
from qkld.pick.pick_request import PickRequest
from qkld.report.own_table.run import PAPER
from qkld.statistics.core.checks import quants_of
from qkld.study.provenance import made_by


def answer_of_study(request: PickRequest) -> Answer:
    """From a study's tables, of a run or as the repository keeps them; margins and the primary score as asked."""
    study = load_study(request.what)
    return answer_of_evidence(_asked(Evidence.of_study(study), request), made_by(study=request.what))


def answer_of_table(request: PickRequest) -> Answer:
    """From a table of any tool in which each quant is a row, and items.

    Raises
    ------
    TableError, StatisticsError
        If either cannot be read, or the items lack the reference.
    """
    asked = Asked(None, request.scores, request.reference, None, None, Columns())
    path, own, items = read_given(Path(request.what), request.items, asked, reading=Reading(), missing="refuse")
    settings = Settings(direction_confidence=request.confidence)
    evidence = Evidence.of_table(own, items, replace(PAPER, confidence=request.confidence), settings)
    return answer_of_evidence(_asked(evidence, request), made_by(table=path.name))


def _asked(evidence: Evidence, request: PickRequest) -> Evidence:
    """With the margins and the score that are asked for."""
    settings = replace(
        evidence.settings,
        equivalence_margin=request.margin,
        probability_margin=request.probability_margin,
        primary_score=request.primary,
        direction_confidence=request.confidence,
    )
    if request.primary == "probability" and not evidence.has("probability"):
        raise StatisticsError(
            "The items have no probability of the right choice.",
            expected="items with that score, since --primary-score is probability",
            found="only right and wrong answers",
            do="give --primary-score accuracy, and its --margin",
        )
    return replace(evidence, settings=settings)


def answer_of_evidence(evidence: Evidence, made: dict[str, Any]) -> Answer:
    """The headline's decisions, a row a quant, by falling size."""
    settings, both = evidence.settings, {"accuracy": _headline(decision_table(evidence), evidence)}
    if evidence.has("probability"):
        both["probability"] = _headline(probability_table(evidence), evidence)
    quants = quants_of(evidence.cohort)
    size = evidence.size if evidence.size in quants else "bits_per_weight"
    ordered = quants.sort_values(size, ascending=False, kind="stable") if size in quants else quants
    return Answer(
        rows=tuple(_row(quant, both, settings.primary_score) for quant in ordered.to_dict("records")),
        reference=evidence.base,
        margin=settings.probability_margin if settings.primary_score == "probability" else settings.equivalence_margin,
        primary=settings.primary_score,
        confidence=settings.direction_confidence,
        made_by=made,
    )


def _headline(table: pd.DataFrame, evidence: Evidence) -> pd.DataFrame:
    return table[table["benchmark"] == evidence.headline].set_index("label")


def _row(quant: dict[str, Any], both: dict[str, pd.DataFrame], primary: str) -> Row:
    label = quant["label"]
    decided = both[primary].loc[label]
    scores = {name: _interval(table.loc[label], "net", "net_low", "net_high") for name, table in both.items()}
    top1 = quant.get("top1_agreement")
    return Row(
        label=label,
        kind=str(quant.get("recipe", "")),
        size=None,
        bits=float(quant.get("bits_per_weight", np.nan)),
        kld=_interval(quant, "kl_mean", "kl_mean_low", "kl_mean_high"),
        top1=None if top1 is None or np.isnan(top1) else float(top1),
        items=int(decided["items"]),
        decision=str(decided["decision"]),
        items_needed=float(decided["items_needed"]),
        **scores,
    )


def _interval(values: Any, *columns: str) -> Interval | None:
    """An estimate with its ends; None where one of them is not there."""
    found = [values.get(column, np.nan) for column in columns]
    return None if any(pd.isna(value) for value in found) else (float(found[0]), float(found[1]), float(found[2]))
