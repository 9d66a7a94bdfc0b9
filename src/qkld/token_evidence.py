"""What a study's tokens say: which neighbouring quants they put in order, and where in the text KLD arises."""

from __future__ import annotations

import pandas as pd

from qkld.breakdown import breakdown_table
from qkld.cohort import FLOOR_RECIPES
from qkld.paired import PAIRED, floor_means, paired_table
from qkld.params import FLOOR_DTYPE
from qkld.study import LoadedStudy

POWER = 0.8
"""Probability with which the windows that a pair is said to need find its difference."""


def quants_by_kld(study: LoadedStudy) -> list[str]:
    """Labels of the quants by rising mean KLD on the headline corpus."""
    where, table = study.params.headline, study.fidelity
    means = table[(table["corpus"] == where.corpus) & (table["context"] == where.context)]
    means = means[(means["metric"] == "kl_mean") & means["quant"].isin(study.quants)]
    return means.sort_values(["estimate", "quant"])["quant"].tolist()


def paired_fidelity(study: LoadedStudy) -> pd.DataFrame:
    """Every quant against the next one by mean KLD, token by token; columns `qkld.paired.PAIRED`.

    Intervals and resamples are those of the fidelity table: the study's knobs of notebook 02. Without a row where the
    study has a single quant.
    """
    ranked = quants_by_kld(study)
    if len(ranked) < 2:
        return pd.DataFrame(columns=list(PAIRED))
    floor = floor_means(study.fidelity, FLOOR_DTYPE)
    return paired_table(study.tokens, ranked, power=POWER, floor=floor, **_resampled(study))


def fidelity_breakdown(study: LoadedStudy) -> pd.DataFrame:
    """KLD, perplexity ratio and agreement by the reference's entropy and by position, floors first.

    Columns `qkld.breakdown.BREAKDOWN`; intervals and resamples as in `paired_fidelity`.
    """
    return breakdown_table(study.tokens, [*FLOOR_RECIPES, *quants_by_kld(study)], **_resampled(study))


def _resampled(study: LoadedStudy) -> dict[str, float | int]:
    knobs = study.params.quant_kld
    return {"confidence": knobs.confidence, "bootstrap": knobs.bootstrap, "seed": knobs.kld_seed}
