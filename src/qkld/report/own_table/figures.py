"""The figures of an analysed table: those of a study that it allows, points named where there is room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from qkld.analysis.own_table.checked_table import OwnTable
from qkld.report.figures.axes import Styles, drawable, metric_name, unparsed
from qkld.report.figures.decision_figure import draw_decision
from qkld.report.figures.figure_files import column_figure, join_panels, save_figure, use_style
from qkld.report.figures.flips_figure import draw_volume_and_direction
from qkld.report.figures.naming import name_points, short_names
from qkld.report.figures.reliability_figure import draw_reliability
from qkld.report.figures.score_figure import draw_kld_score
from qkld.report.figures.styles import cohort_styles
from qkld.report.figures.zone_curve_figure import draw_zone_curve
from qkld.statistics.core.checks import LEAST_QUANTS, quants_of, score_column

WIDTH = 3.4
"""Inches: a column of a paper."""

WIDE_FIGURE = 6.8
"""Inches of the figures whose points carry names."""

FORMATS = ("pdf", "png")

NARROW = 5.0
"""Ratio of largest to smallest value of a metric below which its axis is linear: a log axis has no ticks there."""

WIDE = 100.0
"""Ratio from which only powers of ten are labelled."""

CAPTIONS = {
    "kld_score": "Each quant's distance from the reference (left: nearer) against its score. Line: the reference; "
    "grey: ± one standard error of its score, where it is known. Names are shown where there is room.",
    "zone_score": "The same near the reference alone, where one chooses.",
    "decision": "Score − reference score of every quant, by falling size where it is known. Thin: 95 % interval of the "
    "difference; thick: the one that equivalence rests on; grey: the margin. Decisions hold for all quants together "
    "(Holm), so that one with an interval inside the margin, or without 0, may be undecided.",
    "volume_direction": "Distance from the reference against how many answers change (top), which part of the changes "
    "is for the better (middle; ½ where gains and losses are even), and the score's difference to the reference "
    "(bottom), with 95 % intervals.",
    "zone_curve": "Were the zone cut elsewhere: ρ of fidelity with the score among the quants up to each cut, with "
    "pointwise 95 % intervals, and how many quants that are (dotted). Dashed: the cut that was given.",
    "reliability": "Reliability of the score (1: all differences between quants are real, 0: all are noise) on random "
    "subsets of the items, on the curve that more items would follow; dashed: the items there are.",
}
"""Figure → caption, in the order in which the report shows them."""

LARGE = frozenset({"kld_score", "zone_score", "volume_direction", "decision"})
"""Figures that take the report's whole width."""


