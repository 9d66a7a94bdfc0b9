"""ρ for every cut of the zone, and what it would be were KLD a perfect monotone predictor of true scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from qkld.statistics.core.checks import (
    LEAST_QUANTS,
    Missing,
    complete_quants,
    is_divergence,
    joined,
    noted,
    paired_columns,
    quants_of,
    score_column,
)
from qkld.statistics.core.correlations_of_resamples import correlation, correlations_of_counts, spearman_of_draws
from qkld.statistics.core.intervals import bootstrap_ends
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.correlation.single import range_ratio
from qkld.statistics.items.covariance import NetNoise
from qkld.statistics.noise.predictive import monotone_fit, noise_draws
from qkld.study.registry import registered


@dataclass(frozen=True)
class Envelope:
    """Item noise of the curve's quants, and how often they are redrawn from the monotone curve fitted to all of them.

    ``coverage`` is that of the envelope: 0.9 from the 5 % to the 95 % point. The fitted curve's own uncertainty is not
    in it.
    """

    noise: NetNoise
    draws: int = 2000
    coverage: float = 0.9

    def of(self, labels: Sequence[str], kld: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
        """Redrawn net scores of these quants, (draws, quants)."""
        noise = self.noise.of([str(label) for label in labels])
        return noise_draws(noise, monotone_fit(noise, kld), self.draws, rng=rng)

    def ends(self, kld: np.ndarray, scores: np.ndarray) -> dict[str, float]:
        """Low, median and high ρ of these redrawn scores, (draws, quants), with KLD."""
        tails = [(1 - self.coverage) / 2, 0.5, (1 + self.coverage) / 2]
        points = np.quantile(spearman_of_draws(kld, scores), tails)
        return dict(zip(("null_low", "null_median", "null_high"), map(float, points), strict=True))


def zone_curve(
    cohort: pd.DataFrame,
    *,
    least: int,
    resampling: Resampling,
    metric: str = "kl_mean",
    benchmark: str = "composite",
    missing: Missing = "refuse",
    envelope: Envelope | None = None,
    falling: bool = False,
) -> pd.DataFrame:
    """Spearman of ``metric`` with a score for every cut with at least ``least`` quants on the reference's side of it.

    Nothing is selected: each value of the metric is a cut, from the reference outwards. The reference's side is at or
    below the cut; with ``falling``, of a metric that is the larger the nearer a quant is (top-1 agreement), at or above
    it. Intervals are pointwise percentile intervals, so a curve of
    many cuts leaves them somewhere more often than one cut would. With an ``envelope`` of the same benchmark's noise,
    ``null_low`` to ``null_high`` is where ρ would lie were the true scores monotone in the metric.
    Raises
    ------
    StatisticsError
        As `complete_quants`; or if quants have no noise.
    """
    score = score_column(benchmark)
    quants, left_out = complete_quants(cohort, [metric, score], missing=missing)
    quants = quants.sort_values(metric, kind="stable", ascending=not falling).reset_index(drop=True)
    redrawn = _redrawn(quants, metric, score, resampling, envelope)
    rows = []
    for cut in quants[metric].dropna().unique():
        n = int(((quants[metric] >= cut) if falling else (quants[metric] <= cut)).sum())
        if n >= least:
            point = _Point(quants, metric, score, n, least, resampling)
            found = noted(point.correlation, {})
            parts = [point.interval] if not found["note"] else []
            if parts and redrawn is not None:
                parts.append(lambda p=point: envelope.ends(p.kld, redrawn[:, : p.n]))
            for part in parts:
                further = noted(part, {})
                found.update(further, note=joined(found["note"], further["note"]))
            note = joined(left_out, found["note"])
            rows.append({"metric": metric, "benchmark": benchmark, "cut": cut, "n": n, **found, "note": note})
    if not rows:
        note = f"no cut has {least} quants inside; the cohort has {len(quants_of(cohort))}"
        rows.append({"metric": metric, "benchmark": benchmark, "n": len(quants), "note": note})
    return registered("zone_curve").frame(rows)


def _redrawn(
    quants: pd.DataFrame, metric: str, score: str, resampling: Resampling, envelope: Envelope | None
) -> np.ndarray | None:
    """Redrawn net scores, (draws, quants); None without an envelope, or where the cohort has no scores."""
    if envelope is None or quants[[metric, score]].isna().to_numpy().any() or len(quants) < LEAST_QUANTS:
        return None
    return envelope.of(quants["label"], quants[metric].to_numpy(dtype=float), rng=resampling.rng("curve"))


@dataclass(frozen=True)
class _Point:
    """The first n quants from the reference outwards."""

    quants: pd.DataFrame
    metric: str
    score: str
    n: int
    least: int
    resampling: Resampling

    @property
    def kld(self) -> np.ndarray:
        return self.quants[self.metric].to_numpy(dtype=float)[: self.n]

    def correlation(self) -> dict[str, Any]:
        scores = self.quants[self.score].to_numpy(dtype=float)[: self.n]
        x, y = paired_columns(self.kld, scores, names=(self.metric, self.score), least=self.least)
        return {
            "estimate": correlation(x, y),
            "distinct_score": np.unique(y).size,
            "range_metric": range_ratio(x, self.quants[self.metric], log=is_divergence(self.metric)),
        }

    def interval(self) -> dict[str, Any]:
        x, y = self.kld, self.quants[self.score].to_numpy(dtype=float)[: self.n]
        draws = correlations_of_counts(self.resampling.counts(self.n), x, y, "spearman")
        found = bootstrap_ends(draws, self.resampling.confidence, self.n)
        return {} if "low" in found and found["low"] == found["high"] else found
