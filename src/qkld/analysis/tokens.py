"""What a study's tokens say: which neighbouring quants they put in order, what an engine adds to a file, and where in
the text KLD arises."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from qkld.analysis.study import LoadedStudy
from qkld.statistics.tokens.breakdown import breakdown_table
from qkld.statistics.tokens.differences import floor_means, paired_table
from qkld.study.entries import GgufModel, identity
from qkld.study.params import FLOOR_DTYPE, Study
from qkld.study.registry import registered

HOW_IT_RUNS = frozenset({"label", "engine", "cache_k", "cache_v", "flash_attention"})
"""What the entries of one GGUF file may differ in."""

ALONG_TEXT = 6
"""Quants whose KLD is shown by position where no quantized cache is among them."""

POWER = 0.8
"""Probability with which the windows that a pair is said to need find its difference."""


def quants_by_kld(study: LoadedStudy) -> list[str]:
    """Labels of the quants by rising mean KLD on the headline corpus."""
    where, table = study.params.headline, study.fidelity
    means = table[(table["corpus"] == where.corpus) & (table["context"] == where.context)]
    means = means[(means["metric"] == "kl_mean") & means["quant"].isin(study.quants)]
    return means.sort_values(["estimate", "quant"])["quant"].tolist()


def both_engines(params: Study) -> list[tuple[str, str]]:
    """Labels of each GGUF file that a study runs both in torch, given first, and in llama.cpp with any cache."""
    files = [q for q in params.quants if isinstance(q, GgufModel)]
    of_engine = {engine: [q for q in files if q.engine == engine] for engine in ("torch", "llamacpp")}
    return [
        (weights.label, deployed.label)
        for weights in of_engine["torch"]
        for deployed in of_engine["llamacpp"]
        if _file(weights) == _file(deployed)
    ]


def _file(entry: GgufModel) -> dict[str, Any]:
    """What of an entry names the file, and not how it is run."""
    return {k: v for k, v in identity(entry).items() if k not in HOW_IT_RUNS}


def quants_along_text(study: LoadedStudy) -> list[str]:
    """Labels of the quants whose KLD is shown by position, by rising mean KLD.

    Those with a quantized cache and the same files without; where a study has none, `ALONG_TEXT` from the lowest mean
    KLD to the highest.
    """
    deployed = [q for q in study.params.quants if isinstance(q, GgufModel) and q.engine == "llamacpp"]
    cached = [_file(q) for q in deployed if q.has_quantized_cache]
    ordered = quants_by_kld(study)
    if cached:
        shown = {q.label for q in deployed if _file(q) in cached}
        return [label for label in ordered if label in shown]
    places = np.linspace(0, len(ordered) - 1, min(ALONG_TEXT, len(ordered)))
    return [ordered[round(place)] for place in places]


def paired_fidelity(study: LoadedStudy) -> pd.DataFrame:
    """Every quant against the next one by mean KLD, then every file in torch against itself in llama.cpp, token by
    token; the columns of the result table ``paired_fidelity``.

    Intervals and resamples are those of the fidelity table: the study's knobs of notebook 02. Without a row where the
    study has a single quant. Where the repository keeps no tokens it is the table that the study's run made.
    """
    if not study.keeps_tokens:
        return study.analysis("paired_fidelity")
    pairs = list(dict.fromkeys([*pairwise(quants_by_kld(study)), *both_engines(study.params)]))
    if not pairs:
        return registered("paired_fidelity").frame([])
    floor = floor_means(study.fidelity, FLOOR_DTYPE)
    return paired_table(study.tokens, pairs, power=POWER, floor=floor, **_resampled(study))


def fidelity_breakdown(study: LoadedStudy) -> pd.DataFrame:
    """KLD, perplexity ratio and agreement by the reference's entropy and by position, floors that were measured first.

    Columns of the result table ``fidelity_breakdown``; intervals, resamples and kept tables as in `paired_fidelity`.
    """
    if not study.keeps_tokens:
        return study.analysis("fidelity_breakdown")
    measured = set(study.fidelity.loc[study.fidelity["estimate"].notna(), "quant"])
    floors = [label for label in study.params.floors if label in measured]
    return breakdown_table(study.tokens, [*floors, *quants_by_kld(study)], **_resampled(study))


def _resampled(study: LoadedStudy) -> dict[str, float | int]:
    knobs = study.params.quant_kld
    return {"confidence": knobs.confidence, "bootstrap": knobs.bootstrap, "seed": knobs.kld_seed}
