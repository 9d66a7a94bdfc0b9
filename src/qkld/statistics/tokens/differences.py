"""Two quants on the same tokens: is the one nearer to the reference, and how many windows would it take to tell.

Both quants see the same windows, so what makes a window hard for both drops out of the difference token by token; the
difference is tested with the clusters of the corpus as the independent units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from qkld.errors import StatisticsError
from qkld.statistics.tokens.clusters import ClusterBootstrap, Floats, cr1_error, few_clusters_note
from qkld.study.registry import registered
from qkld.study.schemas import TOKENS

LARGE_SAMPLE = 10_000
"""Clusters from which the normal approximation of the sample size is exact to 0.02 %: t needs about two more."""

_PLACE = ("corpus", "context")
_SAME = (*TOKENS.key, "cluster", "token")
"""What tells tokens apart; tables without the ids of their tokens are told apart by the places alone."""


# --- the same tokens --------------------------------------------------------------------------------------------------


def same_tokens(
    tokens_a: pd.DataFrame, tokens_b: pd.DataFrame, labels: tuple[str, str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both token tables in one order, row by row the same token of the same text.

    Raises
    ------
    StatisticsError
        If they differ in corpora, contexts, windows, positions, clusters or token ids; names the first difference.
    """
    a, b = (t.sort_values(list(TOKENS.key), ignore_index=True) for t in (tokens_a, tokens_b))
    rows = min(len(a), len(b))
    differs = np.zeros(rows, dtype=bool)
    for column in _same_columns(a, b):
        differs |= a[column].to_numpy()[:rows] != b[column].to_numpy()[:rows]
    if len(a) != len(b) or differs.any():
        first = int(differs.argmax()) if differs.any() else rows
        raise StatisticsError(
            f"'{labels[0]}' and '{labels[1]}' were not measured on the same tokens.",
            expected=f"{len(a)} tokens, {_described(a, first)}",
            found=f"{len(b)} tokens, {_described(b, first)}",
            do="measure both quants against the same store of the reference, on the same windows",
        )
    return a, b


def _same_columns(*tables: pd.DataFrame) -> list[str]:
    return [column for column in _SAME if all(column in table for table in tables)]


def _described(tokens: pd.DataFrame, row: int) -> str:
    if row >= len(tokens):
        return "none at the first difference"
    return ", ".join(f"{column} {tokens[column].iat[row]}" for column in _same_columns(tokens))


# --- power ------------------------------------------------------------------------------------------------------------


def clusters_needed(effect: float, *, confidence: float, power: float) -> float:
    """Clusters at which a two-sided one-sample t test finds a difference with this power.

    The smallest G ≥ 2 whose power under noncentral t (G − 1 degrees of freedom, noncentrality effect · √G) is at least
    ``power``: Cohen (1988, chapter 2), what G*Power and statsmodels' ``TTestPower`` compute. Beyond `LARGE_SAMPLE` its
    normal form (z_{1−α/2} + z_power)² / effect², as Miller (arXiv:2411.00640) plans evaluations.

    Parameters
    ----------
    effect : float
        Mean difference over the standard deviation of the clusters' differences; its sign is not looked at.
    confidence, power : float
        1 − α of the test, and the probability of finding the difference; both in (0, 1).

    Returns
    -------
    float
        A whole number; infinite where the effect is 0, NaN where it is NaN.
    """
    _check_power(power)
    effect = abs(effect)
    if np.isnan(effect) or effect == 0:
        return np.nan if np.isnan(effect) else np.inf
    normal = ((stats.norm.ppf(0.5 + confidence / 2) + stats.norm.ppf(power)) / effect) ** 2
    if normal > LARGE_SAMPLE:
        return float(np.ceil(normal))
    enough = max(2, int(np.ceil(normal)))
    while t_test_power(effect, enough, confidence) < power:
        enough *= 2
    below = 1  # the second tail, which the normal form leaves out, can make fewer enough
    while enough - below > 1:
        middle = (enough + below) // 2
        below, enough = (middle, enough) if t_test_power(effect, middle, confidence) < power else (below, middle)
    return float(enough)


def t_test_power(effect: float, clusters: int, confidence: float) -> float:
    """Probability that a two-sided one-sample t test of this many clusters finds an effect, by noncentral t² = F."""
    critical = stats.t.ppf(0.5 + confidence / 2, clusters - 1) ** 2
    return float(stats.ncf.sf(critical, 1, clusters - 1, clusters * effect**2))


