"""Reliability of the scores against the number of items: what the study has, and what more items would give."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from qkld.statistics.noise.reliability import items_for_reliability, spearman_brown

WANTED = 0.8
"""Reliability that is often asked of a measurement; drawn as a line."""


def draw_reliability(ax: Axes, edges: pd.DataFrame, *, name: str = "this study") -> None:
    """Draw the reliability of random subsets of the items (points) on Spearman–Brown's curve through all of them.

    ``edges`` is `qkld.statistics.zone.edge.zone_edge_table`'s for one score: ``items``, ``reliability``. The study's
    own number of items is marked, and the one that `WANTED` would take. Where the reliability of all items is not above
    0 there is no curve, and the figure says so.
    """
    known = edges.dropna(subset=["reliability"]).sort_values("items")
    own = edges.loc[edges["items"].idxmax()]
    ax.set_xscale("log")
    ax.axhline(WANTED, color="0.7", linewidth=0.6, zorder=0)
    ax.plot(
        known["items"], known["reliability"], "o", color="black", markersize=3.5, zorder=3, label="subsets of items"
    )
    ax.axvline(own["items"], color="0.35", linewidth=0.8, linestyle="--", zorder=1)
    ax.annotate(f"{name}: {int(own['items']):,}", (own["items"], 1), xycoords=("data", "axes fraction"),
                xytext=(0, 2), textcoords="offset points", ha="center", va="bottom", fontsize=6.5)  # fmt: skip
    if own["reliability"] > 0:
        _draw_curve(ax, int(own["items"]), float(own["reliability"]), float(edges["items"].min()))
    else:
        ax.text(0.5, 0.5, "reliability not above 0:\nthese quants are not told apart", transform=ax.transAxes,
                ha="center", va="center", fontsize=6.5)  # fmt: skip
    ax.set_ylim(min(0.0, float(known["reliability"].min()) - 0.05) if len(known) else 0.0, 1.02)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:,g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("items")
    ax.set_ylabel("reliability of the score")
    ax.legend(loc="lower right")


def _draw_curve(ax: Axes, items: int, reliability: float, least: float) -> None:
    """Spearman–Brown's curve from the smallest subset to what `WANTED` takes, and at least four times the items."""
    wanted = items_for_reliability(items, reliability, WANTED)
    most = max(4 * items, 1.5 * wanted if np.isfinite(wanted) else 0)
    sizes = np.geomspace(least, most, 200)
    curve = [spearman_brown(reliability, size / items) for size in sizes]
    ax.plot(sizes, curve, color="#0072B2", linewidth=1.0, zorder=2, label="Spearman–Brown")
    if wanted > items:
        ax.annotate(f"{int(wanted):,}", (wanted, WANTED), xytext=(3, -3), textcoords="offset points", va="top",
                    fontsize=6.5)  # fmt: skip
        ax.plot(wanted, WANTED, "|", color="#0072B2", markersize=6, zorder=3)
