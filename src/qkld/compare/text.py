"""A comparison as text for a terminal and as JSON: of exact distributions, and against a store that gives bounds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qkld.analysis.cohort import plain_warning
from qkld.compare.compare_request import Comparison
from qkld.report.numbers import p_value, significant
from qkld.statistics.tokens.fidelity import METRICS, QUANTILES
from qkld.study.params import FLOOR_DTYPE
from qkld.study.text_table import table_of_words

if TYPE_CHECKING:
    from qkld.compare.bounded import BoundedComparison

SHARES = ("top1_agreement", "top5_agreement", "acceptance_rate")
"""Metrics shown as percentages."""

BOUNDS = {"kl_low": "at least", "kl_high": "at most", "kl_floor": "floor form", "floored_share": "floored tokens"}
"""Metric of a comparison with bounds → how it is shown."""


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
    bits = f"{facts['bits_per_weight']:.2f} bits per weight, {facts['bits_per_trunk_weight']:.2f} in the trunk"
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
    return "\n".join([title, *remarks, *table_of_words(header, tuple(cells)).lines()]) + lost


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
    return "\n".join(table_of_words(header, tuple(cells)).lines())


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


# --- against a store that gives bounds --------------------------------------------------------------------------------


def bounded_json(made: BoundedComparison) -> dict[str, Any]:
    """The same as JSON values: an empty number is null, an infinite one ``"inf"``."""
    return {"made_by": made.made, "bounds": plain_rows(made.bounds), "paired": plain_rows(made.paired)}


def bounded_text(made: BoundedComparison) -> str:
    """Both bounds of each quant's mean KLD with their intervals, and Eq. 5's form with its share of floored tokens."""
    level = f"{100 * made.made['statistics']['confidence']:g} %"
    parts = ["\n".join(_served_head(made) if "served" in made.made else _bounded_head(made))]
    for label in made.bounds["quant"].unique():
        parts.append(_bounded_quant(made.bounds[made.bounds["quant"] == label], label, level))
    if made.paired is not None:
        parts.append("\n".join(_bounded_pair(row, level) for row in made.paired.to_dict("records")))
    return "\n\n".join([*parts, _bounded_notes(made)]) + "\n"


def _bounded_head(made: BoundedComparison) -> list[str]:
    facts, first = made.made, made.bounds.iloc[0]
    return [
        f"reference  {facts['reference']}: it holds its distributions rounded or cut off, so KLD has bounds",
        f"text       its own {facts['windows']} windows, {first['tokens'] + first['nonfinite']} scored tokens",
        f"quants     run in {facts['compute_dtype']} on {facts['device']}",
    ]


def _served_head(made: BoundedComparison) -> list[str]:
    """Of quants behind servers, with the windows that a server could be sent."""
    facts = made.made
    lines = [
        f"reference  {facts['reference']}, in {facts['compute_dtype']} on {facts['device']}",
        f"text       {facts['text']}: {facts['windows']} windows",
    ]
    for label in facts["served"]:
        own = facts["models"][label]
        some = "" if own["windows"] == facts["windows"] else f", sent {own['windows']} windows: others are no text"
        lines.append(f"{label}: served, gives its top log-probabilities alone, so KLD has bounds{some}")
    return lines


def _bounded_quant(rows: pd.DataFrame, label: str, level: str) -> str:
    header = ("mean KLD", "estimate", f"{level} clustered", f"{level} bootstrap", "unit")
    cells = [_bounded_cells(row) for row in rows.to_dict("records")]
    nonfinite = int(rows["nonfinite"].iloc[0])
    lost = f"\n{nonfinite} tokens without finite logits are left out" if nonfinite else ""
    return "\n".join([label, *table_of_words(header, tuple(cells)).lines()]) + lost


def _bounded_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    is_share = row["metric"] == "floored_share"
    scale = 100 if is_share else 1
    estimate = "no upper bound" if row["estimate"] == float("inf") else signed(scale * row["estimate"])
    shown = (estimate, ends(row, scale=scale), ends(row, "bootstrap_", scale=scale))
    return (BOUNDS[row["metric"]], *shown, "%" if is_share else "nats")


def _bounded_pair(row: Mapping[str, Any], level: str) -> str:
    between = f"between {signed(row['difference_low'])} and {signed(row['difference_high'])} nats"
    allowing = f"; with the sampling of windows ({level}) {ends(row)}" if ends(row) else ""
    return f"{row['label_b']} − {row['label_a']}: mean KLD differs by {between}{allowing}"


def _bounded_notes(made: BoundedComparison) -> str:
    form = made.made["floor_form"]
    lines = [note for note in made.bounds["note"].unique() if note]
    lines.append(
        f"floor form: Eq. 5 of arXiv:2606.19558 over both sides' {form['k']} top tokens, one missing from the quant's "
        f"at log-probability {form['log_probability']:g}; it is no bound; floored: tokens at which one is missing"
    )
    within = "a server's rounding" if "served" in made.made else "half a code step"
    lines.append(f"the floor of the compute dtype is not measured here; {within} is within the bounds")
    return "\n".join(lines)


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


def signed(value: float) -> str:
    """Four significant digits with a true minus sign."""
    return ("−" if value < 0 else "") + significant(abs(value), 4)


def ends(row: Mapping[str, Any], prefix: str = "", *, scale: float = 1) -> str:
    """``[low, high]`` of a row, or nothing where there is no interval."""
    low, high = (scale * row[f"{prefix}{end}"] for end in ("low", "high"))
    return "" if math.isnan(low) or math.isnan(high) else f"[{signed(low)}, {signed(high)}]"


def plain_rows(table: pd.DataFrame | None) -> list[dict[str, Any]] | None:
    """Rows as JSON values: an empty number is null, an infinite one ``"inf"``."""
    if table is None:
        return None
    return [{name: _plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
