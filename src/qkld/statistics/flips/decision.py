"""What a deployer asks: which quants are as good as the reference, which are worse, and which of two is the better.

Many quants are looked at and one is picked, so p-values are adjusted by Holm's method over the quants of a benchmark,
both of a quant's tests together, or over its pairs: with the confidence given, none of them is called wrongly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import joined, quants_of
from qkld.statistics.flips.design_effect import Widening, design_effects, pair_design_effects
from qkld.statistics.flips.direction import differences, flip_counts, part_of, quantity_values, task_groups
from qkld.statistics.flips.one_item import Clusters, LargestPart, item_weight, largest_part
from qkld.statistics.items.answers import answers_by_task, clusters_by_task
from qkld.statistics.items.sample_size import items_for_equivalence, items_for_score
from qkld.statistics.items.score_differences import difference_interval, difference_p, equivalence_p, score_z

EQUIVALENT, WORSE, BETTER, UNDECIDED = "equivalent", "worse", "better", "undecided"
DECISIONS = (EQUIVALENT, WORSE, BETTER, UNDECIDED)
ORDERS = ("not ordered", "a above b", "b above a")


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's (1979) adjusted p-values, same shape.

    statsmodels' ``multipletests`` gives the same and collects the whole process's garbage at each call.
    """
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(np.arange(len(p), 0, -1) * p[order])
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def holm_of_both(p_difference: np.ndarray, p_equivalent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both tests' p-values of each quant (quants,), adjusted so that one error rate holds for all of them together.

    Holm's method as Shaffer (1986, J Am Stat Assoc 81:826) sharpens it: "no difference" and "a difference of the margin
    or more" cannot both be true of a quant, so a step counts the quants of which one of the two is still open, and not
    the tests. The first step is as strict as for one family of tests.
    """
    both = np.concatenate([p_difference, p_equivalent])
    order, quants = np.argsort(both, kind="stable"), len(p_difference)
    adjusted, largest, still = np.empty(len(both)), 0.0, np.full(quants, 2)
    for test in order:
        largest = max(largest, float(both[test]) * int((still > 0).sum()))
        adjusted[test] = min(largest, 1.0)
        still[test % quants] -= 1
    return adjusted[:quants], adjusted[quants:]


def decisions(net: np.ndarray, p_difference: np.ndarray, p_equivalent: np.ndarray, level: float) -> np.ndarray:
    """One decision a quant: `EQUIVALENT` within the margin, else `WORSE` or `BETTER`, or `UNDECIDED`.

    A quant that is below the reference and shown to be so by less than the margin is equivalent.
    """
    sure = p_difference <= level
    return np.select(
        [p_equivalent <= level, sure & (net < 0), sure & (net > 0)], [EQUIVALENT, WORSE, BETTER], UNDECIDED
    )


def decision_table(
    items: pd.DataFrame,
    cohort: pd.DataFrame,
    *,
    reference: str,
    benchmarks: Sequence[str],
    tasks: Sequence[str],
    margin: float,
    confidence: float,
    size: str = "bits_per_weight",
) -> pd.DataFrame:
    """Each quant against the reference, on each benchmark and the composite of ``tasks``, by falling size.

    Items count as drawn one by one; where they name a ``cluster``, tests and intervals are widened by the
    ``design_effect`` of the clusters on the net, and know from how few clusters it comes.

    Parameters
    ----------
    items : schema ``items``; cohort : schema ``cohort``
    margin : difference of scores that does not matter, a fraction of 1, to be chosen before scores are seen
    confidence : of the family of quants; 0.95 tests each at 5 % after Holm
    size : column of the cohort by which the smallest is the smallest; a quant without it is never that one

    Returns
    -------
    DataFrame
        ``net`` with its interval, the interval of confidence 2 · ``confidence`` − 1 that equivalence rests on, p of
        "no difference" and of "a difference of the margin or more" (Tango's score test), also after `holm_of_both`,
        ``decision`` after Holm, ``decision_alone`` for a quant that was the only one asked about, the items that would
        decide an undecided one with power .8 were the difference seen the true one, and ``smallest``. ``item_weight``
        is the most that one item weighs in the score and ``one_item`` the share of the difference that one makes (see
        `qkld.statistics.flips.one_item`); ``note`` says where that is more than half, and where the decision rests on
        it.
    """
    quants = quants_of(cohort)
    if quants.empty:
        raise StatisticsError(
            "There is no quant to decide on.", expected="at least 1 quant", found="none", do="add quants"
        )
    sizes = quants[size].to_numpy(dtype=float) if size in quants else np.full(len(quants), np.nan)
    everything = list(dict.fromkeys([*benchmarks, *tasks]))
    answers = differences(items, reference=reference, tasks=everything, labels=list(quants["label"]))
    clusters = clusters_by_task(items, everything)
    tables = []
    for benchmark, parts in task_groups(benchmarks, tasks).items():
        moved = part_of(answers, parts, slice(None))
        how = {"wider": design_effects(moved, clusters), "margin": margin, "level": 1 - confidence}
        found = _judged(flip_counts(moved), **how)
        rates = {c: quantity_values(moved, c) for c in ("flip_rate", "net")}
        key = {"label": quants["label"], "benchmark": benchmark, "size": sizes, **rates}
        weighed = {"item_weight": item_weight(moved, clusters), **_one_item(moved, clusters, found, how)}
        tables.append(with_smallest(pd.DataFrame({**key, **found, **weighed})))
    return pd.concat(tables, ignore_index=True)


Counts = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Leapfrogs and drops (quants or pairs, tasks), and items (tasks,)."""


def _judged(counts: Counts, wider: Widening, margin: float, level: float) -> dict[str, Any]:
    up, down, total = counts
    low, high = difference_interval(*counts, 1 - level, *wider)
    inner_low, inner_high = difference_interval(*counts, 1 - 2 * level, *wider)
    net = ((up - down) / total).mean(axis=-1)
    p_difference, p_equivalent = difference_p(*counts, *wider), equivalence_p(*counts, margin, *wider)
    adjusted = holm_of_both(p_difference, p_equivalent)
    decided = decisions(net, *adjusted, level)
    needed = _items_to_decide(counts, wider, margin, level / len(net))
    return {
        "items": int(total.sum()),
        "design_effect": wider.effect,
        "net_low": low,
        "net_high": high,
        "equivalence_low": inner_low,
        "equivalence_high": inner_high,
        "margin": margin,
        "p_difference": p_difference,
        "p_difference_holm": adjusted[0],
        "p_equivalent": p_equivalent,
        "p_equivalent_holm": adjusted[1],
        "decision": decided,
        "decision_alone": decisions(net, p_difference, p_equivalent, level),
        "items_needed": np.where(decided == UNDECIDED, needed, np.nan),
    }


def _one_item(
    moved: Mapping[str, np.ndarray], clusters: Clusters, found: Mapping[str, Any], how: Mapping[str, Any]
) -> dict[str, Any]:
    """What one item makes of each quant's difference, and a note where much, or the decision, rests on it."""
    part = largest_part(moved, clusters)
    without = _decided_without(part, flip_counts(moved), (found["p_difference"], found["p_equivalent"]), **how)
    rests = [
        f"{now} rests on one {part.unit}: {then} without it" if now != UNDECIDED and then != now else ""
        for now, then in zip(found["decision"], without, strict=True)
    ]
    return {"one_item": part.share, "note": [joined(*both) for both in zip(part.notes(), rests, strict=True)]}


def _decided_without(
    part: LargestPart,
    counts: Counts,
    p: tuple[np.ndarray, np.ndarray],
    *,
    wider: Widening,
    margin: float,
    level: float,
) -> list[str]:
    """Each quant's decision had the one item answered as the reference does, the other quants as they are."""
    up, down, total = counts
    fewer = up - part.leapfrogs, down - part.drops, total
    own = difference_p(*fewer, *wider), equivalence_p(*fewer, margin, *wider)
    found = []
    for quant in range(len(part.net)):
        here = np.arange(len(part.net)) == quant
        adjusted = holm_of_both(*(np.where(here, new, old) for new, old in zip(own, p, strict=True)))
        found.append(str(decisions(part.net - part.part, *adjusted, level)[quant]))
    return found


def _items_to_decide(counts: Counts, wider: Widening, margin: float, level: float) -> np.ndarray:
    """Items for equivalence or for a difference, whichever comes first, at Holm's strictest ``level``.

    So it is more than the items that did not decide.
    """
    items = counts[2].sum(axis=-1)
    inside = score_z(*counts, -margin, *wider), -score_z(*counts, margin, *wider)
    apart = np.abs(score_z(*counts, 0.0, *wider))
    return np.fmin(items_for_equivalence(*inside, items, level=level), items_for_score(apart, items, level=level / 2))


def with_smallest(table: pd.DataFrame) -> pd.DataFrame:
    """The table by falling size with the smallest of the equivalent quants marked; of equal sizes all."""
    of_these = table.loc[table["decision"] == EQUIVALENT, "size"]
    table["smallest"] = (table["decision"] == EQUIVALENT) & (table["size"] == of_these.min())
    order = ["label", "benchmark", "items", "design_effect", "size", "flip_rate", "net"]
    rest = [c for c in table.columns if c not in order]
    return table[[*order, *rest]].sort_values("size", ascending=False, kind="stable", na_position="first")


def pair_table(
    items: pd.DataFrame,
    cohort: pd.DataFrame,
    *,
    tasks: Sequence[str],
    confidence: float,
    metric: str = "kl_mean",
) -> pd.DataFrame:
    """Every two quants on the mean of ``tasks``: which one is the better, where these items can tell.

    Items count as drawn one by one, or by ``cluster`` where they name one; see `decision_table`.

    ``difference`` is score of a − score of b with Tango's interval; ``order`` is after Holm over all pairs;
    ``metric_right`` is 1 where the better one has the lower ``metric``, 0 where the higher, NaN where the pair is not
    ordered or the metric is equal; ``items_needed`` would order a pair that is not with power .8, were the difference
    seen the true one.

    Raises
    ------
    StatisticsError
        With fewer than two quants, or no task; or as `answers_by_task`.
    """
    quants = quants_of(cohort)
    labels = list(quants["label"])
    if len(labels) < 2 or not tasks:
        raise StatisticsError(
            "There are no quants to order.",
            expected="at least 2 quants and 1 benchmark",
            found=f"{len(labels)} quants, {len(tasks)} benchmarks",
            do="add quants, or a benchmark",
        )
    a, b = np.array(list(combinations(range(len(labels)), 2))).T
    right = {task: answers.T.astype(float) for task, answers in answers_by_task(items, tasks, labels).items()}
    wider = pair_design_effects(right, clusters_by_task(items, tasks), a, b)
    kld = quants[metric].to_numpy(dtype=float)
    columns = _ordered(_pair_counts(right, a, b), wider, kld[b] - kld[a], confidence)
    names = np.array(labels, dtype=object)
    key = {"benchmark": tasks[0] if len(tasks) == 1 else "composite", "label_a": names[a], "label_b": names[b]}
    return pd.DataFrame({**key, **columns})


def _pair_counts(right: Mapping[str, np.ndarray], a: np.ndarray, b: np.ndarray) -> Counts:
    """Items that a alone, and b alone, has right, both (pairs, tasks), and items of each task."""
    wins = np.stack([answers.T @ (1 - answers) for answers in right.values()], axis=-1)
    return wins[a, b], wins[b, a], np.array([len(answers) for answers in right.values()])


def _ordered(counts: Counts, wider: Widening, kld_gap: np.ndarray, confidence: float) -> dict:
    up, down, total = counts
    difference = ((up - down) / total).mean(axis=-1)
    low, high = difference_interval(*counts, confidence, *wider)
    p = difference_p(*counts, *wider)
    adjusted = holm(p)
    order = np.where(adjusted <= 1 - confidence, np.sign(difference), 0).astype(int)
    tells = (order != 0) & (kld_gap != 0) & np.isfinite(kld_gap)
    apart = np.abs(score_z(*counts, 0.0, *wider))
    needed = items_for_score(apart, total.sum(), level=(1 - confidence) / len(p) / 2)
    return {
        "items": int(total.sum()),
        "design_effect": wider.effect,
        "flip_rate": ((up + down) / total).mean(axis=-1),
        "difference": difference,
        "low": low,
        "high": high,
        "p": p,
        "p_holm": adjusted,
        "order": np.array([ORDERS[o] for o in order], dtype=object),
        "metric_right": np.where(tells, np.sign(kld_gap) == order, np.nan),
        "items_needed": np.where(order == 0, needed, np.nan),
    }


def pair_counts(pairs: pd.DataFrame) -> dict[str, int]:
    """How many pairs there are, are ordered, and are ordered as the metric would: ``pairs, ordered, metric_right``."""
    return {
        "pairs": len(pairs),
        "ordered": int((pairs["order"] != ORDERS[0]).sum()),
        "metric_right": int((pairs["metric_right"] == 1).sum()),
    }
