"""A comparison against a store that gives bounds, as text for a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from qkld.compare.bounded import BoundedComparison
from qkld.compare.cells import aligned, ends, plain_rows, signed

NAMES = {"kl_low": "at least", "kl_high": "at most", "kl_floor": "floor form", "floored_share": "floored tokens"}


def bounded_json(made: BoundedComparison) -> dict[str, Any]:
    """The same as JSON values: an empty number is null, an infinite one ``"inf"``."""
    return {"made_by": made.made, "bounds": plain_rows(made.bounds), "paired": plain_rows(made.paired)}


def bounded_text(made: BoundedComparison) -> str:
    """Both bounds of each quant's mean KLD with their intervals, and Eq. 5's form with its share of floored tokens."""
    level = f"{100 * made.made['statistics']['confidence']:g} %"
    parts = ["\n".join(_served_head(made) if "served" in made.made else _head(made))]
    for label in made.bounds["quant"].unique():
        parts.append(_quant(made.bounds[made.bounds["quant"] == label], label, level))
    if made.paired is not None:
        parts.append("\n".join(_pair(row, level) for row in made.paired.to_dict("records")))
    return "\n\n".join([*parts, _notes(made)]) + "\n"


def _head(made: BoundedComparison) -> list[str]:
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


def _quant(rows: pd.DataFrame, label: str, level: str) -> str:
    header = ("mean KLD", "estimate", f"{level} clustered", f"{level} bootstrap", "unit")
    cells = [_cells(row) for row in rows.to_dict("records")]
    nonfinite = int(rows["nonfinite"].iloc[0])
    lost = f"\n{nonfinite} tokens without finite logits are left out" if nonfinite else ""
    return f"{label}\n{aligned([header, *cells])}{lost}"


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    is_share = row["metric"] == "floored_share"
    scale = 100 if is_share else 1
    estimate = "no upper bound" if row["estimate"] == float("inf") else signed(scale * row["estimate"])
    shown = (estimate, ends(row, scale=scale), ends(row, "bootstrap_", scale=scale))
    return (NAMES[row["metric"]], *shown, "%" if is_share else "nats")


def _pair(row: Mapping[str, Any], level: str) -> str:
    between = f"between {signed(row['difference_low'])} and {signed(row['difference_high'])} nats"
    allowing = f"; with the sampling of windows ({level}) {ends(row)}" if ends(row) else ""
    return f"{row['label_b']} − {row['label_a']}: mean KLD differs by {between}{allowing}"


def _notes(made: BoundedComparison) -> str:
    form = made.made["floor_form"]
    lines = [note for note in made.bounds["note"].unique() if note]
    lines.append(
        f"floor form: Eq. 5 of arXiv:2606.19558 over both sides' {form['k']} top tokens, one missing from the quant's "
        f"at log-probability {form['log_probability']:g}; it is no bound; floored: tokens at which one is missing"
    )
    within = "a server's rounding" if "served" in made.made else "half a code step"
    lines.append(f"the floor of the compute dtype is not measured here; {within} is within the bounds")
    return "\n".join(lines)
