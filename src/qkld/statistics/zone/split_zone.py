"""The zone chosen on one half of the items and judged on the other.

A zone that the scores choose keeps quants that were lucky on these items, so that ρ inside shrinks by construction.
Items that did not choose do not share that luck: what is left is the restricted range, as with a cut of KLD.

Operations for S splits, N items and n quants: S·N to halve the items, 6·S·N·n in single precision to count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import LEAST_QUANTS, checked_kld, noted
from qkld.statistics.core.correlations_of_resamples import correlations_of_counts
from qkld.statistics.flips.design_effect import Widening, design_effects
from qkld.statistics.items.answers import checked_answers, item_units
from qkld.statistics.items.score_differences import equivalence_p
from qkld.statistics.zone.break_point import break_cuts
from qkld.statistics.zone.zone import EQUIVALENCE_LEVEL, Rule
from qkld.study.registry import registered

LEAST_DEFINED = 0.5
"""Share of the splits that must have a ρ for their median to be given."""


@dataclass(frozen=True)
class Half:
    """One half of every task's items in each split: counts of each quant, all of shape (splits, quants, tasks).

    ``wider`` is what clusters of all items do to each quant's net score, (quants,).
    """

    leapfrogs: np.ndarray
    drops: np.ndarray
    items: np.ndarray
    right: np.ndarray
    wider: Widening

    @property
    def net(self) -> np.ndarray:
        """Score less the reference's, the tasks averaged, (splits, quants)."""
        return ((self.leapfrogs - self.drops) / self.items).mean(axis=-1)

    @property
    def scores(self) -> np.ndarray:
        """The tasks' mean score, (splits, quants)."""
        return np.round((self.right / self.items).mean(axis=-1), 12)


def split_halves(
    correct: Mapping[str, ArrayLike],
    reference: Mapping[str, ArrayLike],
    *,
    splits: int,
    rng: np.random.Generator,
    clusters: Mapping[str, ArrayLike] | None = None,
) -> tuple[Half, Half]:
    """Random halves of every task's items, as counts; an odd item goes to the second half.

    Parameters
    ----------
    correct : mapping of task to array, shape (quants, items)
        Right (1) or wrong (0); the order of items changes nothing.
    reference : mapping of task to array, shape (items,)
        The reference's answers to the same items.
    clusters : mapping of task to labels, shape (items,), optional
        Items of one passage or subject, which stay together.

    Raises
    ------
    StatisticsError
        If answers are not 0 and 1, shapes differ, or a task has fewer than two items or clusters.
    """
    halves: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    moved: dict[str, np.ndarray] = {}
    for task, matrix in correct.items():
        answers = checked_answers(matrix, len(matrix), task)
        known = checked_answers(np.atleast_2d(np.asarray(reference[task])), 1, task)
        features = np.vstack([answers, answers & ~known, ~answers & known])
        moved[task] = answers.T.astype(np.int8) - known.T
        sums, sizes = item_units(features, None if clusters is None else clusters.get(task), task)
        first = _random_halves(len(sizes), splits, rng).astype(sums.dtype)
        counts = np.column_stack([sums, sizes])
        drawn = (first @ counts).astype(float)
        halves[0].append(drawn)
        halves[1].append(counts.sum(axis=0, dtype=float) - drawn)
    named = None if clusters is None else {t: np.asarray(clusters.get(t, np.arange(len(d)))) for t, d in moved.items()}
    wider = design_effects(moved, named)
    return _half(halves[0], wider), _half(halves[1], wider)


def _random_halves(units: int, splits: int, rng: np.random.Generator) -> np.ndarray:
    """Which units are in the first half, bool (splits, units): exactly half of them, rounded down."""
    places = rng.permuted(np.tile(np.arange(units, dtype=np.int32), (splits, 1)), axis=1)
    return places < units // 2


def _half(counts: list[np.ndarray], wider: Widening) -> Half:
    """Counts of each task, (splits, 3 · quants + 1), in their parts."""
    stacked = np.stack(counts, axis=-1)
    right, up, down = np.split(stacked[:, :-1], 3, axis=1)
    return Half(up, down, np.broadcast_to(stacked[:, -1:], right.shape), right, wider)


