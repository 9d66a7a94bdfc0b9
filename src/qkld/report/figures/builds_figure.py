"""KLD against the score of every build, the builds of one recipe joined: what differs at equal displacement."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from qkld.report.figures.axes import (
    KLD_LABEL,
    Styles,
    draw_quants,
    drawable,
    left_out,
    legend_above,
    mark_floor,
    percent_axis,
    score_label,
)


def draw_builds(
    ax: Axes, cohort: pd.DataFrame, styles: Styles, *, kld: str = "kl_mean", score: str = "composite"
) -> None:
    """Draw each quant's KLD (log axis) against its score, and a line through the builds of each recipe.

    Parameters
    ----------
    cohort : DataFrame
        Schema ``cohort`` with ``recipe_id``, reference and floor rows included. A recipe's line goes from its lowest
        KLD to its highest.
    styles : a colour and marker for each family.
    """
    quants = cohort[(cohort["role"] == "quant") & cohort[score].notna()]
    shown = drawable(quants[kld])
    ax.set_xscale("log")
    for _, builds in quants[shown].sort_values(kld).groupby("recipe_id", sort=False):
        if len(builds) > 1:
            colour = styles[builds["family"].iloc[0]].colour
            ax.plot(builds[kld], builds[score], color=colour, linewidth=1.0, alpha=0.6, zorder=2)
    draw_quants(ax, quants[shown], kld, score, styles)
    for value in cohort.loc[cohort["role"] == "reference", score].dropna():
        ax.axhline(value, color="black", linewidth=0.8, zorder=1)
        ax.annotate("reference", (1, value), xycoords=("axes fraction", "data"), xytext=(-3, 2),
                    textcoords="offset points", ha="right", va="bottom", fontsize=6.5)  # fmt: skip
    mark_floor(ax, cohort, kld)
    percent_axis(ax.yaxis)
    ax.set_xlabel(KLD_LABEL + left_out(quants["label"], shown))
    ax.set_ylabel(score_label(score))
    legend_above(ax, styles, quants)
