"""Does anything cheap rank quants near the baseline better than KLD? Metrics by held-out correlation with the net.

The trial was fixed beforehand: expected net, soft accuracy and margin shift (direction) against KLD, expected flips,
KLD over the options and boundary KLD (volume). A metric is taken on one half of the items and correlated, over quants,
with the net score on the other; ρ is averaged over random halves, both ways. One metric out of a dozen wins by chance:
p is by max-T over all of them, and the gain over KLD has a band that holds for all together.

In a margin model with 1,000 items a half and the lowest 14 of 28 quants (simulated in the tests): where quants drift by
chance the expected net ranks the other half's score with ρ .73 and KLD with .13; where KLD orders the truth, with .17
and .26. A metric without a sign cannot know direction: it can at best sharpen volume.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np
import pandas as pd
from scipy import stats

from qkld.errors import StatisticsError
from qkld.statistics.core.checks import LEAST_QUANTS, joined, one_line
from qkld.statistics.core.correlations_of_resamples import correlations_of_counts
from qkld.statistics.core.intervals import MOST_UNDEFINED, few_quants_note, percentile_interval
from qkld.statistics.core.permutation import TIE
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.prompts.cross_fit import CrossFit, Task, cross_fit
from qkld.statistics.prompts.directional_metrics import Metric, metrics_of

BASELINE = "kl_mean"
"""The metric that the others have to beat: −mean KLD of a quant on text, which needs no item at all."""

LEAST_DEFINED = 0.5
"""Share of the splits that must have a ρ for their mean to be given."""

COLUMNS = (
    *("rank", "estimate", "low", "high", "split_low", "split_high"),
    *("p", "p_adjusted", "p_adjusted_within_families", "critical"),
    *("gain", "gain_low", "gain_high", "gain_band_low", "gain_band_high", "beats_kld"),
)
"""What is said of each metric."""


# --- held-out correlation ---------------------------------------------------------------------------------------------


def unit_ranks(values: np.ndarray) -> np.ndarray:
    """Midranks along the last axis, centred and of length 1; zeros where a row is constant."""
    ranks = stats.rankdata(values, axis=-1)
    ranks = ranks - ranks.mean(axis=-1, keepdims=True)
    length = np.sqrt((ranks**2).sum(axis=-1, keepdims=True))
    return np.divide(ranks, length, out=np.zeros_like(ranks), where=length > 0)


def held_out_ranks(metric: np.ndarray, net: np.ndarray) -> np.ndarray:
    """What the mean over splits of Spearman's ρ is made of: C with ρ = Σ_q C[q, q], shape (quants, quants).

    C[q, r] is the mean over splits, (splits, quants) each, of metric rank q times net rank r; with nets rearranged to
    ``order``, ρ = Σ_q C[q, order[q]]. Splits in which either is constant have no ρ and are left out.

    Raises
    ------
    StatisticsError
        If fewer than `LEAST_DEFINED` of the splits have one.
    """
    ranks, other = unit_ranks(metric), unit_ranks(net)
    defined = ranks.any(axis=1) & other.any(axis=1)
    if defined.mean() < LEAST_DEFINED:
        raise StatisticsError(
            "In most halves of the items, the metric or the net loss is the same for every quant.",
            expected=f"two values or more in {LEAST_DEFINED:.0%} of halves",
            found=f"{defined.mean():.0%} of {defined.size}",
            do="use more items or more quants",
        )
    return ranks[defined].T @ other[defined] / defined.sum()


def split_correlations(metric: np.ndarray, net: np.ndarray) -> np.ndarray:
    """Spearman's ρ of each split in which it is defined: (splits, quants) twice → at most (splits,)."""
    rho = (unit_ranks(metric) * unit_ranks(net)).sum(axis=1)
    return rho[unit_ranks(metric).any(axis=1) & unit_ranks(net).any(axis=1)]


