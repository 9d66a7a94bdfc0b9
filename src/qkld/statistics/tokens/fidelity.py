"""Token table of a quant → its fidelity metrics, each with intervals clustered as the corpus says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qkld.errors import StatisticsError
from qkld.statistics.tokens.clusters import ClusterBootstrap, Interval, few_clusters_note
from qkld.study.large_tables import SpooledTable
from qkld.study.schemas import FIDELITY

QUANTILES = {"kl_median": 0.5, "kl_p90": 0.9, "kl_p95": 0.95, "kl_p99": 0.99, "kl_p99_9": 0.999}

LEAST_BEYOND = 5
"""Tokens that have to lie beyond a quantile: with fewer, its estimate and its bootstrap are those of the maximum."""

LEAST_CLUSTERS_BEYOND = 40
"""Clusters that have to hold tokens beyond a quantile: of 17 to 26 in 40 windows, nominal 95 % intervals held it in .86
to .93 of simulated corpora (99th percentile), of 4 or 5 in .77 to .88 (99.9th)."""

METRICS = {
    "kl_mean": "mean KL(reference ‖ quant), nats per token",
    "kl_median": "median of the same; kl_p90, kl_p95, kl_p99 and kl_p99_9 are its further percentiles",
    "kl_max": "largest KL(reference ‖ quant) of a token, nats; no interval: a bootstrap cannot bound a maximum",
    "kl_reverse_mean": "mean KL(quant ‖ reference), nats per token",
    "ppl": "perplexity of the quant: exp(mean −ln p(token))",
    "ppl_reference": "perplexity of the reference",
    "ppl_ratio": "perplexity of the quant over the reference's",
    "abs_log_ppl_ratio": "|ln of that ratio|",
    "top1_agreement": "share of tokens whose most probable token is the reference's",
    "top5_agreement": "mean share of the reference's five most probable tokens that are among the quant's five",
    "dp_mean": "mean of p_quant(token) − p_reference(token)",
    "dp_rms": "root mean square of the same",
    "acceptance_rate": "expected acceptance rate of speculative decoding with the quant as draft: mean 1 − total "
    "variation; with the second walk only, like the next",
    "jensen_shannon_mean": "mean Jensen–Shannon divergence, nats per token",
}


def _same(mean: Interval) -> Interval:
    return mean


def _exp(mean: Interval) -> Interval:
    return mean.mapped(np.exp)


def _as_share(mean: Interval) -> Interval:
    return mean.mapped(lambda x: np.clip(x, 0.0, 1.0))


def _root(mean: Interval) -> Interval:
    return mean.mapped(lambda x: np.sqrt(np.maximum(x, 0.0)))


def _shift(tokens: Columns) -> pd.Series:
    return tokens["p_quant"] - tokens["p_reference"]


def _log_ratio(tokens: Columns) -> pd.Series:
    return tokens["nll_quant"] - tokens["nll_reference"]


MEANS: Mapping[str, tuple[Callable[[Columns], pd.Series], Callable[[Interval], Interval]]] = {
    "kl_mean": (lambda t: t["kl"], _same),
    "kl_reverse_mean": (lambda t: t["kl_reverse"], _same),
    "ppl": (lambda t: t["nll_quant"], _exp),
    "ppl_reference": (lambda t: t["nll_reference"], _exp),
    "ppl_ratio": (_log_ratio, _exp),
    "abs_log_ppl_ratio": (_log_ratio, Interval.absolute),
    "top1_agreement": (lambda t: t["same_top1"], _as_share),
    "top5_agreement": (lambda t: t["top5_shared"], _as_share),
    "dp_mean": (_shift, _same),
    "dp_rms": (lambda t: _shift(t) ** 2, _root),
    "acceptance_rate": (lambda t: 1 - t["total_variation"], _as_share),
    "jensen_shannon_mean": (lambda t: t["jensen_shannon"], _same),
}
"""Metrics that are means: what is averaged over tokens, and what is made of the mean and of its intervals' ends."""

SECOND_WALK = {"acceptance_rate": "total_variation", "jensen_shannon_mean": "jensen_shannon"}
"""Metric → the optional column that it needs."""


class Columns(Protocol):
    """A token table, or a part of one, whose columns are taken one at a time."""

    def __getitem__(self, name: str) -> pd.Series:
        """One column."""
        ...


@dataclass(frozen=True)
class Rows:
    """Some rows of a token table, each column taken when it is asked for."""

    table: pd.DataFrame | SpooledTable
    chosen: NDArray[np.bool_]

    def __getitem__(self, name: str) -> pd.Series:
        return self.table[name][self.chosen]


