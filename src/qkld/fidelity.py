"""Token table of a quant → its fidelity metrics, each with intervals clustered as the corpus says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import pandas as pd

from qkld.clusters import ClusterBootstrap, Interval, few_clusters_note
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
    "top5_agreement": "mean share of the reference's five most probable tokens that are among the quant's five",
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
        resamples = ClusterBootstrap(finite["cluster"].to_numpy(), confidence, bootstrap=bootstrap, rng=rng)
        note = few_clusters_note(resamples.groups)
        for metric, value in _metrics(finite, resamples):
            where = {"quant": quant, "corpus": corpus, "context": context, "metric": metric}
            rows.append({**where, **asdict(value), **counts, "note": note})
    return FIDELITY.checked(pd.DataFrame(rows))


def _metrics(tokens: pd.DataFrame, resamples: ClusterBootstrap) -> Iterator[tuple[str, Interval]]:
    mean = resamples.mean
    kl, nll_reference, nll_quant = (tokens[c].to_numpy(float) for c in ("kl", "nll_reference", "nll_quant"))
    shift = (tokens["p_quant"] - tokens["p_reference"]).to_numpy()
    log_ratio = mean(nll_quant - nll_reference)
    yield "kl_mean", mean(kl)
    yield from zip(QUANTILES, resamples.quantiles(kl, tuple(QUANTILES.values())), strict=True)
    yield "kl_max", Interval(float(kl.max()))
    yield "kl_reverse_mean", mean(tokens["kl_reverse"].to_numpy())
    yield "ppl", mean(nll_quant).mapped(np.exp)
    yield "ppl_reference", mean(nll_reference).mapped(np.exp)
    yield "ppl_ratio", log_ratio.mapped(np.exp)
    yield "abs_log_ppl_ratio", log_ratio.absolute()
    yield "top1_agreement", mean(tokens["same_top1"].to_numpy(float)).mapped(_as_share)
    yield "top5_agreement", mean(tokens["top5_shared"].to_numpy()).mapped(_as_share)
    yield "dp_mean", mean(shift)
    yield "dp_rms", mean(shift**2).mapped(lambda x: np.sqrt(np.maximum(x, 0.0)))


def _as_share(value: float) -> float:
    return float(np.clip(value, 0.0, 1.0))
