"""The measurement variants: full cohort beside zone."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from qkld.report.figures.axes import metric_name

SUBSETS = {"full": ("black", "black", 0.17), "zone": ("0.45", "white", -0.17)}
"""Subset → line colour, marker face, offset from the row's middle."""


def draw_variants(ax: Axes, variants: pd.DataFrame) -> None:
    """Draw ρ of each variant with the score and its interval, full cohort above zone, one row a variant.

    ``variants`` has ``metric, subset (full or zone), estimate, low, high, n``, in the order to print, first on top.
    A ρ that is not defined is written as such at 0. Where there are ``band_low, band_high``, the simultaneous band is a
    thin line behind the interval: it holds for all variants of a subset together.
    """
    metrics = list(dict.fromkeys(variants["metric"]))
    rows = {metric: len(metrics) - 1 - i for i, metric in enumerate(metrics)}
    ax.axvline(0, color="0.7", linewidth=0.6, zorder=0)
    for subset, (colour, face, offset) in SUBSETS.items():
        part = variants[variants["subset"] == subset]
        if part.empty:
            continue
        n = "–".join(str(v) for v in sorted({int(part["n"].min()), int(part["n"].max())}))
        y = part["metric"].map(rows).to_numpy() + offset
        known = part["estimate"].notna().to_numpy()
        ends = part[["low", "high"]].to_numpy(dtype=float)[known]
        if "band_low" in part:
            band = part[["band_low", "band_high"]].to_numpy(dtype=float)[known]
            ax.hlines(y[known], band[:, 0], band[:, 1], color=colour, linewidth=0.35)
        ax.hlines(y[known], ends[:, 0], ends[:, 1], color=colour, linewidth=1.1)
        ax.plot(part["estimate"][known], y[known], "o", color=colour, markerfacecolor=face, markersize=3.5,
                markeredgewidth=0.8, label=f"{'full cohort' if subset == 'full' else subset}, n = {n}")  # fmt: skip
        for height in y[~known]:
            ax.annotate("not defined", (0.02, height), va="center", fontsize=6, color=colour)
    ax.set_yticks(list(rows.values()), [metric_name(m) for m in rows])
    ax.set_ylim(-0.6, len(metrics) - 0.4)
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(-1.02, 1.02)
    ax.set_xticks(np.arange(-1, 1.5, 0.5))
    ax.set_xlabel("Spearman ρ with the composite score")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2)