def chosen(half: Half, kld: np.ndarray, *, rule: Rule, cut: float | None) -> np.ndarray:
    """Which quants each split's half puts into the zone by the rule of `zone.zone_members`: bool (splits, quants)."""
    if rule == "kld_cut":
        return np.broadcast_to(kld <= cut, half.net.shape)
    if rule == "score_margin":
        return half.net >= -cut
    if rule == "equivalence":
        return equivalence_p(half.leapfrogs, half.drops, half.items, cut, *half.wider) < EQUIVALENCE_LEVEL
    above = kld > 0
    return kld <= break_cuts(kld[above], half.scores[:, above])[:, None]


@dataclass(frozen=True)
class SplitZone:
    """ρ of KLD with the score inside the zone over random splits of the items.

    ``estimate`` with ``split_low`` and ``split_high`` (median, 2.5 and 97.5 % of splits, no confidence interval) is on
    items that did not choose; ``same_half`` is the median on those that did, and ``selection_effect`` the median of the
    difference, same half less other half. Zone sizes are over all splits; ``undefined_splits`` had too few quants or
    equal scores.
    """

    splits: int
    undefined_splits: int
    n_low: int
    n_median: float
    n_high: int
    estimate: float
    split_low: float
    split_high: float
    same_half: float
    selection_effect: float


def split_zone(
    halves: tuple[Half, Half], kld: ArrayLike, *, rule: Rule, cut: float | None, least: int = LEAST_QUANTS
) -> SplitZone:
    """Choose the zone on the first half of each split and correlate KLD (quants,) with the other half's score in it.

    Raises
    ------
    StatisticsError
        If fewer than `LEAST_DEFINED` of the splits have ``least`` quants with different scores in their zone; and as
        `checked_kld`.
    """
    kld = _one_a_quant(kld, halves[0].net.shape[1])
    members = chosen(halves[0], kld, rule=rule, cut=cut)
    sizes = members.sum(axis=1)
    same, other = (_inside(members, kld, half.scores, least) for half in halves)
    known = ~np.isnan(same) & ~np.isnan(other)
    if known.mean() < LEAST_DEFINED:
        raise StatisticsError(
            "The zone is too small in most splits of the items.",
            expected=f"at least {least} quants with different scores in {LEAST_DEFINED:.0%} of splits",
            found=f"{known.mean():.0%} of {len(known)}; quants in the zone {sizes.min()} to {sizes.max()}",
            do="use a wider rule, more items or more quants",
        )
    low, median, high = np.quantile(other[known], [0.025, 0.5, 0.975])
    return SplitZone(
        splits=len(known),
        undefined_splits=int((~known).sum()),
        n_low=int(sizes.min()),
        n_median=float(np.median(sizes)),
        n_high=int(sizes.max()),
        estimate=float(median),
        split_low=float(low),
        split_high=float(high),
        same_half=float(np.median(same[known])),
        selection_effect=float(np.median(same[known] - other[known])),
    )


def _one_a_quant(kld: ArrayLike, quants: int) -> np.ndarray:
    values = checked_kld(kld)
    if values.shape != (quants,) or np.isnan(values).any():
        raise StatisticsError(
            "KLD and answers belong to different quants.",
            expected=f"one KLD for each of {quants} quants, in the order of the answers",
            found=f"shape {values.shape}, {int(np.isnan(values).sum())} missing",
            do="give KLD and answers of the same quants",
        )
    return values


def _inside(members: np.ndarray, kld: np.ndarray, scores: np.ndarray, least: int) -> np.ndarray:
    """Spearman's ρ among each split's members, (splits,); NaN where there are too few or one column is constant."""
    rho = np.full(len(members), np.nan)
    enough = members.sum(axis=1) >= least
    if enough.any():
        rho[enough] = correlations_of_counts(members[enough].astype(float), kld, scores[enough], "spearman")
    return rho


def split_table(
    halves: tuple[Half, Half],
    kld: ArrayLike,
    rules: Mapping[Rule, float | None],
    *,
    least: int = LEAST_QUANTS,
    metric: str = "kl_mean",
    benchmark: str = "composite",
) -> pd.DataFrame:
    """`split_zone` by each rule, one row a rule: ``rule``, ``cut``, ``metric``, ``benchmark``, `SplitZone`'s, ``note``.

    A half has half the items, which alone weakens ρ: compare with the row of ``kld_cut``, where nothing is chosen.
    """
    rows = []
    for rule, cut in rules.items():
        found = noted(lambda r=rule, c=cut: vars(split_zone(halves, kld, rule=r, cut=c, least=least)), {})
        key = {"rule": rule, "cut": np.nan if cut is None else cut, "metric": metric, "benchmark": benchmark}
        rows.append({**key, **found})
    return registered("zone_split").frame(rows)
