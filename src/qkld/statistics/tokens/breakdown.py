"""Where a quant's divergence comes from: by corpus, by how sure the reference is, and by position in the window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from qkld.errors import StatisticsError
from qkld.statistics.tokens.clusters import ClusterBootstrap, Floats, Interval, few_clusters_note
from qkld.statistics.tokens.fidelity import MEANS, SECOND_WALK, finite_tokens, mean_metric
from qkld.statistics.tokens.halves import half_row
from qkld.study.registry import registered

ENTROPY_EDGES = (0.0, 0.5, 1.0, 2.0, 4.0, np.inf)
"""Default buckets of the reference's entropy, nats: e^H, its effective number of choices, is 1, 1.6, 2.7, 7.4, 55."""

POSITION_BUCKETS = 4
"""Default buckets of the position in the window, each of about as many tokens."""

METRICS_SHOWN = ("kl_mean", "ppl_ratio", "top1_agreement")
"""Metrics of `qkld.statistics.tokens.fidelity.MEANS` that a breakdown takes by default."""

Edges = int | Sequence[float]
"""Rising edges of buckets, or a number of buckets with about as many tokens in each."""


def bucket_edges(values: Floats, edges: Edges) -> Floats:
    """Rising edges, shape (buckets + 1,): those given, or quantiles of the values.

    Raises
    ------
    StatisticsError
        If edges do not rise, a number of buckets is below 1, or a value lies outside.
    """
    if isinstance(edges, int):
        _check(edges >= 1, "A breakdown needs at least one bucket.", "a number from 1 on", edges)
        found = np.unique(np.quantile(values, np.linspace(0, 1, edges + 1), method="higher"))
        return found if len(found) > 1 else np.repeat(found, 2)
    found = np.asarray(edges, dtype=float)
    _check(len(found) > 1 and (np.diff(found) > 0).all(), "Edges of buckets must rise.", "rising numbers", list(edges))
    inside = (values >= found[0]) & (values <= found[-1])
    _check(
        inside.all(), "A value lies outside all buckets.", f"from {found[0]:g} to {found[-1]:g}", values[~inside][:3]
    )
    return found


def _check(holds: bool, problem: str, expected: object, found: object) -> None:
    if not holds:
        raise StatisticsError(problem, expected=expected, found=found, do="give other metrics or edges")


def bucket_of(values: Floats, edges: Floats) -> np.ndarray:
    """Bucket of each value, counted from 0; [from, to), and the last one holds its upper edge."""
    return np.digitize(values, edges[1:-1])


def breakdown(
    tokens: pd.DataFrame,
    label: str,
    *,
    entropy_edges: Edges = ENTROPY_EDGES,
    position_edges: Edges = POSITION_BUCKETS,
    metrics: Sequence[str] = METRICS_SHOWN,
    confidence: float,
    bootstrap: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Metrics of one quant in each bucket, with intervals clustered as the corpus says.

    Parameters
    ----------
    tokens : DataFrame
        A table of schema ``tokens``. Corpora and contexts are kept apart: a context's windows are the beginnings of
        longer ones, so pooling would count tokens twice.
    label : str
        Of the quant or floor row. Nothing is subtracted: floors are broken down like quants.
    entropy_edges, position_edges : sequence of float, or int
        Edges of buckets of the reference's entropy in nats and of the position in tokens, or their number; the edges
        are then quantiles over the tokens of each corpus and context.
    metrics : sequence of str
        Of `qkld.statistics.tokens.fidelity.MEANS`.
    confidence, bootstrap, rng
        As in `qkld.statistics.tokens.clusters.ClusterBootstrap`. A bucket's clusters are those with a token in it.

    Returns
    -------
    DataFrame
        The result table ``fidelity_breakdown``: ``by`` is ``corpus`` (all tokens), ``entropy``, ``position``, or
        ``half`` for `qkld.statistics.tokens.halves.later_over_earlier`. An empty bucket has 0 tokens, no estimate,
        and a note.

    Raises
    ------
    StatisticsError
        If a metric is unknown, edges do not fit, or a corpus has no finite token.
    """
    _check(set(metrics) <= set(MEANS), "A breakdown takes means only.", sorted(MEANS), list(metrics))
    lacking = [m for m in metrics if SECOND_WALK.get(m, "kl") not in tokens]
    _check(not lacking, "The tokens were measured without the second walk.", "metrics of one walk", lacking)
    rows = []
    for (corpus, context), block in tokens.groupby(["corpus", "context"], sort=False):
        finite = block[finite_tokens(block)]
        _check(len(finite) > 0, f"'{label}' has no finite token on '{corpus}'.", "finite logits", "none")
        facts = {"label": label, "corpus": corpus, "context": context, "nonfinite": len(block) - len(finite)}
        for where, chosen in _buckets(finite, entropy_edges, position_edges):
            for cells in _cells(chosen, metrics, confidence, bootstrap, rng):
                rows.append({**facts, **where, **cells})
        rows.append({**facts, **half_row(finite, confidence)})
    return registered("fidelity_breakdown").frame(rows)


def _buckets(
    finite: pd.DataFrame, entropy_edges: Edges, position_edges: Edges
) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Every bucket with its tokens; all tokens first."""
    yield {"by": "corpus", "bucket": 0, "bucket_from": np.nan, "bucket_to": np.nan}, finite
    entropy = np.maximum(finite["entropy_reference"].to_numpy(float), 0.0)  # rounding may leave −1e-16
    for by, values, given in (
        ("entropy", entropy, entropy_edges),
        ("position", finite["position"].to_numpy(float), position_edges),
    ):
        edges = bucket_edges(values, given)
        bucket = bucket_of(values, edges)
        for i, (low, high) in enumerate(pairwise(edges)):
            yield {"by": by, "bucket": i, "bucket_from": low, "bucket_to": high}, finite[bucket == i]


def _cells(
    tokens: pd.DataFrame, metrics: Sequence[str], confidence: float, bootstrap: int, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """The metrics of one bucket."""
    if tokens.empty:
        empty = {**asdict(Interval(np.nan)), "tokens": 0, "clusters": 0, "note": "no token in this bucket"}
        yield from ({"metric": metric, **empty} for metric in metrics)
        return
    resamples = ClusterBootstrap(tokens["cluster"].to_numpy(), confidence, bootstrap=bootstrap, rng=rng)
    counts = {"tokens": len(tokens), "clusters": resamples.groups, "note": few_clusters_note(resamples.groups)}
    for metric in metrics:
        yield {"metric": metric, **asdict(mean_metric(metric, tokens, resamples)), **counts}


def breakdown_table(
    tokens_of: Callable[[str], pd.DataFrame],
    labels: Sequence[str],
    *,
    entropy_edges: Edges = ENTROPY_EDGES,
    position_edges: Edges = POSITION_BUCKETS,
    confidence: float,
    bootstrap: int,
    seed: int,
) -> pd.DataFrame:
    """`breakdown` of every label, floors among them, one below the other; one token table is held at a time.

    Every quant draws the same resamples of clusters, from ``seed``.
    """
    how = {"confidence": confidence, "bootstrap": bootstrap}
    edges = {"entropy_edges": entropy_edges, "position_edges": position_edges}
    return pd.concat(
        [breakdown(tokens_of(label), label, **edges, **how, rng=np.random.default_rng(seed)) for label in labels],
        ignore_index=True,
    )
