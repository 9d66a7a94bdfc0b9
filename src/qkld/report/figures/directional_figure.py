"""Metrics that may carry direction, by how well each ranks scores on items that it has not seen."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

LOOKS = {"direction": ("#D55E00", "^", "signed by right answers"), "volume": ("#0072B2", "o", "unsigned")}
"""Kind of metric → colour (Okabe and Ito), marker, and what the legend says."""

NAMES = {
    "kl_mean": "KLD, text",
    "item_kld": "KLD, items",
    "boundary_kld": "KLD, boundary",
    "options_kld": "KLD of the choices",
    "expected_flips": "expected flips",
    "flips": "flips",
    "net": "net score",
    "margin_shift": "margin shift",
    "boundary_shift": "margin shift, boundary",
    "soft_accuracy": "soft accuracy",
    "expected_net": "expected net",
    "directional_kld": "signed KLD",
    "directional_balance": "signed share",
    "sharpening": "sharpening",
}
"""Metric → what figures and tables print."""

BASELINE = "kl_mean"


def shown_subset(table: pd.DataFrame) -> str:
    """``zone`` where a metric has a ρ there, else ``full``."""
    inside = table[table["subset"] == "zone"]
    return "zone" if inside["estimate"].notna().any() else "full"


def draw_directional(ax: Axes, table: pd.DataFrame) -> None:
    """Draw each metric's held-out ρ with the net and its bootstrap interval, best on top; in the zone if it has any.

    ``table`` is `qkld.statistics.prompts.directional.directional_table`'s. Grey band: where the largest |ρ| of all
    these metrics lies by chance (max-T). Line: KLD. A ring marks a metric whose gain over KLD holds among all of them.
    """
    subset = shown_subset(table)
    rows = table[(table["subset"] == subset) & table["estimate"].notna()].sort_values("rank", kind="stable")
    heights = len(rows) - 1 - np.arange(len(rows))
    ax.axvline(0, color="0.7", linewidth=0.6, zorder=0)
    if rows.empty:
        ax.text(0.5, 0.5, "no metric has a ρ", transform=ax.transAxes, ha="center", va="bottom", fontsize=6.5)
    else:
        critical = float(rows["critical"].iloc[0])
        ax.axvspan(-critical, critical, color="0.92", linewidth=0, zorder=0)
    for row, y in zip(rows.to_dict("records"), heights, strict=True):
        colour, marker, _ = LOOKS[row["kind"]]
        ax.hlines(y, row["low"], row["high"], color=colour, linewidth=0.9, zorder=2)
        ax.plot(row["estimate"], y, marker=marker, color=colour, markersize=5, markeredgecolor="white",
                markeredgewidth=0.3, zorder=3)  # fmt: skip
        if row["beats_kld"]:
            ax.plot(row["estimate"], y, marker="o", markersize=9, markerfacecolor="none", markeredgecolor="black",
                    markeredgewidth=0.7, zorder=4)  # fmt: skip
        if row["metric"] == BASELINE:
            ax.axvline(row["estimate"], color=colour, linewidth=0.7, linestyle="--", zorder=1)
    for colour, marker, name in LOOKS.values():
        ax.plot([], [], linestyle="none", marker=marker, color=colour, markersize=4, label=name)
    ax.set_yticks(heights, [NAMES.get(m, m) for m in rows["metric"]], fontsize=6)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(-0.6, max(len(rows), 1) - 0.4)
    ax.set_xlim(-1.02, 1.02)
    quants = f"zone, n = {rows['n'].iloc[0]}" if subset == "zone" else "full cohort"
    ax.set_xlabel(f"held-out Spearman ρ with the net score\n({quants if len(rows) else 'no quants'})")
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1.0), ncols=2)
