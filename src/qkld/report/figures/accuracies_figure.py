"""Scores of the reference and the quants on each benchmark, beside its chance level."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from qkld.report.figures.axes import Styles, draw_quants, legend_above, percent_axis, unparsed

HALF = 0.32
"""Half the height of a benchmark's chance line, of 1 for the distance of two benchmarks."""


def draw_accuracies(ax: Axes, cohort: pd.DataFrame, accuracies: pd.DataFrame, styles: Styles) -> None:
    """Draw one row a benchmark, the first on top: quants by family, the reference ± 1 SE, chance as a dashed line.

    ``accuracies`` is `qkld.analysis.cohort.accuracy_table`'s; a benchmark outside the composite is drawn in grey.
    """
    quants = cohort[cohort["role"] == "quant"]
    rows = len(accuracies) - 1 - np.arange(len(accuracies))
    for benchmark, y in zip(accuracies.to_dict("records"), rows, strict=True):
        ax.vlines(benchmark["chance"], y - HALF, y + HALF, color="black", linewidth=0.8, linestyle="--", zorder=1)
        draw_quants(ax, quants.assign(row=y), f"score_{benchmark['benchmark']}", "row", styles)
        ax.errorbar(benchmark["reference_score"], y + HALF, xerr=benchmark["se"], marker="v", color="black",
                    markersize=4, elinewidth=0.8, zorder=4)  # fmt: skip
    ax.set_yticks(rows, [unparsed(name) for name in accuracies["benchmark"]], fontsize=6.5)
    for label, counts in zip(ax.get_yticklabels(), accuracies["in_composite"], strict=True):
        label.set_color("black" if counts else "0.5")
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(-0.6, len(accuracies) - 0.4)
    percent_axis(ax.xaxis)
    ax.set_xlabel("score (%); ▼ reference ± 1 SE, dashed: chance")
    legend_above(ax, styles, quants)