def summarise(
    tokens: pd.DataFrame | SpooledTable, quant: str, *, confidence: float, bootstrap: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Every metric of a quant, by corpus and context: a table of schema ``fidelity``.

    Of a spooled table one or two columns are in memory at a time, with corpus, context, clusters and, for quantiles,
    KL's order: some 60 bytes a token. Less would need other sums than numpy's, and quantiles that are not exact.

    Tokens at which either model's logits were not finite are left out and counted. Nothing is subtracted: the floor is
    shown beside the quants, as rows of its own.

    Raises
    ------
    StatisticsError
        If no token of a corpus is finite.
    """
    rows = []
    metrics = [metric for metric in MEANS if SECOND_WALK.get(metric, "kl") in tokens.columns]
    for (corpus, context), scored, finite in _places(tokens):
        count = int(finite.sum())
        if not count:
            raise StatisticsError(
                f"No token of '{quant}' on corpus '{corpus}' has finite logits.",
                expected="a model that gives finite logits",
                found=f"{scored} of {scored} tokens not finite",
                do="check the quant, or run it in compute_dtype float32",
            )
        chosen = Rows(tokens, finite)
        resamples = ClusterBootstrap(chosen["cluster"].to_numpy(), confidence, bootstrap=bootstrap, rng=rng)
        counts = {"tokens": count, "clusters": resamples.groups, "nonfinite": scored - count}
        for metric, value, note in _metrics(chosen, metrics, resamples):
            where = {"quant": quant, "corpus": corpus, "context": context, "metric": metric}
            rows.append({**where, **asdict(value), **counts, "note": note})
    return FIDELITY.checked(pd.DataFrame(rows))


def unmeasured(tokens: pd.DataFrame, quant: str, *, reason: str) -> pd.DataFrame:
    """The rows of `summarise` for a row of a study that could not be measured: no estimates, the reason as the note."""
    nothing = asdict(Interval(np.nan)) | {"tokens": 0, "clusters": 0, "nonfinite": 0, "note": reason}
    metrics = [m for m in MEANS if SECOND_WALK.get(m, "kl") in tokens.columns]
    rows = [
        {"quant": quant, "corpus": corpus, "context": context, "metric": metric, **nothing}
        for corpus, context in _place_index(tokens)[0]
        for metric in (*metrics, *QUANTILES, "kl_max")
    ]
    return FIDELITY.checked(pd.DataFrame(rows))


def _places(tokens: pd.DataFrame | SpooledTable) -> Iterator[tuple[tuple[str, int], int, NDArray[np.bool_]]]:
    """Each corpus and context: its scored tokens, and which rows of the table are its finite ones."""
    places, index = _place_index(tokens)
    finite = finite_tokens(tokens).to_numpy()
    for number, place in enumerate(places):
        rows = index == number
        yield place, int(rows.sum()), rows & finite


def _place_index(tokens: Columns) -> tuple[list[tuple[str, int]], NDArray[np.int16]]:
    """The corpora and contexts in the order in which they come first, and the number of each row's."""
    both = pd.DataFrame({name: tokens[name].array for name in ("corpus", "context")})
    index = both.groupby(["corpus", "context"], sort=False).ngroup().to_numpy().astype(np.int16)
    first = both.iloc[np.unique(index, return_index=True)[1]]
    return list(first.itertuples(index=False, name=None)), index


def _metrics(
    tokens: Columns, metrics: Sequence[str], resamples: ClusterBootstrap
) -> Iterator[tuple[str, Interval, str]]:
    """Every metric with its intervals and what to be careful of in them."""
    few = few_clusters_note(resamples.groups)
    for metric in metrics:
        yield metric, mean_metric(metric, tokens, resamples), few
    kl = tokens["kl"].to_numpy()
    for metric, value in zip(QUANTILES, resamples.quantiles(kl, tuple(QUANTILES.values())), strict=True):
        holding = np.unique(resamples.index[kl > value.estimate]).size
        tail = _tail_note(len(kl) * (1 - QUANTILES[metric]), holding, resamples.groups)
        yield metric, value, "; ".join(n for n in (few, tail) if n)
    yield "kl_max", Interval(float(kl.max())), few


def _tail_note(tokens: float, holding: int, clusters: int) -> str:
    """What to be careful of where so many tokens, in so many of the clusters, lie beyond a quantile."""
    if tokens < LEAST_BEYOND:
        return f"fewer than {LEAST_BEYOND} tokens lie beyond it"
    if holding < min(LEAST_CLUSTERS_BEYOND, clusters):
        return f"{holding} of {clusters} clusters hold tokens beyond it: a short interval below {LEAST_CLUSTERS_BEYOND}"
    return ""


def mean_metric(metric: str, tokens: Columns, resamples: ClusterBootstrap) -> Interval:
    """One of `MEANS` over rows of schema ``tokens``, all finite, whose clusters ``resamples`` was made from."""
    per_token, of_mean = MEANS[metric]
    return of_mean(resamples.mean(per_token(tokens).to_numpy(float)))


def finite_tokens(tokens: Columns) -> pd.Series:
    """Whether both models' logits were finite at a token."""
    return tokens["kl"].notna()
