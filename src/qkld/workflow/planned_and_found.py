"""What `qkld plan` said that a study would resolve, beside what it resolved: errors of scores and of mean KLD."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from qkld.analysis.evidence import Evidence
from qkld.analysis.study import LoadedStudy
from qkld.report.numbers import printed
from qkld.statistics.correlation.twoway import COMPOSITE
from qkld.statistics.items.probability import Score
from qkld.statistics.noise.two_scores import NAMES
from qkld.study.text_table import TextTable
from qkld.workflow.resolution import PROBABILITY_RATIO, paired_error, places_of

NEAR = 0.2
"""How far from what was found a plan's error may lie, relative to it."""


def planned_and_found(study: LoadedStudy) -> TextTable:
    """Errors as the plan has them and as they were found, one row each; over quants, the median, and ends of the ratio.

    A paired difference's error is planned from the numbers of items and the share of answers that a quant changed, as
    `qkld.workflow.resolution` does from shares that are given; mean KLD's from windows and tokens.
    """
    found = pd.DataFrame([*_score_rows(study), *_kld_rows(study)], columns=["what", "planned", "found"])
    rows = []
    for what, own in found.groupby("what", sort=False):
        ratio = own["planned"] / own["found"]
        each = (own["planned"].median(), own["found"].median(), ratio.median(), ratio.min(), ratio.max())
        percent = [printed(value, percent=True) for value in each[:2]]
        rows.append((str(what), *percent, *(printed(value) for value in each[2:])))
    return TextTable(
        "",
        "Scores: standard error of a quant's paired difference to the reference, points; planned from the share of "
        "answers that it changed. KLD: half its interval, % of it. Medians over quants, and the lowest and highest "
        f"ratio; within {NEAR:.0%} is what a plan is held to.",
        ("error", "planned", "found", "planned / found", "lowest", "highest"),
        tuple(rows),
    )


def _score_rows(study: LoadedStudy) -> Iterator[tuple[str, float, float]]:
    """Both scores of the composite, each quant that changed an answer: the error planned, and that over items."""
    evidence = Evidence.of_study(study)
    flips = evidence.flips[evidence.flips["benchmark"] == COMPOSITE].set_index("label")["flip_rate"]
    sizes = study.analysis("composite").set_index("benchmark")["items"]
    items = sizes[list(evidence.tasks)].tolist()
    for score, name in NAMES.items():
        noise = evidence.by(score).noises.get(COMPOSITE)
        if noise is None:
            continue
        errors = pd.Series(np.sqrt(np.diag(noise.covariance)), index=noise.labels)
        for label in flips.index[flips > 0]:
            yield f"score by {name}", planned_error(flips[label], items, score), errors[label]


def planned_error(flip_rate: float, items: list[int], score: Score) -> float:
    """Standard error of a composite's paired difference, a fraction of 1.

    In probability that in accuracy over the plan's ratio, between its flip rates in proportion to their logarithms.
    """
    error = paired_error(flip_rate, items)
    if score == "accuracy":
        return error
    rates = np.log(list(PROBABILITY_RATIO))
    return error / float(np.interp(np.log(flip_rate), rates, list(PROBABILITY_RATIO.values())))


def _kld_rows(study: LoadedStudy) -> Iterator[tuple[str, float, float]]:
    """Every corpus at every context length, each quant: half the interval of mean KLD over it, planned and found."""
    kld = study.fidelity[study.fidelity["metric"] == "kl_mean"].set_index(["corpus", "context", "quant"]).sort_index()
    for corpus in study.params.corpora:
        for place in places_of(study.params, corpus):
            own = kld.loc[(place.corpus, place.context)].reindex(study.quants)
            half = (own["high"] - own["low"]) / 2 / own["estimate"]
            name = f"KLD, {place.corpus}" + (f" at {place.context} tokens" if place.context else "")
            planned = place.half_width(study.params.quant_kld.confidence)
            yield from ((name, planned, value) for value in half)
