"""Result tables of noise and direction: what the items can resolve, the verdict, and both with one quant left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from qkld.statistics.core.checks import check_quants_distinct, joined, noted, quants_of
from qkld.statistics.core.correlations_of_resamples import correlation
from qkld.statistics.core.intervals import bootstrap_correlations, bootstrap_ends
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.items.covariance import NetNoise
from qkld.statistics.items.units import Floats
from qkld.statistics.noise.dispersion import dispersion, least_dispersion, spread
from qkld.statistics.noise.heterogeneity import SHAPES, Contrasts, cochran_q, known_kld, residual_heterogeneity
from qkld.statistics.noise.predictive import predictive_range
from qkld.statistics.noise.reliability import (
    attainable,
    disattenuated,
    items_for_reliability,
    noise_mean_squares,
    reliability,
)
from qkld.statistics.noise.verdict import Reading, items_to_settle, verdict
from qkld.study.registry import registered

WANTED_RELIABILITY = 0.8
"""Reliability for which ``items_for_reliability`` is given."""


def _subsets(
    noises: Mapping[str, NetNoise], cohort: pd.DataFrame, members: pd.Series, metric: str
) -> list[tuple[dict[str, Any], NetNoise, pd.DataFrame, np.ndarray]]:
    """For each score and subset: the row's key, the noise of all quants, their rows, and who is in the subset."""
    check_quants_distinct(cohort)
    found = []
    table = quants_of(cohort.assign(_inside=members))
    for benchmark, noise in noises.items():
        whole = noise.of(list(table["label"]))
        for subset, inside in (("full", np.ones(len(table), dtype=bool)), ("zone", table["_inside"].to_numpy(bool))):
            key = {"metric": metric, "benchmark": benchmark, "subset": subset, "n": int(inside.sum())}
            found.append((key, whole, table, inside))
    return found


def _part(noise: NetNoise, inside: np.ndarray) -> NetNoise:
    return noise.of([label for label, kept in zip(noise.labels, inside, strict=True) if kept])


def _collected(parts: Mapping[str, Callable[[], Mapping[str, Any]]]) -> dict[str, Any]:
    """The numbers of every part that can be had; ``note`` says why others cannot."""
    row: dict[str, Any] = {}
    notes = []
    for compute in parts.values():
        found = noted(compute, {})
        notes.append(found.pop("note"))
        row |= found
    return {**row, "note": joined(*dict.fromkeys(notes))}


# --- noise ------------------------------------------------------------------------------------------------------------


def noise_table(
    noises: Mapping[str, NetNoise],
    cohort: pd.DataFrame,
    members: pd.Series,
    *,
    resampling: Resampling,
    draws: int = 2000,
    metric: str = "kl_mean",
) -> pd.DataFrame:
    """What the items can resolve, one row a score and subset: reliability, heterogeneity, and the predictive range.

    ``noises`` as of `noise_by_benchmark`; ``draws`` of the predictive range. All numbers of scores are fractions of 1.
    """
    rows = []
    for key, whole, table, inside in _subsets(noises, cohort, members, metric):
        numbers = _noise_numbers(whole, table[metric], inside, resampling, draws, resampling.rng("noise"))
        zeros = int((table.loc[inside, metric] == 0).sum())
        rows.append({**key, "items": whole.items, "zeros": zeros, **numbers})
    return registered("noise").frame(rows)


def _noise_numbers(
    whole: NetNoise, metric: pd.Series, inside: np.ndarray, resampling: Resampling, draws: int, rng: np.random.Generator
) -> dict[str, Any]:
    part = _part(whole, inside)
    confidence = resampling.confidence

    def kld() -> Floats:
        return known_kld(metric.to_numpy(float)[inside])

    parts = {
        "spread": lambda: {"mean_se": float(np.sqrt(np.diag(part.covariance).mean())) if part.labels else np.nan},
        "reliability": lambda: _reliability_numbers(part, confidence),
        "estimate": lambda: {"estimate": correlation(kld(), part.net)},
        "disattenuated": lambda: _disattenuated(part, kld(), confidence),
        "its interval": lambda: _disattenuated_ends(part, kld(), resampling),
        "equal": lambda: _equal_numbers(part),
        "residual": lambda: _residual_numbers(part, kld(), confidence),
        "predictive": lambda: _predictive_numbers(whole, metric.to_numpy(float), inside, draws, rng),
    }
    return _collected(parts)


def _reliability_numbers(noise: NetNoise, confidence: float) -> dict[str, float]:
    alpha = reliability(noise_mean_squares(noise), confidence)
    return {
        "reliability": alpha.estimate,
        "reliability_low": alpha.low,
        "reliability_high": alpha.high,
        "attainable": attainable(alpha.estimate),
        "attainable_low": attainable(alpha.low),
        "attainable_high": attainable(alpha.high),
        "items_for_reliability": items_for_reliability(noise.items, alpha.estimate, WANTED_RELIABILITY),
    }


def _disattenuated_ends(noise: NetNoise, kld: Floats, resampling: Resampling) -> dict[str, Any]:
    """The bootstrap's interval over quants divided by √α, which leaves α's own error out."""
    alpha, names = reliability(noise_mean_squares(noise), resampling.confidence), ("low", "high")
    draws = bootstrap_correlations(kld, noise.net, resamples=resampling.resamples, rng=resampling.rng("quants"))
    found = bootstrap_ends(draws, resampling.confidence, kld.size)
    ends = {f"disattenuated_{end}": disattenuated(found[end], alpha) for end in names if end in found}
    return ends or found


def _disattenuated(noise: NetNoise, kld: Floats, confidence: float) -> dict[str, float]:
    """ρ without the scores' noise."""
    alpha = reliability(noise_mean_squares(noise), confidence)
    return {"disattenuated": disattenuated(correlation(kld, noise.net), alpha)}


