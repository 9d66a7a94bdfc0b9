"""Is KLD nearer to volume than to direction once both are measured equally well?

Volume is counted far more precisely than the net, so a larger ρ of KLD with volume alone shows nothing. Here flips are
thrown away at random until the volume that is left is as unreliable as the net; what its ρ loses was owed to precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from qkld.errors import StatisticsError, explain
from qkld.statistics.checks import noted, quants_of
from qkld.statistics.correlation import Resampling
from qkld.statistics.direction import differences, quantity_values, reliability_of, task_groups
from qkld.statistics.estimates import correlation, correlation_columns, correlations_of_counts
from qkld.statistics.intervals import percentile_interval

EMPTY = dict.fromkeys(
    (
        *("reliability_volume", "reliability_net", "rho_volume", "rho_net", "gap", "gap_low"),
        *("gap_high", "kept", "rho_thinned", "rho_thinned_low", "rho_thinned_high", "thinned_gap"),
        *("thinned_gap_low", "thinned_gap_high"),
    ),
    np.nan,
)
"""Columns of a comparison before anything is known."""


def flips_kept(moved: Mapping[str, np.ndarray]) -> float:
    """Share π of flips to keep so that the flip rate is as reliable as the net; 1 where it is no more reliable.

    Keeping each flip with probability π adds (1 − π)/π · F to the variance of the rescaled flip rate, F the mean over
    quants of Σ_b volume_b/(B N_b)²; π makes true variance / all variance equal to the net's reliability.

    Raises
    ------
    StatisticsError
        If the net's reliability is not above 0: no thinning reaches it.
    """
    target, now = reliability_of(moved, "net"), reliability_of(moved, "flip_rate")
    if target <= 0:
        raise StatisticsError(
            explain(
                "Volume can not be thinned to the reliability of the net.",
                expected="a reliability of the net above 0",
                found=f"{target:.2f}: the quants' nets differ no more than chance makes them",
                do="use more items",
            )
        )
    if now <= target:
        return 1.0
    spread = quantity_values(moved, "flip_rate").var(ddof=1)
    counting = np.mean(sum(np.abs(d).sum(axis=0) / (len(d) * len(moved)) ** 2 for d in moved.values()))
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
    over quants, the share of flips ``kept``, and the same with volume thinned in ``draws`` random ways (medians; the
    interval of ``rho_thinned`` is over ways of thinning, that of ``thinned_gap`` over quants too). Volume is
    the flip rate. What can not be had is NaN, and ``note`` says why.
    """
    rows = []
    for benchmark, parts in task_groups(benchmarks, tasks).items():
        for subset, part in (("full", quants_of(cohort)), ("zone", quants_of(cohort[members]))):
            moved = differences(items, reference=reference, tasks=parts, labels=list(part["label"]))
            key = {"metric": metric, "benchmark": benchmark, "subset": subset, "n": len(part)}
            rows.append({**key, **_comparison(part[metric].to_numpy(dtype=float), moved, resampling, draws)})
    return pd.DataFrame(rows)


def _comparison(x: np.ndarray, moved: Mapping[str, np.ndarray], resampling: Resampling, draws: int) -> dict[str, Any]:
    row: dict[str, Any] = {**EMPTY, "note": ""}
    for step in (_measured, _thinned):
        found = noted(lambda step=step: step(x, moved, resampling, draws), {})
        row.update(found, note=" | ".join(n for n in (row["note"], found["note"]) if n))
        if found["note"]:
            break
    return row


def _measured(x: np.ndarray, moved: Mapping[str, np.ndarray], resampling: Resampling, draws: int) -> dict[str, float]:
    volume, net = quantity_values(moved, "flip_rate"), quantity_values(moved, "net")
    gap = _gap_draws(x, volume, net, resampling.counts(x.size))
    low, high = percentile_interval(gap, resampling.confidence)
    rho_volume, rho_net = correlation(x, volume), correlation(x, net)
    return {
        "reliability_volume": reliability_of(moved, "flip_rate"),
        "reliability_net": reliability_of(moved, "net"),
        "rho_volume": rho_volume,
        "rho_net": rho_net,
        "gap": abs(rho_volume) - abs(rho_net),
        "gap_low": low,
        "gap_high": high,
    }


def _thinned(x: np.ndarray, moved: Mapping[str, np.ndarray], resampling: Resampling, draws: int) -> dict[str, float]:
    kept, net = flips_kept(moved), quantity_values(moved, "net")
    rng = np.random.default_rng(resampling.seed)
    thinned = [t for t in thinned_flip_rates(moved, kept, draws, rng=rng) if np.ptp(t) > 0]
    if len(thinned) < 0.95 * draws:
        raise StatisticsError(
            explain(
                "Thinning leaves too few flips.",
                expected="quants with different numbers of flips in 95 % of the draws",
                found=f"{len(thinned)} of {draws} draws, {kept:.1%} of flips kept",
                do="use more items",
            )
        )
    rho = np.array([correlation(x, t) for t in thinned])
    counts = np.array_split(resampling.counts(x.size), len(thinned))
    gap = np.concatenate([_gap_draws(x, t, net, c) for t, c in zip(thinned, counts, strict=True)])
    tail = (1 - resampling.confidence) / 2
    low, high = percentile_interval(gap, resampling.confidence)
    return {
        "kept": kept,
        "rho_thinned": float(np.median(rho)),
        "rho_thinned_low": float(np.quantile(rho, tail)),
        "rho_thinned_high": float(np.quantile(rho, 1 - tail)),
        "thinned_gap": float(np.median(np.abs(rho))) - abs(correlation(x, net)),
        "thinned_gap_low": low,
        "thinned_gap_high": high,
    }


def _gap_draws(x: np.ndarray, volume: np.ndarray, net: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """|ρ(x, volume)| − |ρ(x, net)| in resamples of quants given by their counts, the same resamples for both."""
    of_volume, of_net = (
        np.abs(correlations_of_counts(counts, *correlation_columns(x, y, "spearman"), "spearman"))
        for y in (volume, net)
    )
    return of_volume - of_net