def save_figures(
    out: Path, own: OwnTable, tables: Mapping[str, pd.DataFrame], *, reference_error: float | None
) -> dict[str, bytes]:
    """Draw and save every figure that there are tables for; figure → its PNG.

    ``reference_error`` is the standard error of the reference's score, a fraction of 1, where it is known.
    """
    cohort = own.cohort if "family" in own.cohort else own.cohort.assign(family="quants")
    styles = cohort_styles(cohort)
    pictures = {}
    with plt.rc_context():
        use_style()
        figures = {
            **(_of_metric(own, cohort, styles, tables, reference_error) if own.fidelity is not None else {}),
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


def _is_log(values: pd.Series) -> bool:
    """Whether a metric has a log axis: none where it can be below 0, or hardly varies."""
    positive = values[values > 0]
    return not (values < 0).any() and len(positive) > 0 and positive.max() >= NARROW * positive.min()


def _of_metric(
    own: OwnTable, cohort: pd.DataFrame, styles: Styles, tables: Mapping[str, pd.DataFrame], error: float | None
) -> dict[str, Figure]:
    figures = {"kld_score": _score(own, cohort, styles, error)}
    if own.members.sum() >= LEAST_QUANTS and _is_squeezed(own):
        near = cohort[own.members | (cohort["role"] == "reference")]
        figures["zone_score"] = _score(replace(own, cut=None), near, styles, None)
    if tables["zone_curve"]["estimate"].notna().any():
        figures["zone_curve"] = _curve(own, tables["zone_curve"])
    return figures


def _is_squeezed(own: OwnTable) -> bool:
    """Whether the zone's scores take less than a third of the height of all."""
    whole, inside = (c[score_column(own.headline)] for c in (quants_of(own.cohort), own.cohort[own.members]))
    return bool(np.ptp(inside) < np.ptp(whole) / 3)


def _score(own: OwnTable, cohort: pd.DataFrame, styles: Styles, error: float | None) -> Figure:
    score, log = score_column(own.headline), _is_log(quants_of(cohort)[own.fidelity])
    figure, (ax,) = column_figure(WIDE_FIGURE, aspect=0.58)
    named = {"kld": own.fidelity, "score": score, "falling": own.falling, "log": log}
    draw_kld_score(
        ax, _with_interval(own, cohort), styles, zone=_inside(own), cut=own.cut, reference_error=error, **named
    )
    _name_metric(ax, own, quants_of(cohort))
    ax.set_ylabel(f"mean of {len(own.scores)} scores (%)" if len(own.scores) > 1 else f"{unparsed(own.headline)} (%)")
    if set(quants_of(cohort)["label"]) <= _inside(own) and "family" not in own.cohort:
        _clear_legend(ax)
    _name_quants(ax, own, quants_of(cohort), score)
    return figure


def _curve(own: OwnTable, curve: pd.DataFrame) -> Figure:
    figure, (ax,) = column_figure(WIDTH)
    log = _is_log(quants_of(own.cohort)[own.fidelity])
    draw_zone_curve(ax, curve, cut=own.cut, falling=own.falling, log=log, cut_name="the given cut")
    _name_metric(ax, own, quants_of(own.cohort), "zone cut: ")
    ax.set_ylabel(f"Spearman ρ ({unparsed(metric_name(own.fidelity))}, score)")
    return figure


def _with_interval(own: OwnTable, cohort: pd.DataFrame) -> pd.DataFrame:
    """The cohort with the metric ± one standard error as its interval, where the table has errors."""
    if f"{own.fidelity}_se" not in cohort:
        return cohort
    value, error = cohort[own.fidelity], cohort[f"{own.fidelity}_se"]
    return cohort.assign(**{f"{own.fidelity}_low": value - error, f"{own.fidelity}_high": value + error})


def _name_quants(ax: Axes, own: OwnTable, table: pd.DataFrame, y: str) -> None:
    """Write the quants' names beside their points."""
    shown = drawable(table[own.fidelity], log=ax.get_xscale() == "log") & np.isfinite(table[y].to_numpy(dtype=float))
    names = np.array(short_names(list(table["label"])), dtype=object)[shown]
    name_points(ax, table.loc[shown, own.fidelity], table.loc[shown, y], list(names))


def _clear_legend(ax: Axes) -> None:
    """Take out the legend where all quants are drawn alike."""
    if ax.get_legend():
        ax.get_legend().remove()


def _name_metric(ax: Axes, own: OwnTable, quants: pd.DataFrame, before: str = "") -> None:
    """Name the metric under its axis, with what the axis says is left out, and label the ticks of a log axis."""
    left_out = ax.get_xlabel().partition("\n")[2]
    ax.set_xlabel("\n".join(part for part in (f"{before}{unparsed(metric_name(own.fidelity))}", left_out) if part))
    if ax.get_xscale() != "log":
        return
    values = quants[own.fidelity]
    low, high = values[values > 0].min(), values.max()
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if 0 < high < WIDE * low else (1,)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())


def _of_items(
    own: OwnTable, cohort: pd.DataFrame, styles: Styles, tables: Mapping[str, pd.DataFrame]
) -> dict[str, Figure]:
    if "flips" not in tables:
        return {}
    flips, decision = (t[t["benchmark"] == t["benchmark"].iloc[-1]] for t in (tables["flips"], tables["decision"]))
    decided, (ax,) = column_figure(WIDE_FIGURE, aspect=0.12 + 0.026 * len(decision))
    draw_decision(ax, decision)
    if own.fidelity is None:
        return {"decision": decided}
    flips = flips.merge(cohort[["label", "family", own.fidelity]], on="label", validate="one_to_one")
    figure, axes = column_figure(WIDE_FIGURE, aspect=0.34, rows=3)
    direction = tables["volume_direction"]
    direction = direction[direction["benchmark"] == flips["benchmark"].iloc[0]]
    log = _is_log(flips[own.fidelity])
    draw_volume_and_direction(axes, flips, styles, direction, zone=_inside(own), kld=own.fidelity, log=log)
    for ax in axes:
        _name_metric(ax, own, flips)
    join_panels(axes)
    if "family" not in own.cohort and _inside(own) == set(own.quants):
        _clear_legend(axes[0])
    for ax, quantity in zip(axes, ("flip_rate", "improvement_fraction", "net"), strict=True):
        _name_quants(ax, own, flips, quantity)
    return {"decision": decided, "volume_direction": figure, **_reliability(own, tables)}


def _reliability(own: OwnTable, tables: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    """The reliability of the score; not drawn of fewer quants than a variance between them is known from."""
    if "zone_edge" not in tables or len(own.quants) < LEAST_QUANTS:
        return {}
    edges = tables["zone_edge"]
    figure, (ax,) = column_figure(WIDTH)
    draw_reliability(ax, edges[edges["benchmark"] == edges["benchmark"].iloc[-1]], name="here")
    return {"reliability": figure}
