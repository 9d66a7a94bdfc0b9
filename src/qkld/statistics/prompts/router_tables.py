"""The router over every pair of models, beside what needs no KLD, and in forms that an offset cannot move.

KLDs of two models may be against different references, and even against one they differ by a factor that holds for
every prompt. Such an offset alone moves the accuracy as soon as one model is right more often. Free of it are the AUROC
of ln KLD_A − ln KLD_B for "B is right", Fisher's p, and a router on ln KLD standardised within each model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from qkld.statistics.core.auroc import auroc
from qkld.statistics.core.checks import noted
from qkld.statistics.core.clustered import clustered_share
from qkld.statistics.prompts.prompt_rows import ALL_BENCHMARKS, ALL_PAIRS, PromptItems, refuse_short
from qkld.statistics.prompts.router import CHANCE, Routing, decisions, route, wilson
from qkld.study.registry import registered

CONFIDENCE = ("choice_entropy", "entropy_reference")
"""Columns of an item's entropy, the first that is there is routed by: to the model with the lower one."""

BASES = {"same": "same base", "different": "different bases"}
"""What a pair's ``bases`` say → label of the row that pools such pairs."""

_UNKNOWN: dict[str, Any] = {"items": 0, "ties": 0, "chance": CHANCE}
"""What is known of a pair, or a pool of them, that cannot be routed."""


def router_table(prompts: PromptItems, *, confidence: float, epsilon: float = 1e-7) -> pd.DataFrame:
    """The router over every pair of models on every benchmark, and over all pairs, those of one base, and of two.

    Two models have the same base where their KLD is against the same reference: all of a study's quants do. Imported
    items may have a column ``base``. A pair's interval is Wilson's. In a pool an item comes once for each pair, so its
    interval is clustered by prompt and it has no p; ``margins_only``, ``always_better`` and ``entropy`` are the pairs'
    means there, weighted by items, and its AUROC compares items of one pair. Items on which a model has no divergence
    are left out of its pairs. ``epsilon`` (nats) is added to KLD before its logarithm.
    """
    rows, short = prompts.rows, prompts.short
    bases = _bases(rows)
    table, parts = [], []
    for benchmark in prompts.benchmarks:
        sides = _sides(rows[rows["benchmark"] == benchmark], prompts.divergence, epsilon)
        pairs = [_pair(sides, benchmark, a, b, bases) for a, b in combinations(prompts.models, 2)]
        found = [(key, split, _noted_row(split, benchmark, short, confidence)) for key, split in pairs]
        table += [key | row for key, _, row in found] + _pools(benchmark, found, short, confidence)
        parts += [] if benchmark in short else found
    if len(prompts.benchmarks) > 1:
        table += _pools(ALL_BENCHMARKS, parts, {}, confidence)
    return registered("router").frame(table)


def _bases(rows: pd.DataFrame) -> dict[str, str]:
    """Model → the reference that its KLD is against; one for all without a column ``base``."""
    if "base" not in rows:
        return dict.fromkeys(rows["model"].unique(), "")
    return rows.groupby("model")["base"].first().to_dict()


# --- one pair ---------------------------------------------------------------------------------------------------------


def _sides(rows: pd.DataFrame, divergence: str, epsilon: float) -> dict[str, pd.DataFrame]:
    """One benchmark's items, models side by side: KLD, ln KLD, that standardised within each model, entropy, answers.

    A model whose KLD is the same on every item has no standardised one (NaN).
    """
    own = next((c for c in CONFIDENCE if c in rows), None)
    wide = {c: rows.pivot(index="item", columns="model", values=c) for c in (divergence, "failed", own, "prompt") if c}
    logs = np.log(wide[divergence].astype(float) + epsilon)
    return {
        "kld": wide[divergence].astype(float),
        "log": logs,
        "z": (logs - logs.mean()) / logs.std().where(lambda spread: spread > 0),
        "entropy": wide[own].astype(float) if own else logs * np.nan,
        "right": ~wide["failed"].astype(bool),
        "prompt": wide["prompt"],
    }


Split = dict[str, np.ndarray]
"""Items of a pair on which exactly one of the two is right: ``kld_a``, ``kld_b``, ``right_a`` …, each (items,)."""


def _pair(
    sides: Mapping[str, pd.DataFrame], benchmark: str, a: str, b: str, bases: Mapping[str, str]
) -> tuple[dict[str, str], Split]:
    """A pair's place in the table, and its items on which exactly one of the two is right."""
    whole = {f"{name}_{side}": sides[name][m].to_numpy() for name in sides for side, m in (("a", a), ("b", b))}
    one = ~np.isnan(whole["kld_a"] + whole["kld_b"]) & (whole["right_a"] != whole["right_b"])
    bases_of_pair = "same" if bases[a] == bases[b] else "different"
    key = {"benchmark": benchmark, "label_a": a, "label_b": b, "bases": bases_of_pair}
    return key, {name: values[one] for name, values in whole.items()}


def _noted_row(split: Split, benchmark: str, short: Mapping[str, str], confidence: float) -> dict[str, Any]:
    return noted(lambda: _row(split, benchmark, short, confidence), _UNKNOWN)


