"""ρ as a function of where the zone is cut."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from qkld.report.figures.axes import KLD_LABEL, drawable

N_COLOUR = "#D55E00"
NULL_COLOUR = "#0072B2"


def draw_zone_curve(
    ax: Axes,
    curve: pd.DataFrame,
    *,
    cut: float | None,
    falling: bool = False,
    log: bool = True,
    cut_name: str = "the study's cut",
) -> Axes:
    """Draw ρ of the quants up to each cut with its interval; the number of quants on the right-hand axis.

    ``falling`` is that of `qkld.statistics.zone.zone_curve.zone_curve`: the axis then runs down, away from the
    reference.

    ``curve`` has ``cut`` (nats), ``n``, ``estimate``, ``low``, ``high``. Where it has ``null_low`` and ``null_high``,
    they are drawn as dashes: between them ρ would lie were the true scores monotone in KLD. The study's own cut is
    drawn where given. Returns the right-hand axes.
    """
    curve = curve[drawable(curve["cut"], log=log)].sort_values("cut")
    ax.set_xscale("log" if log else "linear")
    ax.axhline(0, color="0.7", linewidth=0.6, zorder=0)
    ax.fill_between(curve["cut"], curve["low"], curve["high"], color="0.8", linewidth=0, zorder=1)
    ax.plot(curve["cut"], curve["estimate"], color="black", marker="o", markersize=2.5, zorder=3)
    if "null_low" in curve and curve["null_low"].notna().any():
        for end, name in (("null_low", "were true scores monotone in KLD, 5–95 %"), ("null_high", None)):
            ax.plot(curve["cut"], curve[end], color=NULL_COLOUR, linewidth=0.9, linestyle="--", zorder=2, label=name)
        ax.legend(loc="upper left", bbox_to_anchor=(0, 1.16))
    counts = ax.twinx()
    side = "pre" if falling else "post"
    counts.step(curve["cut"], curve["n"], where=side, color=N_COLOUR, linewidth=0.8, linestyle=":")
    counts.set_ylim(0, max(curve["n"].max() * 1.05, 1) if len(curve) else 1)
    counts.set_ylabel("quants in the zone (dotted)", color=N_COLOUR)
    counts.tick_params(axis="y", colors=N_COLOUR)
    counts.spines["right"].set(visible=True, color=N_COLOUR)
    if curve["estimate"].isna().all():
        ax.text(0.5, 0.5, "no cut has enough quants", transform=ax.transAxes, ha="center", va="bottom", fontsize=6.5)
        counts.set_yticks([])
    if cut is not None:
        ax.axvline(cut, color="0.35", linewidth=0.8, linestyle="--", zorder=2)
        ax.annotate(cut_name, (cut, 1), xycoords=("data", "axes fraction"), xytext=(0, 2),
                    textcoords="offset points", ha="center", va="bottom", fontsize=6.5)  # fmt: skip
    if falling:
        ax.invert_xaxis()
    ax.set_ylim(-1.05, 1.05)
    ax.set_xlabel(f"zone cut: {KLD_LABEL}")
    ax.set_ylabel("Spearman ρ (KLD, composite)")
    return counts
