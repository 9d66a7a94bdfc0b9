"""What several figures share: log axes that say what they leave out, names of metrics, family markers and legends."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.container import ErrorbarContainer
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from qkld.report.figures.styles import FamilyStyle
from qkld.study.params import FLOOR_DTYPE

Styles = Mapping[str, FamilyStyle]

KLD_LABEL = "mean KLD (nats per token)"
LONGEST_NAMES = 24
"""Characters of labels that an axis label has room for; beyond it says how many quants."""

RING = {"marker": "o", "markersize": 8.5, "markerfacecolor": "none", "color": "black", "markeredgewidth": 0.6}
"""Around a quant whose KLD is below three times the floor."""

_NAMES = {
    "kl_mean": "KLD mean",
    "kl_median": "KLD median",
    "kl_p90": "KLD p90",
    "kl_p95": "KLD p95",
    "kl_p99": "KLD p99",
    "kl_p99_9": "KLD p99.9",
    "kl_max": "KLD max",
    "kl_reverse_mean": "reverse KLD mean",
    "ppl": "PPL",
    "ppl_reference": "PPL of the reference",
    "ppl_ratio": "PPL ratio",
    "abs_log_ppl_ratio": "|ln PPL ratio|",
    "top1_agreement": "top-1 agreement",
    "top5_agreement": "top-5 agreement",
    "dp_mean": "Δp mean",
    "dp_rms": "Δp RMS",
    "composite": "composite",
}


def metric_name(column: str) -> str:
    """The name that figures and tables print for a metric's column; a suffix is a corpus or a number of tokens."""
    if column in _NAMES:
        return _NAMES[column]
    for known in sorted(_NAMES, key=len, reverse=True):
        if column.startswith(f"{known}_"):
            suffix = column[len(known) + 1 :]
            return f"{_NAMES[known]}, {suffix} tokens" if suffix.isdigit() else f"{_NAMES[known]}, {suffix}"
    return column


def unparsed(name: str) -> str:
    """A name as it is to be drawn: dollars in it enclose no formula."""
    return name.replace("$", r"\$")


def score_label(column: str) -> str:
    """The label of an axis of scores, by the cohort's column: ``sciq score (%)``, ``sciq: P(right choice) (%)``."""
    if column == "composite_probability" or column.startswith("probability_"):
        name = column.removeprefix("probability_").removesuffix("_probability")
        return f"{unparsed(name)}: P(right choice) (%)"
    return f"{unparsed(column.removeprefix('score_'))} score (%)"


def drawable(values: Iterable[float], *, log: bool = True) -> np.ndarray:
    """Which values an axis can show: the finite ones, on a log axis those above 0."""
    array = np.asarray(list(values), dtype=float)
    return np.isfinite(array) & ((array > 0) | (not log))


def left_out(labels: Iterable[str], shown: np.ndarray, why: str = "KLD 0") -> str:
    """A line for an axis label that says what is not drawn, and why; empty where everything is."""
    out = [unparsed(label) for label, keep in zip(labels, shown, strict=True) if not keep]
    if not out:
        return ""
    names = ", ".join(out)
    return f"\nnot drawn ({why}): {names if len(names) <= LONGEST_NAMES else f'{len(out)} quants'}"


def interval_of(table: pd.DataFrame, column: str) -> tuple[str, str] | None:
    """The columns of a column's interval, ``<column>_low`` and ``<column>_high``; None where the table has none."""
    ends = (f"{column}_low", f"{column}_high")
    return ends if set(ends) <= set(table.columns) else None