def detectable_difference(error: float, clusters: int, *, confidence: float, power: float) -> float:
    """Smallest true difference that as many clusters find with this power: (t_{1−α/2} + t_power) · standard error.

    Bloom (1995), with t on ``clusters`` − 1 degrees of freedom; NaN for one cluster.
    """
    _check_power(power)
    if clusters < 2:
        return np.nan
    reach = stats.t.ppf(0.5 + confidence / 2, clusters - 1) + stats.t.ppf(power, clusters - 1)
    return float(reach * error)


def _check_power(power: float) -> None:
    if not 0 < power < 1:
        raise StatisticsError(
            "The statistical power is out of range.", expected="a number between 0 and 1", found=power, do="take 0.8"
        )


# --- one pair ---------------------------------------------------------------------------------------------------------


def sign_test(differences: Floats) -> dict[str, float]:
    """Exact two-sided binomial test that a cluster's difference is as often above as below 0.

    ``differences`` holds one value a cluster, shape (clusters,): quant b minus quant a. Ties are left out and counted;
    ``sign_p`` is NaN where all are ties.
    """
    lower_a, lower_b = int((differences > 0).sum()), int((differences < 0).sum())
    untied = lower_a + lower_b
    p = float(stats.binomtest(lower_a, untied, 0.5).pvalue) if untied else np.nan
    return {"lower_a": lower_a, "lower_b": lower_b, "tied_clusters": len(differences) - untied, "sign_p": p}


def t_p_value(difference: float, error: float, clusters: int) -> float:
    """Two-sided p of difference / error under t with ``clusters`` − 1 degrees of freedom.

    NaN for one cluster, and where there is neither a difference nor an error.
    """
    if clusters < 2 or (difference == 0 and error == 0):
        return np.nan
    return float(2 * stats.t.sf(abs(difference) / error if error > 0 else np.inf, clusters - 1))


def paired_difference(
    tokens_a: pd.DataFrame,
    tokens_b: pd.DataFrame,
    labels: tuple[str, str],
    *,
    confidence: float,
    bootstrap: int,
    power: float,
    rng: np.random.Generator,
    floor: Mapping[tuple[str, int], float] | None = None,
) -> pd.DataFrame:
    """Mean KLD of quant b minus that of quant a, by corpus and context, with intervals and tests.

    Parameters
    ----------
    tokens_a, tokens_b : DataFrame
        Tables of schema ``tokens`` on the same tokens. A token that is not finite in either is left out and counted.
    labels : (str, str)
        Of a and b.
    confidence, bootstrap, rng
        As in `qkld.statistics.tokens.clusters.ClusterBootstrap`; 1 − ``confidence`` is also the α that
        ``windows_needed`` plans for.
    power : float
        Probability with which ``windows_needed`` windows find the difference.
    floor : mapping (corpus, context) → mean KLD, optional
        What the measurement itself adds, shown beside the pair and subtracted from nothing.

    Returns
    -------
    DataFrame
        The result table ``paired_fidelity``; ``t_p_holm`` is ``t_p`` here, see `with_holm`. ``windows_needed`` takes
        the difference and
        the standard deviation of the clusters' differences, as they were found here, for the true ones; new windows
        as drawn like these, with as many tokens and windows a cluster; and clusters as independent. ``detectable``
        needs the standard error alone.

    Raises
    ------
    StatisticsError
        If the tables are not of the same tokens, or a corpus has no token that is finite for both.
    """
    a, b = same_tokens(tokens_a, tokens_b, labels)
    a = a.assign(kl_b=b["kl"], difference=b["kl"] - a["kl"])
    rows = []
    for place, block in a.groupby(list(_PLACE), sort=False):
        finite = block[block["difference"].notna()]
        _check_finite(finite, place, labels)
        resamples = ClusterBootstrap(finite["cluster"].to_numpy(), confidence, bootstrap=bootstrap, rng=rng)
        row = dict(zip(("label_a", "label_b", *_PLACE), (*labels, *place), strict=True))
        row |= {"floor_kld": (floor or {}).get(place, np.nan), "nonfinite": len(block) - len(finite)}
        rows.append(row | _tested(finite, resamples, power))
    return registered("paired_fidelity").frame(rows)


