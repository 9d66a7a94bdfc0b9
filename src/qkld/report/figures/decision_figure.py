"""What a deployer looks at: each quant's difference to the reference, its intervals, and the margin."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from qkld.report.figures.axes import percent_axis, unparsed
from qkld.report.numbers import size_text

LOOKS = {
    "equivalent": ("#0072B2", "o"),
    "better": ("#009E73", "^"),
    "undecided": ("0.45", "D"),
    "worse": ("#D55E00", "v"),
}
"""Decision → colour (Okabe and Ito) and marker, so that it is read without colour too."""

MARKER = {"markersize": 5.5, "markeredgewidth": 0.6}
"""Well above the thick interval, whose colour it has: its shape has to be seen."""


def draw_decision(ax: Axes, decision: pd.DataFrame) -> None:
    """Draw score − reference score of every quant with its intervals, the largest quant on top.

    ``decision`` is `qkld.statistics.flips.decision.decision_table`'s for one benchmark. Thin: the interval of no
    difference; thick: the one that equivalence rests on, which has to lie in the band of the margin. The smallest of
    the equivalent quants has a ring.
    """
    table = decision.reset_index(drop=True)
    rows = len(table) - 1 - np.arange(len(table))
    margin = float(table["margin"].iloc[0])
    ax.axvspan(-margin, margin, color="0.9", linewidth=0, zorder=0)
    ax.axvline(0, color="black", linewidth=0.7, zorder=1)
    for row, y in zip(table.to_dict("records"), rows, strict=True):
        colour, marker = LOOKS[row["decision"]]
        ax.hlines(y, row["net_low"], row["net_high"], color=colour, linewidth=0.7, zorder=2)
        ax.hlines(y, row["equivalence_low"], row["equivalence_high"], color=colour, linewidth=2.0, zorder=2)
        ax.plot(row["net"], y, marker=marker, color=colour, **MARKER, markeredgecolor="white", zorder=3)
        if row["smallest"]:
            ax.plot(row["net"], y, marker="o", markersize=9, markerfacecolor="none", markeredgecolor="black",
                    markeredgewidth=0.7, zorder=4)  # fmt: skip
    ax.set_yticks(rows, [unparsed(_name(row)) for row in table.to_dict("records")], fontsize=6)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(-0.6, len(table) - 0.4)
    percent_axis(ax.xaxis)
    ax.set_xlabel("score − reference (points)")
    ax.legend(handles=_legend(table, margin), loc="lower right", bbox_to_anchor=(1, 1.0), ncols=3)


def _name(row: dict) -> str:
    return row["label"] if pd.isna(row["size"]) else f"{row['label']}  {size_text(row['size'])}"


def _legend(table: pd.DataFrame, margin: float) -> list:
    seen = [d for d in LOOKS if d in set(table["decision"])]
    handles = [Line2D([], [], color=LOOKS[d][0], marker=LOOKS[d][1], **MARKER, label=d) for d in seen]
    handles.append(Patch(color="0.9", label=f"± {100 * margin:g} points"))
    if table["smallest"].any():
        handles.append(Line2D([], [], linestyle="none", marker="o", markersize=8, markerfacecolor="none", color="black",
                              markeredgewidth=0.7, label="smallest equivalent"))  # fmt: skip
    return handles