def _row(split: Split, benchmark: str, short: Mapping[str, str], confidence: float) -> dict[str, Any]:
    refuse_short(benchmark, short)
    routing = _routed(split, "kld")
    low, high = wilson(routing, confidence)
    return {
        "items": routing.items,
        "ties": routing.ties,
        "right": routing.right,
        "accuracy": routing.right / routing.items,
        "low": low,
        "high": high,
        "margins_only": routing.margins_only,
        "always_better": routing.always_better,
        "entropy": _by_entropy(split),
        "fisher_p": routing.fisher_p,
        **_offset_free(split, confidence),
        **_standardised(split, confidence),
    }


def _routed(split: Split, name: str) -> Routing:
    """The pair routed to the lower value of a column."""
    return route(split[f"{name}_a"], split[f"{name}_b"], split["right_a"], split["right_b"])


def _by_entropy(split: Split) -> float:
    """Accuracy of a router to the model with the lower entropy; NaN where the items have none or all are equal.

    The reference's own entropy is the same for two quants of it, and routes nothing.
    """
    if np.isnan(split["entropy_a"] + split["entropy_b"]).any() or (split["entropy_a"] == split["entropy_b"]).all():
        return np.nan
    routing = _routed(split, "entropy")
    return routing.right / routing.items


def _standardised(split: Split, confidence: float) -> dict[str, float]:
    if np.isnan(split["z_a"] + split["z_b"]).any():
        return {}
    routing = _routed(split, "z")
    low, high = wilson(routing, confidence)
    return {
        "z_accuracy": routing.right / routing.items,
        "z_low": low,
        "z_high": high,
        "z_fisher_p": routing.fisher_p,
    }


def _offset_free(split: Split, confidence: float, strata: np.ndarray | None = None) -> dict[str, float]:
    """AUROC of ln KLD_A − ln KLD_B for "B is right"; nothing where only one of the two is ever right."""
    if split["right_b"].all() or not split["right_b"].any():
        return {}
    found = auroc(split["log_a"] - split["log_b"], split["right_b"], strata)
    several = np.ptp(split["prompt_a"]) > 0
    low, high = found.interval(split["prompt_a"], confidence) if several else (np.nan, np.nan)
    return {"auroc": found.estimate, "auroc_low": low, "auroc_high": high}


# --- pools ------------------------------------------------------------------------------------------------------------

Found = tuple[dict[str, str], Split, dict[str, Any]]


def _pools(benchmark: str, found: Sequence[Found], short: Mapping[str, str], confidence: float) -> list[dict[str, Any]]:
    """All pairs together, then those of one base and those of two, each where there is any."""
    whole = noted(lambda: _pool(benchmark, found, short, confidence), _UNKNOWN)
    rows = [_pool_key(benchmark, ALL_PAIRS, found) | whole]
    for kind, label in BASES.items():
        pairs = [f for f in found if f[0]["bases"] == kind]
        if pairs:
            own = len(pairs) < len(found)
            row = noted(lambda p=pairs: _pool(benchmark, p, short, confidence), _UNKNOWN) if own else whole
            rows.append(_pool_key(benchmark, label, pairs) | row)
    return rows


def _pool_key(benchmark: str, label: str, pairs: Sequence[Found]) -> dict[str, str]:
    kinds = " and ".join(sorted({key["bases"] for key, *_ in pairs}))
    return {"benchmark": benchmark, "label_a": label, "label_b": label, "bases": kinds}


def _pool(benchmark: str, found: Sequence[Found], short: Mapping[str, str], confidence: float) -> dict[str, Any]:
    refuse_short(benchmark, short)
    used = [(split, row) for _, split, row in found if row["items"]]
    if not used:
        wilson(Routing(0, 0, 0, 0), confidence)  # says that there is nothing to route
    splits = {name: np.concatenate([split[name] for split, _ in used]) for name in used[0][0]}
    strata = np.repeat(np.arange(len(used)), [row["items"] for _, row in used])
    prompt, rows = splits["prompt_a"], [row for _, row in used]
    hits = _hits(splits, "kld")
    accuracy, low, high = clustered_share(hits, np.ones(hits.size), prompt, confidence)
    return {
        "items": hits.size,
        "ties": sum(row["ties"] for row in rows),
        "right": hits.sum(),
        "accuracy": accuracy,
        "low": low,
        "high": high,
        **{c: _weighted(rows, c) for c in ("margins_only", "always_better", "entropy")},
        **_offset_free(splits, confidence, strata),
        **_pooled_z(splits, prompt, confidence),
        "note": f"{len(used)} pairs over {np.unique(prompt).size} prompts, interval clustered by prompt; no p",
    }


def _pooled_z(splits: Split, prompt: np.ndarray, confidence: float) -> dict[str, float]:
    known = ~np.isnan(splits["z_a"] + splits["z_b"])
    if not known.any():
        return {}
    hits = _hits({name: values[known] for name, values in splits.items()}, "z")
    accuracy, low, high = clustered_share(hits, np.ones(hits.size), prompt[known], confidence)
    return {"z_accuracy": accuracy, "z_low": low, "z_high": high}


def _hits(splits: Split, name: str) -> np.ndarray:
    """What the router gets on each item: 1, 0, or ½ for a tie."""
    return decisions(splits[f"{name}_a"], splits[f"{name}_b"], splits["right_a"], splits["right_b"])[1]


def _weighted(rows: Sequence[Mapping[str, Any]], column: str) -> float:
    """The pairs' mean, weighted by their items, over pairs that have the value."""
    known = [(row[column], row["items"]) for row in rows if not np.isnan(row[column])]
    return sum(v * n for v, n in known) / sum(n for _, n in known) if known else np.nan
