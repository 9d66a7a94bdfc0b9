"""A card's figure: mean KLD of each quant by its size, with intervals, names and the noise floor."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from qkld.report.figures.axes import KLD_LABEL, draw_floor, left_out, unparsed
from qkld.report.figures.naming import name_points, short_names


def draw_card(
    ax: Axes,
    labels: Sequence[str],
    sizes: Sequence[float],
    klds: Sequence[tuple[float, float, float]],
    *,
    size: str,
    floor: float = math.nan,
) -> None:
    """Draw mean KLD (log axis) against size, or in a row where there are no sizes.

    Parameters
    ----------
    klds : (mean KLD, low, high) of each quant, nats; ends NaN where there is no interval
    size : what the sizes are, with their unit; empty: quants stand side by side
    floor : mean KLD of the noise floor, see `draw_floor`; NaN for none
    """
    values = np.array(klds, dtype=float)
    x = np.arange(len(labels), dtype=float) if not size else np.array(sizes, dtype=float)
    shown = (values[:, 0] > 0) & np.isfinite(x)
    ax.set_yscale("log")
    low = np.where(np.isnan(values[:, 1]), values[:, 0], np.maximum(values[:, 1], values[:, 0] * 1e-3))
    high = np.where(np.isnan(values[:, 2]), values[:, 0], values[:, 2])
    ends = np.vstack([values[:, 0] - low, high - values[:, 0]])[:, shown]
    ax.errorbar(x[shown], values[shown, 0], yerr=ends, fmt="o", markersize=4, color="black", elinewidth=0.8, capsize=2)
    if not size:
        ax.set_xticks([])
    ax.margins(x=0.1, y=0.1)
    if floor > 0:
        draw_floor(ax, floor, horizontal=True)
    ax.set_xlabel(unparsed(size) + left_out(list(labels), shown, "KLD of 0 or less, or without a size"))
    ax.set_ylabel(KLD_LABEL)
    named = np.flatnonzero(shown)
    name_points(ax, x[named], values[named, 0], short_names([labels[i] for i in named]))
