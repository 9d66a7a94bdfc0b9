"""Is KLD nearer to volume than to direction once both are measured equally well?

Volume is counted far more precisely than the net, so a larger ρ of KLD with volume alone shows nothing. Here flips are
thrown away at random until the volume that is left is as unreliable as the net; what its ρ loses was owed to precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import joined, noted, quants_of
from qkld.statistics.core.correlations_of_resamples import correlation, correlation_columns, correlations_of_counts
from qkld.statistics.core.intervals import bootstrap_ends, percentile_interval
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.flips.direction import (
    differences,
    equal_variance,
    part_of,
    quantity_values,
    reliability_of,
    task_groups,
)
from qkld.statistics.items.answers import clusters_by_task
from qkld.study.registry import registered

Clusters = Mapping[str, np.ndarray] | None

LEAST_DEFINED = 0.95
"""Share of the draws that must leave quants with different numbers of flips."""


def flips_kept(moved: Mapping[str, np.ndarray], clusters: Clusters = None) -> float:
    """Share π of flips to keep so that the flip rate is as reliable as the net; 1 where it is no more reliable.

    Keeping each flip with probability π adds (1 − π)/π · F to the variance of the rescaled flip rate, F the mean over
    quants of Σ_b volume_b/(B N_b)²; π makes true variance / all variance equal to the net's reliability.

    Raises
    ------
    StatisticsError
        If the net's reliability is not above 0: no thinning reaches it.
    """
    target, now = (reliability_of(moved, quantity, clusters) for quantity in ("net", "flip_rate"))
    if target <= 0:
        raise StatisticsError(
            "Volume cannot be thinned to the reliability of the net.",
            expected="a reliability of the net above 0",
            found=f"{target:.2f}: the quants' nets differ no more than chance makes them",
            do="use more items",
        )
    if now <= target:
        return 1.0
    spread = quantity_values(moved, "flip_rate").var(ddof=1)
    counting = equal_variance(moved).mean()
    return float(1 / (1 + (now / target - 1) * spread / counting))


def thinned_flip_rates(
    moved: Mapping[str, np.ndarray], kept: float, draws: int, *, rng: np.random.Generator
) -> np.ndarray:
    """Flip rates with each flip kept with probability ``kept``, not rescaled: shape (draws, quants)."""
    rates = [rng.binomial(np.abs(d).sum(axis=0), kept, (draws, d.shape[1])) / (len(d) * len(moved))
             for d in moved.values()]  # fmt: skip
    return np.sum(rates, axis=0)


def thinning_table(
    items: pd.DataFrame,
    cohort: pd.DataFrame,
    members: pd.Series,
    *,
    reference: str,
    benchmarks: Sequence[str],
    tasks: Sequence[str],
    resampling: Resampling,
    draws: int = 200,
    metric: str = "kl_mean",
) -> pd.DataFrame:
    """|ρ| of a fidelity metric with volume less that with the net, as measured and with volume thinned.

    One row a benchmark and subset: reliabilities, ρ of both, the difference of |ρ| with its paired bootstrap interval
    over quants, the share of flips ``kept``, how many of all quants' flips these are (``flips_left``), and the same
    with volume thinned in ``draws`` random ways (medians; the interval of ``rho_thinned`` is over ways of thinning,
    that of ``thinned_gap`` over quants too). Volume is the flip rate. What is not available is NaN; ``note`` says why.
    """
    quants, everything = quants_of(cohort.assign(_inside=members)), list(dict.fromkeys([*benchmarks, *tasks]))
    moved = differences(items, reference=reference, tasks=everything, labels=list(quants["label"]))
    clusters = clusters_by_task(items, everything)
    x, inside = quants[metric].to_numpy(dtype=float), quants["_inside"].to_numpy(dtype=bool)
    rows = []
    for benchmark, parts in task_groups(benchmarks, tasks).items():
        for subset, kept in (("full", np.ones(len(quants), dtype=bool)), ("zone", inside)):
            given = _Given(x[kept], part_of(moved, parts, kept), clusters)
            key = {"metric": metric, "benchmark": benchmark, "subset": subset, "n": int(kept.sum())}
            rows.append({**key, **_comparison(given, resampling, draws)})
    return registered("thinning").frame(rows)


@dataclass(frozen=True)
class _Given:
    """The metric of the quants (quants,), their flips, and the clusters of the items where there are any."""

    x: np.ndarray
    moved: Mapping[str, np.ndarray]
    clusters: Clusters


def _comparison(given: _Given, resampling: Resampling, draws: int) -> dict[str, Any]:
    row: dict[str, Any] = {"note": ""}
    for step in (_measured, _thinned):
        found = noted(lambda step=step: step(given, resampling, draws), {})
        row.update(found, note=joined(*dict.fromkeys((row["note"], found["note"]))))
        if "rho_net" not in found:
            break
    return row


def _measured(given: _Given, resampling: Resampling, draws: int) -> dict[str, float]:
    volume, net = (quantity_values(given.moved, quantity) for quantity in ("flip_rate", "net"))
    rho_volume, rho_net = correlation(given.x, volume), correlation(given.x, net)
    gap = _gap_draws(given.x, volume, net, resampling.counts(given.x.size))
    return {
        "reliability_volume": reliability_of(given.moved, "flip_rate", given.clusters),
        "reliability_net": reliability_of(given.moved, "net", given.clusters),
        "rho_volume": rho_volume,
        "rho_net": rho_net,
        "gap": abs(rho_volume) - abs(rho_net),
        **bootstrap_ends(gap, resampling.confidence, given.x.size, ("gap_low", "gap_high")),
    }


def _thinned(given: _Given, resampling: Resampling, draws: int) -> dict[str, float]:
    kept, net = flips_kept(given.moved, given.clusters), quantity_values(given.moved, "net")
    thinned = thinned_flip_rates(given.moved, kept, draws, rng=resampling.rng("thinning"))
    thinned = thinned[np.ptp(thinned, axis=1) > 0]
    if len(thinned) < LEAST_DEFINED * draws:
        raise StatisticsError(
            "Thinning leaves too few flips.",
            expected=f"quants with different numbers of flips in {LEAST_DEFINED:.0%} of the draws",
            found=f"{len(thinned)} of {draws} draws, {kept:.1%} of flips kept",
            do="use more items",
        )
    x, _ = correlation_columns(given.x, net, "spearman")
    rho = correlations_of_counts(np.ones_like(thinned), x, thinned, "spearman")
    gaps = _thinned_gaps(x, thinned, net, resampling)
    rho_low, rho_high = percentile_interval(rho, resampling.confidence)
    return {
        "kept": kept,
        "flips_left": round(kept * float(quantity_values(given.moved, "volume").sum())),
        "rho_thinned": float(np.median(rho)),
        "rho_thinned_low": rho_low,
        "rho_thinned_high": rho_high,
        "thinned_gap": float(np.median(np.abs(rho))) - abs(correlation(given.x, net)),
        **bootstrap_ends(gaps, resampling.confidence, x.size, ("thinned_gap_low", "thinned_gap_high")),
    }


def _thinned_gaps(x: np.ndarray, thinned: np.ndarray, net: np.ndarray, resampling: Resampling) -> np.ndarray:
    """`_gap_draws` with the resamples of quants dealt out to the ways of thinning."""
    counts = resampling.counts(x.size)
    dealt = zip(thinned, np.array_split(counts, len(thinned)), strict=True)
    of_volume = np.concatenate([correlations_of_counts(c, x, t, "spearman") for t, c in dealt])
    return np.abs(of_volume) - np.abs(correlations_of_counts(counts, x, net, "spearman"))


def _gap_draws(x: np.ndarray, volume: np.ndarray, net: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """|ρ(x, volume)| − |ρ(x, net)| in resamples of quants given by their counts, the same resamples for both."""
    of_volume, of_net = (
        np.abs(correlations_of_counts(counts, *correlation_columns(x, y, "spearman"), "spearman"))
        for y in (volume, net)
    )
    return of_volume - of_net
