"""The zone's edge against the number of items: does more data move it, and how fast?

The edge is the KLD at which half of the quants are told from the reference. Where net scores are a smooth loss plus
item noise it shrinks as KLD* ∝ N^(−2/3); where they are drift whose size alone follows KLD, as N^(−2). So subsets of
the items at hand already show which of the two the study looks like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import optimize

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import noted, quants_of
from qkld.statistics.items.covariance import item_clusters, net_differences
from qkld.statistics.items.scores import correct_matrix
from qkld.statistics.items.units import Floats, unit_sums
from qkld.statistics.noise.heterogeneity import known_kld
from qkld.statistics.noise.reliability import spearman_brown

CRITICAL_Z = 1.959963984540054
"""|z| beyond which a quant is told from the reference, two-sided 5 %."""

LEAST_ITEMS = 50
"""Items on each benchmark below which no subset is drawn."""

LEAST_POINTS = 3
"""Edges that a slope needs."""


@dataclass(frozen=True)
class Answers:
    """One benchmark's differences from the reference, summed in each unit (item or cluster): ``sums`` (units, quants)
    and the items in each, ``counts`` (units,)."""

    sums: Floats
    counts: Floats

    @property
    def items(self) -> int:
        return int(self.counts.sum())

    @property
    def net(self) -> Floats:
        return self.sums.sum(axis=0) / self.items

    def of(self, units: np.ndarray) -> Answers:
        """The same for some of the units."""
        return Answers(self.sums[units], self.counts[units])


@dataclass(frozen=True)
class Subset:
    """What subsets of one size show: share of draws that tell each quant from the reference, and the reliability."""

    items: int
    draws: int
    rejected: Floats
    reliability: float


def answers_of(
    items: pd.DataFrame, *, reference: str, quants: Sequence[str], benchmarks: Sequence[str]
) -> list[Answers]:
    """The benchmarks of a composite, ready for `subsets`; clustered where ``items`` has a column ``cluster``."""
    result = []
    for benchmark in benchmarks:
        matrix = correct_matrix(items, benchmark)
        clusters = item_clusters(items, benchmark, matrix.index)
        differences = net_differences(matrix, reference, quants)
        counts = unit_sums(np.ones((len(differences), 1)), clusters)[:, 0]
        result.append(Answers(unit_sums(differences, clusters), counts))
    return result


def told_apart(parts: Sequence[Answers]) -> np.ndarray:
    """Which quants differ from the reference by |z| > `CRITICAL_Z`, on the unweighted mean over benchmarks.

    z = Σ_b net_b ÷ √(Σ_b s_b²/N_b²) with s² the sum of squares under equality: for single items of one benchmark
    McNemar's signed root (L − D)/√(L + D). A quant that answers every item as the reference does is not told apart.
    """
    net = sum(p.net for p in parts)
    error = np.sqrt(sum((p.sums**2).sum(axis=0) / p.items**2 for p in parts))
    return np.abs(net) > CRITICAL_Z * error


def answers_reliability(parts: Sequence[Answers]) -> float:
    """Reliability 1 − tr(CV)/d'Cd of the mean over benchmarks, as `reliability` has it; NaN where it is constant."""
    net = sum(p.net for p in parts)
    noise = 0.0
    for part in parts:
        deviations = part.sums - part.counts[:, None] * part.net
        between = deviations - deviations.mean(axis=1, keepdims=True)
        units = len(part.counts)
        noise += float((between**2).sum()) * units / (units - 1) / part.items**2
    spread = float(((net - net.mean()) ** 2).sum())
    return 1 - noise / spread if spread > 0 else np.nan


def subset(answers: Sequence[Answers], share: float, draws: int, *, rng: np.random.Generator) -> Subset:
    """Random subsets of a ``share`` of each benchmark's units, drawn without replacement; all of them once at 1."""
    items, hits, alphas = [], [], []
    for _ in range(1 if share == 1 else draws):
        parts = [one if share == 1 else one.of(_drawn(len(one.counts), share, rng)) for one in answers]
        items.append(sum(p.items for p in parts))
        hits.append(told_apart(parts))
        alphas.append(answers_reliability(parts))
    known = [a for a in alphas if np.isfinite(a)]
    return Subset(
        items=round(float(np.mean(items))),
        draws=len(items),
        rejected=np.mean(hits, axis=0),
        reliability=float(np.mean(known)) if known else np.nan,
    )


def _drawn(units: int, share: float, rng: np.random.Generator) -> np.ndarray:
    return rng.choice(units, max(2, round(share * units)), replace=False, shuffle=False)


def edge(kld: ArrayLike, rejected: ArrayLike) -> float:
    """KLD at which half of the draws tell a quant from the reference: where a rising fit over ln KLD crosses ½.

    The fit is isotonic; between two quants it is linear in ln KLD. Quants with a KLD of 0 are left out.

    Raises
    ------
    StatisticsError
        If the fit crosses ½ nowhere between the smallest and the largest KLD.
    """
    k, share = known_kld(kld), np.asarray(rejected, dtype=float)
    order = np.argsort(k[k > 0], kind="stable")
    log_k, share = np.log(k[k > 0][order]), share[k > 0][order]
    fit = optimize.isotonic_regression(share).x if share.size else share
    if not share.size or fit[0] >= 0.5 or fit[-1] < 0.5:
        where = "below the smallest" if share.size and fit[0] >= 0.5 else "above the largest"
        raise StatisticsError(
            "The zone has no edge among these quants.",
            expected="half of the draws telling a quant apart somewhere between the smallest and largest KLD",
            found=f"the edge lies {where} KLD of {share.size} quants above 0",
            do="add quants on that side",
        )
    above = int(np.argmax(fit >= 0.5))
    part = (0.5 - fit[above - 1]) / (fit[above] - fit[above - 1])
    return float(np.exp(log_k[above - 1] + part * (log_k[above] - log_k[above - 1])))