def max_t_of_splits(products: np.ndarray, orders: np.ndarray, *, centred: bool = False) -> tuple[np.ndarray, ...]:
    """Single-step max-T over metrics of a ρ averaged over splits; as `simultaneous.max_t`, which has one split.

    Parameters
    ----------
    products : shape (metrics, quants, quants)
        `held_out_ranks` of each.
    orders : shape (permutations + 1, quants)
        Rearrangements of the quants, the last one none: the same for all splits, so that what splits share stays.
    centred : distances from each metric's mean over permutations, for orders within families.

    Returns
    -------
    p, adjusted p and largest |ρ| of each permutation : (metrics,), (metrics,), (permutations + 1,)
    """
    quants = np.arange(products.shape[1])
    draws = np.stack([c[quants, orders].sum(axis=1) for c in products], axis=1)
    distance = np.abs(draws - (draws.mean(axis=0) if centred else 0.0))
    largest = distance.max(axis=1)
    p = (distance >= distance[-1] - TIE).mean(axis=0)
    return p, (largest[:, None] >= distance[-1] - TIE).mean(axis=0), largest


def resampled_means(metric: np.ndarray, net: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The mean over splits of ρ in each resample of quants, re-ranked: (splits, quants) twice → (resamples,)."""
    total, defined = np.zeros(len(counts)), np.zeros(len(counts))
    for x, y in zip(metric, net, strict=True):
        rho = correlations_of_counts(counts, x, y, "spearman")
        known = ~np.isnan(rho)
        total[known] += rho[known]
        defined += known
    return np.divide(total, defined, out=np.full(len(counts), np.nan), where=defined >= LEAST_DEFINED * len(metric))


def gain_band(draws: np.ndarray, gains: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Sup-t band of the gains, (resamples, metrics) and (metrics,) → two (metrics,): it holds for all together.

    As `simultaneous.simultaneous_band`, on the scale of ρ itself, since a difference of two has no z scale.
    """
    away, spread = np.abs(draws - draws.mean(axis=0)), draws.std(axis=0)
    standardised = np.divide(away, spread, out=np.zeros_like(away), where=spread > 0)
    half = np.quantile(standardised.max(axis=1), confidence) * spread
    return gains - half, gains + half


# --- the table --------------------------------------------------------------------------------------------------------


def directional_table(
    tasks: Mapping[str, Task],
    cohort: pd.DataFrame,
    members: pd.Series,
    quants: Sequence[str],
    *,
    divergence: str,
    splits: int,
    resampling: Resampling,
    rng: np.random.Generator,
    benchmark: str = "composite",
    baseline: str = BASELINE,
) -> pd.DataFrame:
    """Every metric's held-out ρ with the net, full cohort and zone, best first; ``beats_kld`` answers the question.

    Parameters
    ----------
    tasks : task → its items, quants in the order of ``quants``
        The tasks whose mean is the score ``benchmark``.
    cohort : DataFrame
        ``label``, ``role``, ``family`` where there is one, and the ``baseline``.
    members : which rows of the cohort are in the zone
    divergence : the column of the items' KLD
    """
    metrics = metrics_of(divergence)
    fitted = cross_fit(tasks, metrics, splits=splits, rng=rng)
    known = cohort.set_index("label").loc[list(quants)]
    zone = known.index.isin(cohort.loc[members, "label"])
    items = sum(task.shifts.right.shape[0] for task in tasks.values())
    parts = []
    for subset, kept in (("full", np.ones(len(known), dtype=bool)), ("zone", zone)):
        key = {"benchmark": benchmark, "subset": subset, "n": int(kept.sum()), "items": items, "splits": splits}
        part = _subset(fitted, metrics, known[kept], kept, baseline, resampling)
        parts.append(part.assign(**key)[["metric", "kind", *key, *COLUMNS, "note"]])
    left_out = sum(task.left_out for task in tasks.values())
    table = pd.concat(parts, ignore_index=True)
    if left_out:
        table["note"] = [joined(note, f"{left_out} items left out for a missing value") for note in table["note"]]
    return table


def _subset(
    fitted: CrossFit,
    metrics: Sequence[Metric],
    cohort: pd.DataFrame,
    kept: np.ndarray,
    baseline: str,
    resampling: Resampling,
) -> pd.DataFrame:
    """Rows of one subset, by falling ρ; metrics without one at the end, with the reason in ``note``."""
    net = fitted.net[:, kept]
    text = np.broadcast_to(-cohort[baseline].to_numpy(dtype=float), net.shape)
    values = {baseline: text} | {name: found[:, kept] for name, found in fitted.metrics.items()}
    notes, products = dict(fitted.notes), {}
    for name, found in values.items():
        try:
            products[name] = _product(found, net, name)
        except StatisticsError as error:
            notes[name] = joined(notes.get(name, ""), one_line(error))
    table = pd.DataFrame({"kind": {baseline: "volume"} | {m.name: m.kind for m in metrics}}).rename_axis("metric")
    if products:
        table = table.join(_estimates(products, values, net, cohort, resampling))
        few = few_quants_note(len(cohort))
        notes |= {name: joined(notes.get(name, ""), few) for name in products}
        if not few:
            counts = resampling.counts(len(cohort))
            draws = pd.DataFrame({name: resampled_means(values[name], net, counts) for name in products})
            table = table.join(_intervals(draws, resampling.confidence))
            table = table.join(_gains(draws, table["estimate"], baseline, resampling.confidence))
    table = table.reindex(columns=["kind", *COLUMNS]).astype(dict.fromkeys(COLUMNS, float))
    table["beats_kld"] = table["gain_band_low"] > 0
    table["note"] = [notes.get(name, "") for name in table.index]
    return table.sort_values("rank", kind="stable", na_position="last").reset_index()


def _product(values: np.ndarray, net: np.ndarray, name: str) -> np.ndarray:
    if values.shape[1] < LEAST_QUANTS or not np.isfinite(values).all():
        raise StatisticsError(
            f"'{name}' cannot be ranked over quants.",
            expected=f"a value for each of at least {LEAST_QUANTS} quants",
            found=f"{values.shape[1]} quants, {int((~np.isfinite(values)).any(axis=0).sum())} without a value",
            do="measure more quants",
        )
    return held_out_ranks(values, net)


def _estimates(
    products: Mapping[str, np.ndarray],
    values: Mapping[str, np.ndarray],
    net: np.ndarray,
    cohort: pd.DataFrame,
    resampling: Resampling,
) -> pd.DataFrame:
    """Held-out ρ of each metric that has one, its rank, its spread over splits and its p among all of them."""
    names, stacked = list(products), np.stack(list(products.values()))
    rho = np.trace(stacked, axis1=1, axis2=2)
    p, adjusted, largest = max_t_of_splits(stacked, resampling.orders(np.zeros(len(cohort))))
    spread = np.array([np.quantile(split_correlations(values[name], net), [0.025, 0.975]) for name in names])
    columns = {
        "rank": stats.rankdata(-rho, method="min"),
        "estimate": rho,
        "split_low": spread[:, 0],
        "split_high": spread[:, 1],
        "p": p,
        "p_adjusted": adjusted,
        "critical": np.quantile(largest, resampling.confidence, method="higher"),
    }
    if "family" in cohort:
        orders = resampling.orders(cohort["family"].to_numpy())
        columns["p_adjusted_within_families"] = max_t_of_splits(stacked, orders, centred=True)[1]
    return pd.DataFrame(columns, index=names)


def _intervals(draws: pd.DataFrame, level: float) -> pd.DataFrame:
    """Percentile interval of each metric's ρ over quants; empty where too many resamples have a constant column."""
    ends = {}
    for name, own in draws.items():
        with suppress(StatisticsError):
            ends[name] = percentile_interval(own.to_numpy(), level)
    return pd.DataFrame.from_dict(ends, orient="index", columns=["low", "high"])


def _gains(draws: pd.DataFrame, estimates: pd.Series, baseline: str, level: float) -> pd.DataFrame:
    """ρ less the baseline's, paired over resamples; nothing where too many of those lack one of the ρ."""
    known = draws.dropna()
    others = [name for name in draws if name != baseline]
    if baseline not in draws or not others or len(known) < (1 - MOST_UNDEFINED) * len(draws):
        return pd.DataFrame(columns=["gain"])
    gains = (estimates[others] - estimates[baseline]).to_numpy()
    drawn = known[others].to_numpy() - known[[baseline]].to_numpy()
    low, high = gain_band(drawn, gains, level)
    ends = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    columns = {"gain": gains, "gain_low": ends[0], "gain_high": ends[1], "gain_band_low": low, "gain_band_high": high}
    return pd.DataFrame(columns, index=others)
