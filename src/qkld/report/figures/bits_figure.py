"""What a bit buys: stored bits per weight against KLD."""

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
    mark_floor,
)


def draw_bits_kld(
    ax: Axes,
    cohort: pd.DataFrame,
    styles: Styles,
    *,
    zone: Collection[str] | None = None,
    bits: str = "bits_per_trunk_weight",
    kld: str = "kl_mean",
) -> None:
    """Draw stored bits per weight against mean KLD (log axis) with its interval and the floor.

    ``cohort`` is of schema ``cohort``; ``bits`` counts the weights without embeddings and head unless told otherwise.
    """
    quants = cohort[(cohort["role"] == "quant") & cohort[bits].notna()]
    shown = drawable(quants[kld])
    ax.set_yscale("log")
    draw_quants(ax, quants[shown], bits, kld, styles, zone=zone, y_interval=interval_of(cohort, kld))
    mark_floor(ax, cohort, kld, horizontal=True)
    what = "trunk weight" if "trunk" in bits else "weight"
    ax.set_xlabel(f"stored bits per {what}" + left_out(quants["label"], shown))
    ax.set_ylabel(KLD_LABEL)
    legend_above(ax, styles, quants, zone=zone)
