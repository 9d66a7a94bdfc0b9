"""What KLD says of a prompt beyond that prompt's length or difficulty, and whether it says which way an answer flips.

Across prompts an AUROC mostly measures difficulty: hard prompts diverge more and fail more, in every quant. So it
stands beside those of prompt length and of the reference's own entropy and surprise; then come comparisons of quants on
one prompt; and last the two ways to flip. Where displacement has no direction, items that became wrong and items that
became right both diverge more than those that stayed; where it has, only the former do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from qkld.errors import StatisticsError
from qkld.statistics.core.auroc import Auroc, auroc
from qkld.statistics.core.checks import joined, noted, one_line
from qkld.statistics.core.clustered import clustered_share, half_width
from qkld.statistics.prompts.prompt_rows import BASELINES, PromptItems, labelled, refuse_short

FORMS = ("as measured", "centred by quant")
"""How quants are compared on one prompt: by KLD, or by ln KLD less the quant's mean, so that a quant that diverges more
and fails more everywhere does not count."""


# --- baselines --------------------------------------------------------------------------------------------------------

NO_BASELINE: dict[str, Any] = dict.fromkeys(("auroc", "low", "high", "gain", "gain_low", "gain_high"), np.nan)


def baseline_table(prompts: PromptItems, *, minimum_failed: int, confidence: float) -> pd.DataFrame:
    """AUROC of failing for the divergence and for each baseline, over all quants, on every benchmark and all together.

    Items of one quant and benchmark are compared. ``gain`` is the divergence's AUROC less the baseline's, on the items
    that have both, with the interval of the paired difference (DeLong's, clustered by prompt). Baselines are those of
    `BASELINES` that the items have values of.
    """
    divergence, short = prompts.divergence, prompts.short
    call = {"divergence": divergence, "minimum": minimum_failed, "level": confidence}
    table = []
    for benchmark, part in prompts.parts():
        for predictor in (divergence, *(c for c in BASELINES if c in part)):
            known = part[part[divergence].notna() & part[predictor].notna()]
            found = noted(
                lambda b=benchmark, k=known, p=predictor: _baseline(b, short, k, predictor=p, **call), NO_BASELINE
            )
            failed = int(known["failed"].sum())
            key = {"benchmark": benchmark, "predictor": predictor, "items": len(known), "failed": failed}
            table.append({**key, "passed": len(known) - failed, **found})
    return pd.DataFrame(table)


def _baseline(
    benchmark: str,
    short: Mapping[str, str],
    known: pd.DataFrame,
    *,
    divergence: str,
    predictor: str,
    minimum: int,
    level: float,
) -> dict[str, Any]:
    refuse_short(benchmark, short)
    by = {c: auroc(known[c], known["failed"], known["stratum"], minimum=minimum) for c in {divergence, predictor}}
    own = by[predictor]
    low, high = own.interval(known["prompt"], level)
    row = {"auroc": own.estimate, "low": low, "high": high}
    if predictor == divergence:
        return row
    gain = by[divergence].estimate - own.estimate
    half = half_width(by[divergence].influence - own.influence, known["prompt"], level)
    return {**row, "gain": gain, "gain_low": gain - half, "gain_high": gain + half}


# --- quants on one prompt ---------------------------------------------------------------------------------------------

NO_PAIRS: dict[str, Any] = {"prompts": 0, "pairs": 0, **dict.fromkeys(("auroc", "low", "high"), np.nan)}


def within_table(prompts: PromptItems, *, epsilon: float, confidence: float) -> pd.DataFrame:
    """AUROC over pairs of a quant that fails and one that passes the *same* prompt, in both `FORMS`.

    Nothing that belongs to the prompt can enter: neither its length nor its difficulty. Pairs count alike, so a prompt
    weighs by its pairs; the interval is that of a ratio of sums over prompts.
    """
    divergence, short = prompts.divergence, prompts.short
    rows = prompts.rows[prompts.rows[divergence].notna()]
    logs = np.log(rows[divergence] + epsilon)
    rows = rows.assign(centred=logs - logs.groupby(rows["stratum"]).transform("mean"))
    table = []
    for benchmark, part in prompts.parts(rows):
        for form, column in zip(FORMS, (divergence, "centred"), strict=True):
            found = noted(lambda b=benchmark, p=part, c=column: _within(b, short, p, c, confidence), NO_PAIRS)
            table.append({"benchmark": benchmark, "form": form, **found})
    return pd.DataFrame(table)


def _within(
    benchmark: str, short: Mapping[str, str], part: pd.DataFrame, column: str, confidence: float
) -> dict[str, Any]:
    refuse_short(benchmark, short)
    values, failed = (part.pivot(index=["benchmark", "item"], columns="model", values=c) for c in (column, "failed"))
    wins, pairs = pairs_within(values.to_numpy(dtype=float), failed.eq(True).to_numpy())  # a gap has no outcome
    prompts = part.drop_duplicates(["benchmark", "item"]).set_index(["benchmark", "item"])["prompt"]
    share, low, high = clustered_share(wins, pairs, prompts.loc[values.index].to_numpy(), confidence)
    return {
        "prompts": int((pairs > 0).sum()),
        "pairs": int(pairs.sum()),
        "auroc": share,
        "low": low,
        "high": high,
    }


def pairs_within(values: np.ndarray, failed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each prompt the pairs that the failing quant wins (ties ½) and all pairs: (prompts, quants) → two (prompts,).

    A pair is a quant that fails and one that passes; rows without a value (NaN) are in none.
    """
    known = ~np.isnan(values)
    wins, pairs = np.zeros(len(values)), np.zeros(len(values))
    for quant in range(values.shape[1]):
        pair = (known & ~failed) & (known & failed)[:, [quant]]
        own = values[:, [quant]]
        wins += (pair * ((own > values) + 0.5 * (own == values))).sum(axis=1)
        pairs += pair.sum(axis=1)
    return wins, pairs


# --- drops and leapfrogs ----------------------------------------------------------------------------------------------

FLIPS = ("drop", "leapfrog")

NO_FLIPS: dict[str, Any] = dict.fromkeys(
    (*(f"auroc_{flip}{end}" for flip in FLIPS for end in ("", "_low", "_high")),
     *(f"drop_less_leapfrog{end}" for end in ("", "_low", "_high"))), np.nan
)  # fmt: skip


def flip_signal_table(prompts: PromptItems, *, minimum_failed: int, confidence: float) -> pd.DataFrame:
    """AUROC of the divergence for drops, for leapfrogs, and the first less the second, by quant and over all.

    A drop's AUROC is over items that the reference has right (the quant wrong against still right), a leapfrog's over
    those that it has wrong (now right against still wrong). No direction: both above ½ alike. Direction: drops above
    ½, leapfrogs below. The difference's interval is clustered by prompt; each needs ``minimum_failed`` flips and as
    many items that stayed.

    Raises
    ------
    StatisticsError
        If the prompts were put together without a reference.
    """
    if prompts.rows["reference_right"].isna().all():
        raise StatisticsError(
            "Flips are counted against a reference.",
            expected="prompts with the reference's answers",
            found="no reference",
            do="name the reference when the prompts are collected",
        )
    divergence, short = prompts.divergence, prompts.short
    table = []
    for benchmark, part in prompts.parts(prompts.rows[prompts.rows[divergence].notna()]):
        for label, own in labelled(part, prompts.models):
            found = noted(
                lambda b=benchmark, o=own: _flips(b, short, o, divergence, minimum_failed, confidence), NO_FLIPS
            )
            table.append({"label": label, "benchmark": benchmark, **_flip_counts(own), **found})
    return pd.DataFrame(table)


def _flip_counts(rows: pd.DataFrame) -> dict[str, int]:
    known, failed = rows["reference_right"].eq(True), rows["failed"]
    return {
        "drops": int((known & failed).sum()),
        "stayed_right": int((known & ~failed).sum()),
        "leapfrogs": int((~known & ~failed).sum()),
        "stayed_wrong": int((~known & failed).sum()),
    }


def _flips(
    benchmark: str, short: Mapping[str, str], rows: pd.DataFrame, column: str, minimum: int, confidence: float
) -> dict[str, Any]:
    refuse_short(benchmark, short)
    known = rows["reference_right"].eq(True)
    notes, found, measured = [], {}, {}
    for flip, part in zip(FLIPS, (rows[known], rows[~known]), strict=True):
        flipped = part["failed"] if flip == "drop" else ~part["failed"]
        try:
            one = auroc(part[column], flipped, part["stratum"], minimum=minimum)
        except StatisticsError as error:
            notes.append(f"{flip}s: {one_line(error)}")
            continue
        low, high = one.interval(part["prompt"], confidence)
        found |= {f"auroc_{flip}": one.estimate, f"auroc_{flip}_low": low, f"auroc_{flip}_high": high}
        measured[flip] = (one, part["prompt"])
    if len(measured) == len(FLIPS):
        found |= _difference(measured, confidence)
    return {**found, "note": joined(*notes)}


def _difference(measured: Mapping[str, tuple[Auroc, pd.Series]], confidence: float) -> dict[str, float]:
    (drop, drop_prompts), (leap, leap_prompts) = (measured[flip] for flip in FLIPS)
    influence = np.concatenate([drop.influence, -leap.influence])
    prompts = np.concatenate([drop_prompts, leap_prompts])
    half = half_width(influence, prompts, confidence)
    gap = drop.estimate - leap.estimate
    return {"drop_less_leapfrog": gap, "drop_less_leapfrog_low": gap - half, "drop_less_leapfrog_high": gap + half}
