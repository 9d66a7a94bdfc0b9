"""Mean KLD along the window: whether a cache, or anything else, costs more the longer the text is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer

from qkld.report.figures.axes import FLOOR_REACH, KLD_LABEL, draw_floor, drawable, left_out, unparsed
from qkld.report.figures.styles import MARKERS, OKABE_ITO
from qkld.study.params import FLOORS


def draw_kld_by_position(ax: Axes, breakdown: pd.DataFrame) -> None:
    """Draw mean KL(reference ‖ quant), nats per token, by position in the window on a log axis, with its intervals.

    ``breakdown`` has the columns of ``fidelity_breakdown``, of one corpus and context. Each quant is a line, each point
    the middle of a bucket of positions. Floors are dotted; one far below all quants is named at the axis, as
    `draw_floor` does. The legend has the order of the lines at the window's end.
    """
    rows = breakdown[(breakdown["by"] == "position") & (breakdown["metric"] == "kl_mean")]
    shown = pd.Series(drawable(rows["estimate"]), index=rows.index)
    ax.set_yscale("log")
    last = _draw_lines(ax, rows[shown & ~rows["label"].isin(FLOORS)], _looks())
    for _, own in rows[shown & rows["label"].isin(FLOORS)].groupby("label", sort=False):
        if last and own["estimate"].mean() < ax.get_ylim()[0] / FLOOR_REACH:
            draw_floor(ax, own["estimate"].mean(), horizontal=True)
        else:
            last |= _draw_lines(ax, own, iter([DOTTED]))
    kept = rows["label"].drop_duplicates()
    ax.set_xlabel("position in the window (tokens)" + left_out(kept, kept.isin(rows["label"][shown]).to_numpy()))
    ax.set_ylabel(KLD_LABEL)
    ax.legend(handles=sorted(last, key=last.__getitem__, reverse=True), loc="upper left", bbox_to_anchor=(1.01, 1))


DOTTED = {"color": "black", "linestyle": ":", "marker": "none"}

BESIDE = 0.012
"""Shift of each line against the next, as a share of the axis: lines of one height are both seen."""


def _looks() -> Iterator[dict[str, str]]:
    """A colour and a marker for each line, anew in each."""
    colours, n = list(OKABE_ITO.values()), len(MARKERS)
    return ({"color": colours[i % len(colours)], "marker": MARKERS[(i + i // n) % n]} for i in count())


def _draw_lines(ax: Axes, rows: pd.DataFrame, looks: Iterator[dict[str, str]]) -> dict[ErrorbarContainer, float]:
    """A line a label; returns each with its last value."""
    last, labels = {}, list(rows["label"].unique())
    apart = BESIDE * (rows["bucket_to"].max() - rows["bucket_from"].min())
    for place, (label, look) in enumerate(zip(labels, looks, strict=False)):
        own = rows[rows["label"] == label]
        middle = (own["bucket_from"] + own["bucket_to"]) / 2 + (place - (len(labels) - 1) / 2) * apart
        ends = [(own["estimate"] - own["low"]).clip(lower=0), (own["high"] - own["estimate"]).clip(lower=0)]
        bars = ax.errorbar(
            middle, own["estimate"], yerr=ends, elinewidth=0.7, markersize=4, label=unparsed(str(label)), **look
        )
        last[bars] = own["estimate"].iloc[-1]
    return last
