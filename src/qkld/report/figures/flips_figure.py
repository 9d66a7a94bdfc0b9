"""Volume and direction: how many answers change against the reference, and which way."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Literal

import numpy as np
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
    percent_axis,
)
from qkld.report.numbers import printed

SUBSETS = {"full": "all", "zone": "zone"}
"""Subset of a result table → its name in a panel."""


def _draw_flips(
    ax: Axes,
    flips: pd.DataFrame,
    styles: Styles,
    quantity: str,
    *,
    zone: Collection[str] | None,
    kld: str,
    log: bool,
    interval: tuple[str, str] | None = None,
) -> None:
    ax.set_xscale("log" if log else "linear")
    shown = drawable(flips[kld], log=log)
    defined = flips[quantity].notna().to_numpy()
    draw_quants(ax, flips[shown & defined], kld, quantity, styles, zone=zone, y_interval=interval)
    still = left_out(flips["label"], defined, "no answer changed")
    ax.set_xlabel(KLD_LABEL + still + left_out(flips["label"], shown | ~defined))


def draw_volume(
    ax: Axes,
    flips: pd.DataFrame,
    styles: Styles,
    *,
    zone: Collection[str] | None = None,
    kld: str = "kl_mean",
    floor: float | None = None,
    log: bool = True,
) -> None:
    """Draw KLD (log axis) against the share of items whose correctness changed against the reference.

    ``flips`` has one row a quant: ``label, family, flip_rate`` and the KLD column. ``floor`` is the flip rate of the
    reference with itself, drawn as a line.
    """
    if floor is not None:
        ax.axhline(floor, color="0.35", linewidth=0.8, linestyle="--", zorder=1)
        ax.annotate("reference with itself", (1, floor), xycoords=("axes fraction", "data"), xytext=(-2, 2),
                    textcoords="offset points", ha="right", va="bottom", fontsize=6.5)  # fmt: skip
    _draw_flips(ax, flips, styles, "flip_rate", zone=zone, kld=kld, log=log)
    ax.set_ylim(bottom=-0.05 * ax.get_ylim()[1])
    percent_axis(ax.yaxis)
    ax.set_ylabel("flip rate (% of items)")
    legend_above(ax, styles, flips, zone=zone)


def draw_direction(
    ax: Axes,
    flips: pd.DataFrame,
    styles: Styles,
    *,
    zone: Collection[str] | None = None,
    kld: str = "kl_mean",
    log: bool = True,
) -> None:
    """Draw KLD (log axis) against the improvement fraction, leapfrogs / (leapfrogs + drops), with Wilson intervals.

    ``flips`` has ``label, family, improvement_fraction, improvement_low, improvement_high`` and the KLD column. At
    0.5 as many answers became right as became wrong. A quant without flips has no fraction and is named as left out.
    """
    ax.axhline(0.5, color="black", linewidth=0.7, zorder=1)
    _draw_flips(ax, flips, styles, "improvement_fraction", zone=zone, kld=kld, log=log,
                interval=("improvement_low", "improvement_high"))  # fmt: skip
    ax.set_ylim(-0.06, 1.24)  # above 1 no point falls, so that there is room for a line of text
    ax.set_yticks(np.linspace(0, 1, 6))
    ax.set_ylabel("improvement fraction\nleapfrogs / flips")
    legend_above(ax, styles, flips, zone=zone)


def name_reliability(ax: Axes, direction: pd.DataFrame, quantity: str, *, corner: Literal["top", "bottom"]) -> None:
    """Write how reliably a quantity is measured, over all quants and in the zone, into a corner on a panel's left.

    ``direction`` is `qkld.statistics.flips.flips.direction_table`'s for one score: ``quantity, subset, reliability``. A
    ρ with a quantity of low reliability is near 0 whatever is true, so panels are not to be compared without it.
    """
    own = direction[direction["quantity"] == quantity].set_index("subset")["reliability"]
    known = [f"{name} {printed(own[subset])}" for subset, name in SUBSETS.items() if pd.notna(own.get(subset))]
    text = f"reliability: {', '.join(known)}" if known else "reliability not known"
    height = {"top": 0.97, "bottom": 0.03}[corner]
    ax.text(0.02, height, text, transform=ax.transAxes, ha="left", va=corner, fontsize=6.5)


def draw_net(
    ax: Axes,
    flips: pd.DataFrame,
    styles: Styles,
    *,
    zone: Collection[str] | None = None,
    kld: str = "kl_mean",
    log: bool = True,
) -> None:
    """Draw KLD (log axis) against net = score − reference score, in points; ``net_low, net_high`` where given."""
    ax.axhline(0, color="black", linewidth=0.7, zorder=1)
    _draw_flips(ax, flips, styles, "net", zone=zone, kld=kld, log=log, interval=interval_of(flips, "net"))
    percent_axis(ax.yaxis)
    ax.set_ylabel("score − reference (points)")
    legend_above(ax, styles, flips, zone=zone)


def draw_volume_and_direction(
    axes: Sequence[Axes],
    flips: pd.DataFrame,
    styles: Styles,
    direction: pd.DataFrame,
    *,
    zone: Collection[str] | None = None,
    kld: str = "kl_mean",
    floor: float | None = None,
    log: bool = True,
) -> None:
    """`draw_volume`, `draw_direction` and, on a third panel, `draw_net`, each with `name_reliability`."""
    panels = (
        (partial(draw_volume, floor=floor), "flip_rate", "top"),
        (draw_direction, "improvement_fraction", "top"),
        (draw_net, "net", "bottom"),  # losses grow with KLD, so that points fall to the right
    )
    for ax, (draw, quantity, corner) in zip(axes, panels[: len(axes)], strict=True):
        draw(ax, flips, styles, zone=zone, kld=kld, log=log)
        name_reliability(ax, direction, quantity, corner=corner)