def _check_finite(finite: pd.DataFrame, place: tuple[str, int], labels: tuple[str, str]) -> None:
    if finite.empty:
        raise StatisticsError(
            f"'{labels[0]}' and '{labels[1]}' have no token of corpus '{place[0]}' at which both are finite.",
            expected="tokens with finite logits of both",
            found="none",
            do="check the quants, or run them in compute_dtype float32",
        )


def _tested(finite: pd.DataFrame, resamples: ClusterBootstrap, power: float) -> dict[str, Any]:
    """What `paired_difference` says of one corpus and context."""
    values, clusters = finite["difference"].to_numpy(), resamples.groups
    mean = resamples.mean(values)
    error = cr1_error(values, resamples.index)
    plan = {"confidence": resamples.confidence, "power": power}
    windows = finite["window"].nunique()
    effect = _effect(mean.estimate, error, clusters)
    by_cluster = np.bincount(resamples.index, weights=values) / resamples.sizes
    ends = asdict(mean)
    return {
        "kld_a": finite["kl"].mean(),
        "kld_b": finite["kl_b"].mean(),
        "kld_difference": ends.pop("estimate"),
        **ends,
        **dict.fromkeys(("t_p", "t_p_holm"), t_p_value(mean.estimate, error, clusters)),
        **sign_test(by_cluster),
        "windows_needed": np.ceil(clusters_needed(effect, **plan) * windows / clusters),
        "detectable": detectable_difference(error, clusters, **plan),
        "tokens": len(finite),
        "windows": windows,
        "clusters": clusters,
        "note": "no difference at any token" if not values.any() else few_clusters_note(clusters),
    }


def _effect(difference: float, error: float, clusters: int) -> float:
    """Difference over the standard deviation of the clusters' differences, √G times the standard error."""
    if difference == 0 or np.isnan(error):
        return np.nan if np.isnan(error) else 0.0
    return difference / (error * np.sqrt(clusters)) if error > 0 else np.inf


# --- many pairs -------------------------------------------------------------------------------------------------------


def with_holm(table: pd.DataFrame) -> pd.DataFrame:
    """The table with ``t_p_holm``: Holm's (1979) adjustment of ``t_p`` over the pairs of each corpus and context."""
    table = table.copy()
    for _, block in table[table["t_p"].notna()].groupby(list(_PLACE), sort=False):
        table.loc[block.index, "t_p_holm"] = multipletests(block["t_p"], method="holm")[1]
    return table


def floor_means(fidelity: pd.DataFrame, label: str) -> dict[tuple[str, int], float]:
    """(corpus, context) → mean KLD of a floor row, from tables of schema ``fidelity``."""
    rows = fidelity[(fidelity["quant"] == label) & (fidelity["metric"] == "kl_mean")]
    return {(r.corpus, int(r.context)): float(r.estimate) for r in rows.itertuples()}


def paired_table(
    tokens_of: Callable[[str], pd.DataFrame],
    pairs: Sequence[tuple[str, str]],
    *,
    confidence: float,
    bootstrap: int,
    power: float,
    seed: int,
    floor: Mapping[tuple[str, int], float] | None = None,
) -> pd.DataFrame:
    """`paired_difference` of every pair of labels, such as each with the next one by mean KLD.

    Only two token tables are held at a time; one that the next pair needs too is not read again. Every pair draws the
    same resamples of clusters, from ``seed``.

    Raises
    ------
    StatisticsError
        If there is no pair, or two tables are not of the same tokens.
    """
    if not pairs:
        raise StatisticsError(
            "A pair needs two quants.", expected="at least one pair", found="none", do="measure one more quant"
        )
    how = {"confidence": confidence, "bootstrap": bootstrap, "power": power, "floor": floor}
    parts = [
        paired_difference(a, b, pair, **how, rng=np.random.default_rng(seed))
        for pair, (a, b) in zip(pairs, _each(tokens_of, pairs), strict=True)
    ]
    return with_holm(pd.concat(parts, ignore_index=True))


def _each(
    tokens_of: Callable[[str], pd.DataFrame], pairs: Sequence[tuple[str, str]]
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Both token tables of one pair after the other, without the columns that no pair needs."""
    held: dict[str, pd.DataFrame] = {}
    for a, b in pairs:
        held = {k: held[k] if k in held else _needed(tokens_of(k)) for k in (a, b)}
        yield held[a], held[b]


def _needed(tokens: pd.DataFrame) -> pd.DataFrame:
    return tokens[[*_same_columns(tokens), "kl"]]
