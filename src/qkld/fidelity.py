"""Token table of a quant → its fidelity metrics, each with an interval clustered as the corpus says."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from qkld.clusters import Floats, Interval, clustered_mean, clustered_quantiles
from qkld.errors import StatisticsError, explain
from qkld.tables import FIDELITY

QUANTILES = {"kl_median": 0.5, "kl_p90": 0.9, "kl_p95": 0.95, "kl_p99": 0.99, "kl_p99_9": 0.999}

METRICS = {
    "kl_mean": "mean KL(reference ‖ quant), nats a token",
    "kl_median": "median of the same; kl_p90, kl_p95, kl_p99 and kl_p99_9 are its further percentiles",
    "kl_max": "largest KL(reference ‖ quant) of a token, nats; no interval: a bootstrap can not bound a maximum",
    "kl_reverse_mean": "mean KL(quant ‖ reference), nats a token",
    "ppl": "perplexity of the quant: exp(mean −ln p(token))",
    "ppl_reference": "perplexity of the reference",
    "ppl_ratio": "perplexity of the quant over the reference's",
    "abs_log_ppl_ratio": "|ln of that ratio|",
    "top1_agreement": "share of tokens whose most probable token is the reference's",
    "dp_mean": "mean of p_quant(token) − p_reference(token)",
    "dp_rms": "root mean square of the same",
}


def summarise(
    tokens: pd.DataFrame, quant: str, *, confidence: float, bootstrap: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Every metric of a quant, by corpus and context: a table of schema ``fidelity``.

    Tokens at which either model's logits were not finite are left out and counted. Nothing is subtracted: the floor is
    shown beside the quants, as rows of its own.

    Raises
    ------
    StatisticsError
        If no token of a corpus is finite.
    """
    rows = []
    for (corpus, context), block in tokens.groupby(["corpus", "context"], sort=False):
        finite = block[block["kl"].notna()]
        if finite.empty:
            raise StatisticsError(
                explain(
                    f"No token of '{quant}' on corpus '{corpus}' has finite logits.",
                    expected="a model that gives finite logits",
                    found=f"{len(block)} of {len(block)} tokens not finite",
                    do="check the quant, or run it in compute_dtype float32",
                )
            )
        counts = {
            "tokens": len(finite),
            "clusters": finite["cluster"].nunique(),
            "nonfinite": len(block) - len(finite),
        }
        for metric, value in _metrics(finite, confidence, bootstrap, rng):
            where = {"quant": quant, "corpus": corpus, "context": context, "metric": metric}
            rows.append({**where, "estimate": value.estimate, "low": value.low, "high": value.high, **counts})
    return FIDELITY.checked(pd.DataFrame(rows))


def _metrics(
    tokens: pd.DataFrame, confidence: float, bootstrap: int, rng: np.random.Generator
) -> Iterator[tuple[str, Interval]]:
    clusters = tokens["cluster"].to_numpy()

    def mean(values: Floats) -> Interval:
        return clustered_mean(values, clusters, confidence)

    kl, nll_reference, nll_quant = (tokens[c].to_numpy(float) for c in ("kl", "nll_reference", "nll_quant"))
    shift = (tokens["p_quant"] - tokens["p_reference"]).to_numpy()
    log_ratio = mean(nll_quant - nll_reference)
    yield "kl_mean", mean(kl)
    quantiles = clustered_quantiles(kl, clusters, tuple(QUANTILES.values()), confidence, bootstrap=bootstrap, rng=rng)
    yield from zip(QUANTILES, quantiles, strict=True)
    yield "kl_max", Interval(float(kl.max()), np.nan, np.nan)
    yield "kl_reverse_mean", mean(tokens["kl_reverse"].to_numpy())
    yield "ppl", _mapped(np.exp, mean(nll_quant))
    yield "ppl_reference", _mapped(np.exp, mean(nll_reference))
    yield "ppl_ratio", _mapped(np.exp, log_ratio)
    yield "abs_log_ppl_ratio", absolute(log_ratio)
    yield "top1_agreement", _mapped(lambda x: np.clip(x, 0.0, 1.0), mean(tokens["same_top1"].to_numpy(float)))
    yield "dp_mean", mean(shift)
    yield "dp_rms", _mapped(lambda x: np.sqrt(np.maximum(x, 0.0)), mean(shift**2))


def _mapped(function: Callable[[float], float], interval: Interval) -> Interval:
    """A rising function of an estimate and of its interval's ends."""
    return Interval(*(float(function(x)) for x in (interval.estimate, interval.low, interval.high)))


def absolute(interval: Interval) -> Interval:
    """|estimate| with the values that the interval's magnitudes cover: from 0 where it holds 0."""
    ends = sorted((abs(interval.low), abs(interval.high)))
    low = 0.0 if interval.low <= 0.0 <= interval.high else ends[0]
    return Interval(abs(interval.estimate), low if np.isfinite(ends[0]) else np.nan, ends[1])