def _equal_numbers(noise: NetNoise) -> dict[str, float]:
    found = cochran_q(noise).tested
    return {"cochran_q": found.statistic, "cochran_p": found.p, "cochran_test": found.test, "note": found.note}


def _residual_numbers(noise: NetNoise, kld: Floats, confidence: float) -> dict[str, Any]:
    """p of each shape; the largest is the test's, and its shape's τ is given: the smallest that any shape leaves."""
    left = residual_heterogeneity(noise, kld)
    tau = dispersion(_best(left), confidence)
    return {
        **{f"residual_p_{shape}": left[shape].p if shape in left else np.nan for shape in SHAPES},
        **_residual_p(_best(left)),
        "tau": tau.estimate,
        "tau_low": tau.low,
        "tau_high": tau.high,
        "least_tau": least_dispersion(noise),
    }


def _best(left: Mapping[str, Contrasts]) -> Contrasts:
    """What the shape leaves that item noise explains best."""
    return max(left.values(), key=lambda contrasts: contrasts.p)


def _residual_p(best: Contrasts) -> dict[str, Any]:
    return {"residual_p": best.p, "residual_test": best.test}


def _predictive_numbers(
    noise: NetNoise, kld: Floats, inside: np.ndarray, draws: int, rng: np.random.Generator
) -> dict[str, float]:
    found = predictive_range(noise, kld, inside, draws=draws, rng=rng)
    return {"predictive_low": found.low, "predictive_high": found.high, "predictive_p": found.p}


# --- verdict ----------------------------------------------------------------------------------------------------------


def verdict_table(
    noises: Mapping[str, NetNoise], cohort: pd.DataFrame, members: pd.Series, *, metric: str = "kl_mean"
) -> pd.DataFrame:
    """The verdict with the numbers behind it, one row a score and subset; an empty verdict where there can be none."""
    rows = []
    for key, whole, table, inside in _subsets(noises, cohort, members, metric):
        part, kld = _part(whole, inside), table.loc[inside, metric].to_numpy(float)
        row = noted(lambda p=part, k=kld: _verdict_row(p, k), {})
        rows.append({**key, "items": whole.items, **row})
    return registered("verdict").frame(rows)


def _verdict_row(noise: NetNoise, kld: Floats) -> dict[str, Any]:
    found = verdict(noise, kld)
    settle = items_to_settle(noise, kld)
    everything, kept = found.all_quants, found.without_set_aside
    unseen = "no true difference is seen: R² and items to settle are not estimable" if np.isnan(everything.r2) else ""
    return {
        "verdict": found.answer,
        "verdict_all": everything.answer,
        "verdict_kept": kept.answer,
        "verdict_inflated": found.inflated,
        "set_aside": ", ".join(found.set_aside),
        "rests_on": ", ".join(found.rests_on),
        "settles_as": settle.toward,
        **_reading_numbers(everything),
        "direction_z_kept": kept.z,
        "r2_kept": kept.r2,
        "items_to_settle": settle.estimate,
        "items_at_least": settle.at_least,
        "note": joined(found.note, unseen, cochran_q(noise).tested.note),
    }


def _reading_numbers(found: Reading) -> dict[str, Any]:
    return {
        "direction_z": found.z,
        "slope_z": found.slope_z,
        "r2": found.r2,
        "r2_low": found.r2_low,
        "r2_high": found.r2_high,
        "cochran_p": found.cochran_p,
        "cochran_test": found.cochran_test,
    }


# --- one quant left out -----------------------------------------------------------------------------------------------


def leave_one_out_table(
    noises: Mapping[str, NetNoise],
    cohort: pd.DataFrame,
    members: pd.Series,
    *,
    resampling: Resampling,
    draws: int = 500,
    metric: str = "kl_mean",
) -> pd.DataFrame:
    """Correlation, reliability, heterogeneity and verdict with one quant left out, one row a score, subset and quant.

    A conclusion that one quant alone brings about or prevents is seen here. ``n`` counts the rest.
    """
    described, rows = registered("leave_one_out"), []
    for key, whole, table, inside in _subsets(noises, cohort, members, metric):
        for i in np.flatnonzero(inside):
            kept = np.arange(len(table)) != i
            rest = _part(whole, kept)
            row = _left_out_row(rest, table.loc[kept, metric], inside[kept], resampling, draws)
            rows.append({**key, "n": key["n"] - 1, "left_out": table["label"][i], **row})
    return described.frame({c: v for c, v in row.items() if c in described.columns} for row in rows)


def _left_over(noise: NetNoise, kld: Floats) -> dict[str, Any]:
    """p of residual heterogeneity and τ, without the interval that has to be simulated."""
    best = _best(residual_heterogeneity(noise, kld))
    return {**_residual_p(best), "tau": spread(best)}


def _left_out_row(
    whole: NetNoise, metric: pd.Series, inside: np.ndarray, resampling: Resampling, draws: int
) -> dict[str, Any]:
    part, kld = _part(whole, inside), metric.to_numpy(float)
    rng = resampling.rng("noise")

    def reached() -> dict[str, Any]:
        found = verdict(part, kld[inside])
        return {"verdict": found.answer, **_reading_numbers(found.all_quants)}

    parts = {
        "estimate": lambda: {"estimate": correlation(kld[inside], part.net)},
        "reliability": lambda: _reliability_numbers(part, resampling.confidence),
        "residual": lambda: _left_over(part, kld[inside]),
        "predictive": lambda: _predictive_numbers(whole, kld, inside, draws, rng),
        "verdict": reached,
    }
    return _collected(parts)
