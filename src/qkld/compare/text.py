"""A comparison as text for a terminal and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from qkld.analysis.cohort import plain_warning
from qkld.compare.cells import aligned, ends, plain_rows, signed
from qkld.compare.request import Comparison
from qkld.report.numbers import p_value
from qkld.statistics.tokens.fidelity import METRICS, QUANTILES
from qkld.study.params import FLOOR_DTYPE

SHARES = ("top1_agreement", "top5_agreement", "acceptance_rate")
"""Metrics shown as percentages."""


def shown(made: Comparison, *, breakdown: bool = False) -> str:
    """Every figure with its intervals, the floor beside them, and the paired tests."""
    level = f"{100 * made.made['statistics']['confidence']:g} %"
    quants = [label for label in made.fidelity["quant"].unique() if label != FLOOR_DTYPE]
    parts = [_head(made)]
    for label in quants:
        parts.append(_quant(made.fidelity[made.fidelity["quant"] == label], made, label, level))
        if breakdown:
            parts.append(_breakdown(made.breakdown[made.breakdown["label"] == label], level))
    if made.paired is not None:
        parts += [_pair(row, made, level) for row in made.paired.to_dict("records")]
    return "\n\n".join([*parts, _notes(made)]) + "\n"


def as_json(made: Comparison) -> dict[str, Any]:
    """The same as JSON values: an empty number is null, an infinite one ``"inf"``."""
    tables = {"fidelity": made.fidelity, "breakdown": made.breakdown, "paired": made.paired}
    rows = {name: plain_rows(table) for name, table in tables.items()}
    return {
        "made_by": made.made,
        "floor": "measured" if made.made["floor_dtype"] else made.made["without_floor"],
        **rows,
    }


def _head(made: Comparison) -> str:
    facts, first = made.made, made.fidelity.iloc[0]
    lines = {
        "reference": f"{facts['models']['reference']['given_as']}, in {facts['compute_dtype']} on {facts['device']}",
        "text": f"{facts['text']}: {first['tokens'] + first['nonfinite']} scored tokens, {first['clusters']} clusters",
        "floor": _floor(made),
    }
    return "\n".join(f"{name:<10} {line}" for name, line in lines.items())


def _floor(made: Comparison) -> str:
    rows = made.fidelity[(made.fidelity["quant"] == FLOOR_DTYPE) & (made.fidelity["metric"] == "kl_mean")]
    if rows.empty:
        return made.made["without_floor"]
    places = "; ".join(f"{signed(r['estimate'])} {_ends(r)}" for r in rows.to_dict("records"))
    return f"mean KLD {places} of the reference in {made.made['floor_dtype']}; subtracted from nothing"


def _quant(rows: pd.DataFrame, made: Comparison, label: str, level: str) -> str:
    facts = made.made["models"][label]
    bits = f"{facts['bits_per_weight']:.2f} bits a weight, {facts['bits_per_trunk_weight']:.2f} in the trunk"
    title = f"{label} ({bits}, {100 * facts['plain_trunk_share']:.1f} % of which no quantizer has touched)"
    remarks = [f"warning: {w}" for w in [plain_warning(label, facts["plain_trunk_share"])] if w] + _left_out(facts)
    order = {name: i for i, name in enumerate(_order())}
    header = ("metric", "estimate", f"{level} clustered", f"{level} bootstrap", "unit")
    cells = [
        (r["metric"], _of(r), _ends(r), _ends(r, "bootstrap_"), _unit(r["metric"]))
        for r in sorted(rows.to_dict("records"), key=lambda r: order[r["metric"]])
    ]
    nonfinite = int(rows["nonfinite"].iloc[0])
    lost = f"\n{nonfinite} tokens without finite logits are left out" if nonfinite else ""
    return "\n".join([title, *remarks, aligned([header, *cells])]) + lost


def _left_out(facts: Mapping[str, Any], shown: int = 5) -> list[str]:
    """What the model's files hold and the model does not."""
    parts = [f"{name} ({tensors} tensors)" for name, tensors in facts["stored_and_left_out"].items()]
    more = f" and {len(parts) - shown} more" if len(parts) > shown else ""
    return [f"stored and not loaded: {', '.join(parts[:shown])}{more}"] if parts else []


def _order() -> Iterable[str]:
    """Metrics in the order of `METRICS`, quantiles after the mean."""
    for name in METRICS:
        yield from QUANTILES if name == "kl_median" else (name,)


def _unit(metric: str) -> str:
    if metric.startswith(("kl_", "jensen_shannon")):
        return "nats"
    return "%" if metric in SHARES else ""


def _breakdown(rows: pd.DataFrame, level: str) -> str:
    header = ("by", "from", "to", "tokens", "mean KLD", f"{level} clustered", f"{level} bootstrap")
    kept = rows[(rows["metric"] == "kl_mean") & (rows["by"] != "corpus")]
    cells = [
        (
            r["by"], f"{r['bucket_from']:g}", f"{r['bucket_to']:g}", str(r["tokens"]), signed(r["estimate"]),
            _ends(r), _ends(r, "bootstrap_"),
        )
        for r in kept.to_dict("records")
    ]  # fmt: skip
    return aligned([header, *cells])


def _pair(row: Mapping[str, Any], made: Comparison, level: str) -> str:
    power = f"{100 * made.made['statistics']['power']:g} %"
    a, b = row["label_a"], row["label_b"]
    signs = f"{row['lower_a']} of {row['clusters']} clusters, higher in {row['lower_b']}, {row['tied_clusters']} tied"
    lines = [
        f"{b} − {a}, paired on {row['tokens']} tokens",
        f"  difference of mean KLD  {signed(row['kld_difference'])} nats, {level} clustered {_ends(row)}, "
        f"bootstrap {_ends(row, 'bootstrap_')}",
        f"  t test                  p {p_value(row['t_p'])}, over all pairs (Holm) {p_value(row['t_p_holm'])}",
        f"  sign test by cluster    '{a}' lower in {signs}: p {p_value(row['sign_p'])}",
        f"  windows needed          {_count(row['windows_needed'])} for a power of {power} at this difference "
        f"({row['windows']} were run, which find {signed(row['detectable'])} nats)",
    ]
    return "\n".join(lines)


def _notes(made: Comparison) -> str:
    """Each note once, with the metrics that it is about where these are not all."""
    rows = made.fidelity[made.fidelity["quant"] != FLOOR_DTYPE]
    parts = rows.assign(note=rows["note"].str.split("; ")).explode("note")
    lines = []
    for note, metrics in parts[parts["note"] != ""].groupby("note", sort=False)["metric"]:
        whole = set(metrics) == set(rows["metric"])
        lines.append(note if whole else f"{', '.join(metrics.unique())}: {note}")
    clustered = "clustered: CR1 and t on clusters − 1 for a mean, cluster bootstrap for a quantile"
    return "\n".join([*lines, f"{clustered}; bootstrap: percentiles of resampled clusters"])


# --- cells ------------------------------------------------------------------------------------------------------------


def _of(row: Mapping[str, Any]) -> str:
    return signed(100 * row["estimate"] if row["metric"] in SHARES else row["estimate"])


def _ends(row: Mapping[str, Any], prefix: str = "") -> str:
    """``[low, high]`` of a row, or nothing where there is no interval."""
    return ends(row, prefix, scale=100 if row.get("metric") in SHARES else 1)


def _count(value: float) -> str:
    if math.isnan(value):
        return "not available"
    return "no number of windows is enough" if math.isinf(value) else f"{value:.0f}"
