"""The second score: each quant's probability of the right choice beside the reference's, with what scale explains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import quants_of
from qkld.statistics.flips.decision import UNDECIDED, decisions, holm_of_both, with_smallest
from qkld.statistics.flips.direction import task_groups
from qkld.statistics.flips.one_item import item_weight, largest_change
from qkld.statistics.items.answers import clusters_by_task
from qkld.statistics.items.covariance import Floats
from qkld.statistics.items.paired_means import Clusters, Moved, PairedMeans, paired_means, volume_and_direction
from qkld.statistics.items.probability import PROBABILITY, SCORES, Score, probability_differences
from qkld.statistics.items.scores import correct_matrix
from qkld.statistics.items.temperature import ROUNDING, Choices, Explained, Tasks, choices_of, explained_by_scale
from qkld.study.registry import registered

SCALE_ALONE = "scale; no choice changed"
"""What a difference is read as that one temperature makes."""

NO_SCORES = "no log-probabilities of the choices: what a temperature explains is not known"

OF_SCALE = ("scale", "by_scale", "by_scale_se", "rest", "rest_se", "choices_changed", "reading")
"""Columns that are of what one temperature explains."""


def decision_sentence(decision: str, by_accuracy: str, primary: Score) -> str:
    """What both scores decide of a quant where they differ, and whose error rate is meant; empty where they agree."""
    if decision == by_accuracy:
        return ""
    which = "accuracy" if primary == "accuracy" else "the probability of the right choice"
    both = f"{by_accuracy} by accuracy, {decision} by the probability of the right choice"
    return f"{both}; the error rate is that of {which}, the primary score"


def probability_table(
    items: pd.DataFrame,
    cohort: pd.DataFrame,
    *,
    reference: str,
    benchmarks: Sequence[str],
    tasks: Sequence[str],
    margin: float,
    confidence: float,
) -> pd.DataFrame:
    """Each quant's mean probability of the right choice against the reference's: each benchmark, and ``tasks``' mean.

    The error rate is that of this score alone: a study that looks at accuracy as well names beforehand which of the two
    decides.

    Parameters
    ----------
    items : schema ``items``, with ``probability_right``; with ``choice_scores`` also what scale explains
    cohort : schema ``cohort``
    margin : difference of mean probabilities that does not matter, a fraction of 1
    confidence : of the family of quants, after Holm's method

    Returns
    -------
    DataFrame
        ``net`` with its standard error and t interval; ``mean_change``, the mean absolute change of an item, and
        ``direction``, the share of it that points one way, −1 to 1; p, decision and items needed as of
        `qkld.statistics.flips.decision.decision_table`; ``by_scale``, the part of net that one refitted ``scale`` of
        the reference's log-probabilities explains, and ``rest``; ``choices_changed``; ``reading``, see `reading_of`.

    Raises
    ------
    StatisticsError
        If a model lacks items or probabilities, or there is no quant.
    """
    labels = _labels(cohort)
    everything = list(dict.fromkeys([*benchmarks, *tasks]))
    means = {task: float(correct_matrix(items, task, PROBABILITY)[reference].mean()) for task in everything}
    moved, clusters = _moved(items, everything, reference, labels)
    choices = task_choices(items, everything, [reference, *labels])
    tables = []
    for benchmark, parts in task_groups(benchmarks, tasks).items():
        here = {task: moved[task] for task in parts}
        own = float(np.mean([means[task] for task in parts]))
        found = _judged(here, clusters, margin, 1 - confidence)
        known = {task: choices[task] for task in parts}
        scales = pd.DataFrame(_scale_rows(known, reference, labels, clusters, 1 - confidence))
        key = {"label": labels, "benchmark": benchmark, "items": sum(map(len, here.values()))}
        numbers = pd.DataFrame({**key, "reference_score": own, "score": own + found["net"], **found})
        tables.append(pd.concat([numbers, scales], axis=1))
    return pd.concat(tables, ignore_index=True)


def decision_table(
    items: pd.DataFrame,
    cohort: pd.DataFrame,
    flips: pd.DataFrame,
    *,
    reference: str,
    benchmarks: Sequence[str],
    tasks: Sequence[str],
    margin: float,
    confidence: float,
    size: str = "bits_per_weight",
) -> pd.DataFrame:
    """`qkld.statistics.flips.decision.decision_table` by mean probabilities of the right choice and Student's t.

    Parameters
    ----------
    flips : the quants' table of flips, whose ``flip_rate`` stands beside each decision
    margin : difference of mean probabilities that does not matter, a fraction of 1

    Raises
    ------
    StatisticsError
        If a model lacks items or probabilities, or there is no quant.
    """
    labels = _labels(cohort)
    moved, clusters = _moved(items, list(dict.fromkeys([*benchmarks, *tasks])), reference, labels)
    rates = flips.set_index(["benchmark", "label"])["flip_rate"]
    quants = quants_of(cohort)
    sizes = quants[size].to_numpy(dtype=float) if size in quants else np.full(len(labels), np.nan)
    tables = []
    for benchmark, parts in task_groups(benchmarks, tasks).items():
        here = {task: moved[task] for task in parts}
        key = {"label": labels, "benchmark": benchmark, "items": sum(map(len, here.values())), "size": sizes}
        known = {
            **key,
            "flip_rate": rates[benchmark][labels].to_numpy(),
            **_judged(here, clusters, margin, 1 - confidence),
        }
        tables.append(with_smallest(pd.DataFrame({**known, **_of_units(here, clusters)})))
    return pd.concat(tables, ignore_index=True)[list(registered("decision").columns)]


def _of_units(moved: Moved, clusters: Clusters) -> dict[str, Any]:
    """What clusters widen, what one item weighs, and what of each quant's difference one item makes."""
    alone, together = paired_means(moved).error, paired_means(moved, clusters).error
    effect = np.divide(together**2, alone**2, out=np.ones_like(alone), where=alone > 0)
    part = largest_change(moved, clusters)
    return {
        "design_effect": np.maximum(effect, 1.0),
        "item_weight": item_weight(moved, clusters),
        "one_item": part.share,
        "note": part.notes(),
    }