def log_slope(items: ArrayLike, edges: ArrayLike) -> float:
    """Least-squares slope of ln edge on ln items over the known edges: −2/3 to −.8 smooth loss, −1.2 and below drift.

    Raises
    ------
    StatisticsError
        With fewer than `LEAST_POINTS` known edges.
    """
    n, k = np.asarray(items, dtype=float), np.asarray(edges, dtype=float)
    known = np.isfinite(k)
    if known.sum() < LEAST_POINTS:
        raise StatisticsError(
            "Too few edges for a law.",
            expected=f"at least {LEAST_POINTS} numbers of items with an edge",
            found=f"{int(known.sum())}",
            do="use more items, or quants on both sides of the edge",
        )
    return float(np.polyfit(np.log(n[known]), np.log(k[known]), 1)[0])


def halvings(answers: Sequence[Answers]) -> list[float]:
    """Shares of the items that are tried: 1, ½, ¼, … as long as every benchmark keeps `LEAST_ITEMS`."""
    least = min(one.items for one in answers)
    return [0.5**j for j in range(max(1, 1 + int(np.log2(max(1.0, least / LEAST_ITEMS)))))]


def zone_edge_table(
    items: pd.DataFrame,
    cohort: pd.DataFrame,
    *,
    reference: str,
    tasks: Mapping[str, Sequence[str]],
    draws: int,
    rng: np.random.Generator,
    metric: str = "kl_mean",
) -> pd.DataFrame:
    """Edge and reliability for 1, ½, ¼, … of the items, one row a size; the whole cohort's quants, no zone.

    ``tasks``: name of a score → the benchmarks it is the mean of. ``edge_slope`` is that of ln edge on ln items over
    all rows of a score, ``edge_slope_low`` and ``edge_slope_high`` its range with one quant left out. Subsets of one
    set of items share them, so the rows are not independent.
    """
    quants = quants_of(cohort)
    kld = known_kld(quants[metric])
    needed = list(dict.fromkeys(b for benchmarks in tasks.values() for b in benchmarks))
    known = answers_of(items, reference=reference, quants=list(quants["label"]), benchmarks=needed)
    by_benchmark = dict(zip(needed, known, strict=True))
    rows = []
    for name, benchmarks in tasks.items():
        answers = [by_benchmark[b] for b in benchmarks]
        found = [subset(answers, share, draws, rng=rng) for share in halvings(answers)]
        rows += _edge_rows({"metric": metric, "benchmark": name, "n": len(quants)}, kld, found)
    return pd.DataFrame(rows)


def _edge_rows(key: dict, kld: Floats, found: Sequence[Subset]) -> list[dict]:
    law = noted(lambda: _law(kld, found), {"edge_slope": np.nan, "edge_slope_low": np.nan, "edge_slope_high": np.nan})
    rows = []
    for one in found:
        point = noted(lambda one=one: {"edge": edge(kld, one.rejected)}, {"edge": np.nan})
        notes = [n for n in (point["note"], law["note"]) if n]
        rows.append(
            {
                **key,
                "items": one.items,
                "draws": one.draws,
                "told_apart": float(one.rejected.mean()),
                "edge": point["edge"],
                "reliability": one.reliability,
                "expected_reliability": _expected(found[0], one),
                "edge_slope": law["edge_slope"],
                "edge_slope_low": law["edge_slope_low"],
                "edge_slope_high": law["edge_slope_high"],
                "note": " | ".join(dict.fromkeys(notes)),
            }
        )
    return rows


def _expected(whole: Subset, part: Subset) -> float:
    """Spearman–Brown from all items down to a subset's number; NaN where α of all items is not above 0."""
    return spearman_brown(whole.reliability, part.items / whole.items) if whole.reliability > 0 else np.nan


def _edge_or_nan(kld: Floats, rejected: Floats) -> float:
    try:
        return edge(kld, rejected)
    except StatisticsError:
        return np.nan


def _law(kld: Floats, found: Sequence[Subset]) -> dict[str, float]:
    """Slope of the edge's law, and its range with one quant left out, over those ways in which it still has one."""
    sizes = [one.items for one in found]
    slopes = []
    for left_out in (None, *range(kld.size)):
        kept = np.arange(kld.size) != left_out
        edges = [_edge_or_nan(kld[kept], one.rejected[kept]) for one in found]
        if left_out is None or np.isfinite(edges).sum() >= LEAST_POINTS:
            slopes.append(log_slope(sizes, edges))
    rest = slopes[1:] or [np.nan]
    return {"edge_slope": slopes[0], "edge_slope_low": float(np.min(rest)), "edge_slope_high": float(np.max(rest))}
