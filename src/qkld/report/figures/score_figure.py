"""KLD against the score: the picture of the silent zone."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd
from matplotlib.axes import Axes

from qkld.report.figures.axes import (
    KLD_LABEL,
    Styles,
    draw_quants,
    drawable,
    interval_of,
    left_out,
    legend_above,
    mark_cut,
    mark_floor,
    percent_axis,
    score_label,
)


def draw_kld_score(
    ax: Axes,
    cohort: pd.DataFrame,
    styles: Styles,
    *,
    zone: Collection[str],
    cut: float | None = None,
    reference_error: float | None = None,
    kld: str = "kl_mean",
    score: str = "composite",
    falling: bool = False,
    log: bool = True,
) -> None:
    """Draw each quant's KLD (log axis) against its score, with the zone, the reference and the floor.

    Parameters
    ----------
    cohort : DataFrame
        Schema ``cohort``, reference and floor rows included; ``<kld>_low`` and ``<kld>_high`` give the intervals.
    zone : labels of the quants inside the zone; the others are drawn open.
    cut : KLD in nats up to which the zone is shaded; None where the zone's rule is none on KLD.
    reference_error : standard error of the reference's score, as a fraction, drawn as a band of ± 1.
    falling : whether more of the metric is nearer to the reference, so that the zone lies right of its cut.
    log : whether the metric has a log axis; one that can be 0 or below has none.
    """
    quants = cohort[(cohort["role"] == "quant") & cohort[score].notna()]
    shown = drawable(quants[kld], log=log)
    ax.set_xscale("log" if log else "linear")
    draw_quants(ax, quants[shown], kld, score, styles, zone=zone, x_interval=interval_of(cohort, kld))
    reference = cohort.loc[cohort["role"] == "reference", score].dropna()
    for value in reference:
        ax.axhline(value, color="black", linewidth=0.8, zorder=1)
        if reference_error:
            ax.axhspan(value - reference_error, value + reference_error, color="0.85", linewidth=0, zorder=0)
        name = "reference ± 1 SE" if reference_error else "reference"
        ax.annotate(name, (1, value), xycoords=("axes fraction", "data"), xytext=(-3, 2), textcoords="offset points",
                    ha="right", va="bottom", fontsize=6.5)  # fmt: skip
    mark_floor(ax, cohort, kld)
    if cut is not None:
        mark_cut(ax, cut, f"zone, n = {len(set(zone) & set(quants['label']))}", falling=falling)
    percent_axis(ax.yaxis)
    ax.set_xlabel(KLD_LABEL + left_out(quants["label"], shown))
    ax.set_ylabel(score_label(score))
    legend_above(ax, styles, quants, zone=zone)
