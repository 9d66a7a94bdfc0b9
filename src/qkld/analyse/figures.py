"""The figures of an analysed table: those of a study that a table and its items allow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from qkld.analyse.request import Zone
from qkld.analyse.tables import OwnTable
from qkld.plotting.axes import Styles, metric_name
from qkld.plotting.decision import draw_decision
from qkld.plotting.families import cohort_styles
from qkld.plotting.files import column_figure, join_panels, save_figure, use_style
from qkld.plotting.flips import draw_volume_and_direction
from qkld.plotting.reliability import draw_reliability
from qkld.plotting.score import draw_kld_score
from qkld.plotting.zone_curve import draw_zone_curve
from qkld.statistics.checks import quants_of, score_column

WIDTH = 3.4
"""Inches: a column of a paper."""

FORMATS = ("pdf", "png")

NARROW = 5.0
"""Ratio of largest to smallest value of a metric below which its axis is linear: a log axis has no ticks there."""

WIDE = 100.0
"""Ratio from which only powers of ten are labelled."""

CAPTIONS = {
    "kld_score": "Fidelity of each quant against its score. Filled: in the zone; line: the reference.",
    "zone_curve": "ρ of fidelity with the score for every cut of the zone, with pointwise intervals, and the number of "
    "quants inside. Dashed: the cut that was given.",
    "volume_direction": "Fidelity against how many answers change, which way they change (Wilson intervals), and the "
    "score's difference to the reference (Tango's intervals).",
    "reliability": "Reliability of the score on random subsets of the items, on the curve that more items would "
    "follow; dashed: the items there are.",
    "decision": "Score − reference score of every quant, by falling size. Thin: interval of the difference; thick: the "
    "one that equivalence rests on; grey: the margin. Decisions hold for all quants together (Holm), so that one "
    "with an interval inside the margin, or without 0, may be undecided.",
}
"""Figure → caption, in the order in which the report shows them."""


def save_figures(
    out: Path, own: OwnTable, tables: Mapping[str, pd.DataFrame], *, zone: Zone | None
) -> dict[str, bytes]:
    """Draw and save every figure that there are tables for; figure → its PNG."""
    cohort = own.cohort if "family" in own.cohort else own.cohort.assign(family="quants")
    styles = cohort_styles(cohort)
    cut = own.cut
    pictures = {}
    with plt.rc_context():
        use_style()
        figures = {
            "kld_score": _score(own, cohort, styles, cut),
            "zone_curve": _curve(own, tables["zone_curve"], cut),
            **_of_items(own, cohort, styles, tables),
        }
        for name, figure in figures.items():
            paths = save_figure(figure, out, name, FORMATS)
            pictures[name] = paths[FORMATS.index("png")].read_bytes()
            plt.close(figure)
    return pictures


def _inside(own: OwnTable) -> set[str]:
    """Labels drawn filled: the zone's, or all where there is none."""
    return set(own.cohort.loc[own.members, "label"]) if own.members.any() else set(own.quants)


def _score(own: OwnTable, cohort: pd.DataFrame, styles: Styles, cut: float | None) -> Figure:
    figure, (ax,) = column_figure(WIDTH)
    named = {"kld": own.fidelity, "score": score_column(own.headline), "falling": own.falling}
    draw_kld_score(ax, cohort, styles, zone=_inside(own), cut=cut, **named)
    _name_metric(ax, own)
    return figure


def _curve(own: OwnTable, curve: pd.DataFrame, cut: float | None) -> Figure:
    figure, (ax,) = column_figure(WIDTH)
    draw_zone_curve(ax, curve, cut=cut, falling=own.falling)
    _name_metric(ax, own, "zone cut: ")
    ax.set_ylabel(f"Spearman ρ ({metric_name(own.fidelity)}, {own.headline})")
    return figure


def _name_metric(ax: plt.Axes, own: OwnTable, before: str = "") -> None:
    """Name the metric under its axis, with what the axis says is left out; a narrow axis becomes linear."""
    left_out = ax.get_xlabel().partition("\n")[2]
    ax.set_xlabel("\n".join(part for part in (f"{before}{metric_name(own.fidelity)}", left_out) if part))
    low, high = quants_of(own.cohort)[own.fidelity].agg(["min", "max"])
    if 0 < high < NARROW * low:
        ax.set_xscale("linear")
        return
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if 0 < high < WIDE * low else (1,)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())


def _of_items(
    own: OwnTable, cohort: pd.DataFrame, styles: Styles, tables: Mapping[str, pd.DataFrame]
) -> dict[str, Figure]:
    if "flips" not in tables:
        return {}
    flips, decision = (t[t["benchmark"] == t["benchmark"].iloc[-1]] for t in (tables["flips"], tables["decision"]))
    flips = flips.merge(cohort[["label", "family", own.fidelity]], on="label", validate="one_to_one")
    figure, axes = column_figure(WIDTH, aspect=0.5, rows=3)
    direction = tables["volume_direction"]
    direction = direction[direction["benchmark"] == flips["benchmark"].iloc[0]]
    draw_volume_and_direction(axes, flips, styles, direction, zone=_inside(own), kld=own.fidelity)
    for ax in axes:
        _name_metric(ax, own)
    join_panels(axes)
    decided, (ax,) = column_figure(WIDTH, aspect=0.3 + 0.04 * len(decision))
    draw_decision(ax, decision)
    return {"volume_direction": figure, **_reliability(tables), "decision": decided}


def _reliability(tables: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    if "zone_edge" not in tables:
        return {}
    edges = tables["zone_edge"]
    figure, (ax,) = column_figure(WIDTH)
    draw_reliability(ax, edges[edges["benchmark"] == edges["benchmark"].iloc[-1]])
    return {"reliability": figure}
