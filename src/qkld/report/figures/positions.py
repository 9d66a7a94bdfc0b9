"""Mean KLD along the window: whether a cache, or anything else, costs more the longer the text is."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from qkld.report.figures.axes import KLD_LABEL, drawable, left_out, unparsed
from qkld.report.figures.styles import MARKERS, OKABE_ITO
from qkld.study.params import FLOORS


def draw_kld_by_position(ax: Axes, breakdown: pd.DataFrame) -> None:
    """Draw mean KL(reference ‖ quant), nats per token, by position in the window on a log axis, with its intervals.

    ``breakdown`` has the columns of ``fidelity_breakdown``, of one corpus and context. Each quant is a line, each point
    the middle of a bucket of positions; floors are dotted. The legend has the order of the lines at the window's end.
    """
    rows = breakdown[(breakdown["by"] == "position") & (breakdown["metric"] == "kl_mean")]
    shown = pd.Series(drawable(rows["estimate"]), index=rows.index)
    colours, quants, last = list(OKABE_ITO.values()), 0, dict[object, float]()
    for label, own in rows[shown].groupby("label", sort=False):
        style = {"color": colours[quants % len(colours)], "marker": MARKERS[quants // len(colours) % len(MARKERS)]}
        if label in FLOORS:
            style = {"color": "black", "linestyle": ":", "marker": "none"}
        quants += label not in FLOORS
        middle = (own["bucket_from"] + own["bucket_to"]) / 2
        ends = [(own["estimate"] - own["low"]).clip(lower=0), (own["high"] - own["estimate"]).clip(lower=0)]
        bars = ax.errorbar(middle, own["estimate"], yerr=ends, elinewidth=0.7, label=unparsed(str(label)), **style)
        last[bars] = own["estimate"].iloc[-1]
    ax.set_yscale("log")
    kept = rows["label"].drop_duplicates()
    ax.set_xlabel("position in the window (tokens)" + left_out(kept, kept.isin(rows["label"][shown]).to_numpy()))
    ax.set_ylabel(KLD_LABEL)
    ax.legend(handles=sorted(last, key=last.__getitem__, reverse=True), loc="upper left", bbox_to_anchor=(1.01, 1))