def _labels(cohort: pd.DataFrame) -> list[str]:
    labels = list(quants_of(cohort)["label"])
    if not labels:
        raise StatisticsError(
            "There is no quant to decide on.", expected="at least 1 quant", found="none", do="add quants"
        )
    return labels


def _moved(
    items: pd.DataFrame, tasks: Sequence[str], reference: str, labels: Sequence[str]
) -> tuple[dict[str, Floats], Clusters]:
    """Each task's differences of probabilities, and what its items are drawn with."""
    matrices = {task: correct_matrix(items, task, PROBABILITY) for task in tasks}
    moved = {task: probability_differences(matrix, reference, labels) for task, matrix in matrices.items()}
    return moved, clusters_by_task(items, list(tasks))


def _judged(moved: Moved, clusters: Clusters, margin: float, level: float) -> dict[str, Any]:
    found = paired_means(moved, clusters)
    volume, direction = volume_and_direction(moved, clusters)
    (low, high), (inner_low, inner_high) = found.interval(1 - level), found.interval(1 - 2 * level)
    p = found.difference_p(), found.equivalence_p(margin)
    adjusted = holm_of_both(*p)
    decided = decisions(found.net, *adjusted, level)
    needed = found.items_to_decide(sum(map(len, moved.values())), margin, level / len(found.net))
    return {
        "net": found.net,
        "net_se": found.error,
        "net_low": low,
        "net_high": high,
        "equivalence_low": inner_low,
        "equivalence_high": inner_high,
        "mean_change": volume.net,
        "mean_change_se": volume.error,
        "direction": direction.net,
        "direction_se": np.where(np.isfinite(direction.net), direction.error, np.nan),
        "margin": margin,
        "p_difference": p[0],
        "p_difference_holm": adjusted[0],
        "p_equivalent": p[1],
        "p_equivalent_holm": adjusted[1],
        "decision": decided,
        "decision_alone": decisions(found.net, *p, level),
        "items_needed": np.where(decided == UNDECIDED, needed, np.nan),
    }


