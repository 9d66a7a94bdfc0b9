"""What `qkld plan` said that a study would resolve, beside what it resolved, and what other sizes of it would."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from qkld.analysis.evidence import Evidence
from qkld.analysis.study import LoadedStudy
from qkld.report.numbers import printed
from qkld.statistics.builds.design import LEAST_RECIPES
from qkld.statistics.correlation.twoway import COMPOSITE
from qkld.statistics.items.probability import Score
from qkld.statistics.items.sample_size import POWER
from qkld.statistics.noise.two_scores import NAMES
from qkld.study.text_table import TextTable
from qkld.workflow.planned_builds import BUILDS_COMPARED, Design, designs_of, deviation_seen
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
    for score, errors in _errors_found(evidence).items():
        for label in flips.index[flips > 0]:
            yield f"score by {NAMES[score]}", planned_error(flips[label], items, score), errors[label]


def _errors_found(evidence: Evidence) -> dict[Score, pd.Series]:
    """Score → standard error of every quant's paired difference of the composite, where items have that score."""
    scores = [score for score in NAMES if score == evidence.score or evidence.has("probability")]
    noises = {score: evidence.by(score).noises.get(COMPOSITE) for score in scores}
    return {
        score: pd.Series(np.sqrt(np.diag(noise.covariance)), index=noise.labels)
        for score, noise in noises.items()
        if noise is not None
    }


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


# --- other sizes of the study -----------------------------------------------------------------------------------------

TIMES_ITEMS = (1, 2, 4)
"""Numbers of items, over the study's own, that `other_sizes` looks at; numbers of builds are the plan's."""


def other_sizes(study: LoadedStudy) -> list[TextTable]:
    """What more items and builds would find, from the errors found; a table for each kind of builds, none without."""
    errors = {score: float(found.median()) for score, found in _errors_found(Evidence.of_study(study)).items()}
    designs = {kind: d for kind, d in designs_of(study.params).items() if d.recipes >= LEAST_RECIPES}
    return [_sizes_table(kind, design.recipes, errors) for kind, design in designs.items() if errors]


def _sizes_table(kind: str, recipes: int, errors: Mapping[Score, float]) -> TextTable:
    rows = []
    for times, builds in itertools.product(TIMES_ITEMS, BUILDS_COMPARED):
        design = Design(recipes, recipes * builds)
        cells = [cell for error in errors.values() for cell in _seen_with(error / math.sqrt(times), builds, design)]
        rows.append((f"{times} ×", str(builds), *cells))
    columns = [f"{score}: {what}" for score in errors for what in ("SE", "builds", "recipes")]
    return TextTable(
        "",
        f"Recipes with builds by {kind}: {recipes}. SE: median standard error of a paired difference, points. Builds, "
        f"recipes: standard deviation between them at equal KLD that a test at 5 % finds with power {POWER:g}, were it "
        "the only one.",
        ("items", "builds a recipe", *columns),
        tuple(rows),
    )


def _seen_with(error: float, builds: int, design: Design) -> tuple[str, str, str]:
    """A score's error, and the standard deviations between builds and between recipes that are found, in points."""
    of_means = deviation_seen(error / math.sqrt(builds), design.between)
    return tuple(printed(v, percent=True) for v in (error, deviation_seen(error, design.within), of_means))