def percent_axis(axis: Axis) -> None:
    """Print an axis of fractions in percent, with as many decimals as its ticks need."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(100 * value, 6):g}".replace("-", "−")))


def draw_quants(
    ax: Axes,
    table: pd.DataFrame,
    x: str,
    y: str,
    styles: Styles,
    *,
    zone: Collection[str] | None = None,
    x_interval: tuple[str, str] | None = None,
    y_interval: tuple[str, str] | None = None,
) -> list[ErrorbarContainer]:
    """Draw one marker a row in its family's colour and marker, with intervals where columns for them are given.

    ``table`` needs ``label``, ``family`` and the named columns. With ``zone`` given, quants outside it are open.
    Quants with a true ``at_floor`` get a ring.
    """
    drawn = []
    for row in table.to_dict("records"):
        style = styles[row["family"]]
        inside = zone is None or row["label"] in zone
        bars = {}
        for name, ends in (("xerr", x_interval), ("yerr", y_interval)):
            if ends and np.isfinite([row[ends[0]], row[ends[1]]]).all():
                centre = row[x if name == "xerr" else y]
                bars[name] = [[max(0.0, centre - row[ends[0]])], [max(0.0, row[ends[1]] - centre)]]
        drawn.append(
            ax.errorbar(
                row[x],
                row[y],
                **bars,
                linestyle="none",
                marker=style.marker,
                color=style.colour,
                markerfacecolor=style.colour if inside else "white",
                markeredgecolor="white" if inside else style.colour,
                markeredgewidth=0.4 if inside else 0.8,
                markersize=5.2 if inside else 4.5,  # of equal look: the white edge takes from the face
                elinewidth=0.7,
                zorder=3,
                label=unparsed(row["family"]),
            )
        )
        if row.get("at_floor"):
            ax.plot(row[x], row[y], linestyle="none", zorder=4, **RING)
    return drawn


def legend_above(
    ax: Axes, styles: Styles, table: pd.DataFrame, *, zone: Collection[str] | None = None, columns: int = 3
) -> None:
    """Put the legend of what ``table`` holds above the axes, where it covers no point."""
    handles = [
        Line2D([], [], linestyle="none", marker=s.marker, color=s.colour, label=unparsed(family))
        for family, s in styles.items()
        if family in set(table["family"])
    ]
    if zone is not None and set(table["label"]) - set(zone):
        handles.append(
            Line2D([], [], linestyle="none", marker="o", color="0.4", markerfacecolor="white", label="outside the zone")
        )
    if "at_floor" in table and table["at_floor"].any():
        handles.append(Line2D([], [], linestyle="none", label="at the floor", **RING))
    ax.legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 1.01), ncols=columns, columnspacing=0.8)


FLOOR_REACH = 100.0
"""A floor this many times below the start of a KLD axis is named there, not drawn to scale."""


def floor_of(cohort: pd.DataFrame, kld: str = "kl_mean") -> float | None:
    """Mean KLD of the reference in a wider compute dtype (row ``floor-dtype``); None where it is 0 or not measured."""
    values = cohort.loc[cohort["label"] == FLOOR_DTYPE, kld]
    return float(values.iloc[0]) if len(values) and drawable(values)[0] else None


def mark_floor(ax: Axes, cohort: pd.DataFrame, kld: str = "kl_mean", *, horizontal: bool = False) -> None:
    """Draw the floor of the compute dtype as `draw_floor` does; nothing where it is 0 or not measured."""
    floor = floor_of(cohort, kld)
    if floor is not None:
        draw_floor(ax, floor, horizontal=horizontal)


def draw_floor(ax: Axes, floor: float, *, horizontal: bool = False) -> None:
    """Draw a mean KLD above 0 as a dotted line across a KLD axis, named floor.

    A floor more than `FLOOR_REACH` below everything drawn would squeeze the quants together: it is named at the end of
    the axis instead, with its value.
    """
    style = {"color": "black", "linewidth": 0.8, "linestyle": (0, (1, 1.5)), "zorder": 1}
    note = {"textcoords": "offset points", "fontsize": 6.5, "va": "bottom"}
    start = (ax.get_ylim() if horizontal else ax.get_xlim())[0]
    if floor < start / FLOOR_REACH:
        turn = 0 if horizontal else 90
        ax.annotate(f"floor: {floor:.0e}", (0, 0), xycoords="axes fraction", xytext=(3, 3), ha="left", rotation=turn,
                    **note)  # fmt: skip
    elif horizontal:
        ax.axhline(floor, **style)
        ax.annotate("floor", (0, floor), xycoords=("axes fraction", "data"), xytext=(3, 1), ha="left", **note)
    else:
        ax.axvline(floor, **style)
        ax.annotate("floor", (floor, 0), xycoords=("data", "axes fraction"), xytext=(2, 3), rotation=90, **note)


def mark_cut(ax: Axes, cut: float, name: str, *, falling: bool = False) -> None:
    """Shade the zone from the left end of a KLD axis to its cut, which is drawn, and name it at the bottom.

    With ``falling``, of a metric that is the larger the nearer, the zone lies right of its cut.
    """
    left, right = ax.get_xlim()
    ax.axvspan(cut if falling else left, right if falling else cut, color="#F0E442", alpha=0.22, linewidth=0, zorder=0)
    ax.axvline(cut, color="0.35", linewidth=0.8, linestyle="--", zorder=1)
    ax.set_xlim(min(left, cut), right if falling else max(right, 1.2 * cut))
    ax.annotate(name, (cut, 0), xycoords=("data", "axes fraction"), xytext=(3 if falling else -3, 3),
                textcoords="offset points", ha="left" if falling else "right", va="bottom", fontsize=6.5)  # fmt: skip