# --- what scale explains ----------------------------------------------------------------------------------------------


ChoicesOfModels = Mapping[str, Choices]
"""Label → its choices on a task's items."""


def task_choices(items: pd.DataFrame, tasks: Sequence[str], labels: Sequence[str]) -> dict[str, ChoicesOfModels | None]:
    """The choices of each task, items by their name; None for a task of which some items have no scores of choices."""
    found: dict[str, ChoicesOfModels | None] = {}
    for task in tasks:
        scores = correct_matrix(items, task, SCORES)[list(labels)] if SCORES in items else None
        if scores is None or scores.isna().any(axis=None):
            found[task] = None
            continue
        probabilities = correct_matrix(items, task, PROBABILITY)
        right = _right_choices(items, task, scores, probabilities)
        found[task] = {label: choices_of(scores[label].tolist(), right) for label in labels}
    return found


def _right_choices(items: pd.DataFrame, task: str, scores: pd.DataFrame, probabilities: pd.DataFrame) -> np.ndarray:
    """The right choice of each item: as named, else the one that has the right choice's probability in all models."""
    if "right" in items:
        return correct_matrix(items, task, "right").iloc[:, 0].to_numpy(dtype=int)
    unknown = np.zeros(len(scores))
    off = [
        np.abs(
            np.exp(choices_of(scores[label].tolist(), unknown).log_probabilities(1.0))
            - probabilities[[label]].to_numpy()
        )
        for label in scores
    ]
    return np.sum(off, axis=0).argmin(axis=1)


def _scale_rows(
    choices: Mapping[str, ChoicesOfModels | None],
    reference: str,
    labels: Sequence[str],
    clusters: Clusters,
    level: float,
) -> list[dict[str, Any]]:
    """What is known of each quant's scale, or a note why nothing is."""
    if any(own is None for own in choices.values()):
        return [_unknown(NO_SCORES)] * len(labels)
    own: Tasks = {task: of[reference] for task, of in choices.items()}
    rows = []
    for label in labels:
        try:
            found = explained_by_scale(own, {task: of[label] for task, of in choices.items()}, clusters)
        except StatisticsError as error:
            rows.append(_unknown(error.problem))
            continue
        rows.append(
            {
                "scale": found.scale,
                **_part("by_scale", found.by_scale),
                **_part("rest", found.rest),
                "choices_changed": found.changed,
                "reading": reading_of(found, level),
                "note": "",
            }
        )
    return rows


def _unknown(note: str) -> dict[str, Any]:
    """Nothing of the scale, and why."""
    empty = registered("probability").empty()
    return {**{column: empty[column] for column in OF_SCALE}, "note": note}


def _part(name: str, found: PairedMeans) -> dict[str, float]:
    return {name: float(found.net[0]), f"{name}_se": float(found.error[0])}


def reading_of(found: Explained, level: float) -> str:
    """What a quant's difference is, in words, each part tested at two-sided ``level``; empty where neither stands out.

    "scale; no choice changed" where the part of scale stands out, the rest does not and every choice is the
    reference's; "flatter" or "sharper" where choices changed but the rest does not stand out; "choices" where the rest
    alone does; both words where both do.
    """
    by_scale, rest = _stands_out(found.by_scale, level), _stands_out(found.rest, level)
    if by_scale and not rest and not found.changed:
        return SCALE_ALONE
    words = ["flatter" if found.scale < 1 else "sharper"] if by_scale else []
    return " and ".join([*words, *(["choices"] if rest else [])])


def _stands_out(part: PairedMeans, level: float) -> bool:
    return bool(abs(part.net[0]) > ROUNDING and part.difference_p()[0] <= level)
