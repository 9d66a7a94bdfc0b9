"""KLD against the score as a chart to look into: names on hovering, the zone's cut on a slider, one quant's flips.

The chart computes nothing: the slider chooses a row of the table of cuts (`cut_steps`), whose words are shown as made
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from qkld.report.figures.axes import KLD_LABEL, drawable
from qkld.report.figures.styles import OKABE_ITO, FamilyStyle
from qkld.report.numbers import NOT_AVAILABLE, printed, significant, with_interval

WIDTH, HEIGHT, CURVE_HEIGHT, BAR_HEIGHT = 620, 340, 130, 34
"""Pixels: width of every panel, heights of the scatter and of the curve, and height of a benchmark's bars."""

SHAPES = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "M-.7,-1L0,-.3L.7,-1L1,-.7L.3,0L1,.7L.7,1L0,.3L-.7,1L-1,.7L-.3,0L-1,-.7Z",
}
"""Marker of a `FamilyStyle` → shape of the same look in Vega."""

BROKEN, MENDED = "right → wrong", "wrong → right"

GREY, ZONE = "#777777", "#f0f0f0"


@dataclass(frozen=True)
class ScatterTables:
    """What the chart shows.

    Attributes
    ----------
    quants : `quant_points`; steps : `cut_steps`; flips : `flip_bars`
    start : value of ``inside`` in ``steps`` at which the slider starts; None where there is no step
    score : the name of the score; reference, error : the reference's score and its standard error, percent
    floor : mean KLD that the measurement itself adds, nats; None where it is unknown
    cut : the study's own cut, nats; None where its rule has none
    """

    quants: pd.DataFrame
    steps: pd.DataFrame
    flips: pd.DataFrame
    start: int | None
    score: str
    reference: float
    error: float
    floor: float | None = None
    cut: float | None = None


# --- tables -----------------------------------------------------------------------------------------------------------


def cut_steps(curve: pd.DataFrame) -> pd.DataFrame:
    """One row for every number of quants ``inside`` the zone: that row of the table ``zone_curve``, and its words.

    Where several quants have the same KLD no cut has as many inside; the next smaller zone is taken then. Without a cut
    that has quants enough there is no row.
    """
    rows = curve[curve["cut"].notna()].sort_values("n")
    if rows.empty:
        return rows.assign(inside=0, said="")
    inside = np.arange(rows["n"].min(), rows["n"].max() + 1)
    steps = rows.iloc[np.searchsorted(rows["n"], inside, side="right") - 1].assign(inside=inside)
    return steps.assign(said=[cut_words(row) for row in steps.to_dict("records")]).reset_index(drop=True)


def cut_words(row: Mapping[str, Any]) -> str:
    """Cut, n, ρ and its interval of a row of ``zone_curve``, or why there is no ρ."""
    found = with_interval(row)
    rho = f"no ρ ({row['note']})" if found == NOT_AVAILABLE else f"ρ = {found}"
    rho += ", no interval" if rho.startswith("ρ") and "[" not in rho else ""
    return f"cut {significant(row['cut'])} nats: n = {row['n']}, {rho}"


def quant_points(cohort: pd.DataFrame, score: str) -> pd.DataFrame:
    """Quants with a KLD and a score that can be drawn: label, family, recipe, numbers, and those as words.

    ``score`` is a column of the cohort. ``inside_from`` is how many quants have at most its KLD: the quant is in every
    zone of at least as many.
    """
    quants = cohort[cohort["role"] == "quant"]
    quants = quants.assign(inside_from=quants["kl_mean"].rank(method="max"), percent=100 * quants[score])
    quants = quants[drawable(quants["kl_mean"]) & quants["percent"].notna().to_numpy()]
    ends = {"low": quants["kl_mean_low"], "high": quants["kl_mean_high"]}
    words = {
        "kld": [significant(v) for v in quants["kl_mean"]],
        "points": [printed(v, 1) for v in quants["percent"]],
        "bits": [printed(v) for v in quants["bits_per_weight"]],
    }
    columns = ["label", "family", "recipe", "kl_mean", "percent", "inside_from", *ends, *words]
    return quants.assign(**ends, **words)[columns].reset_index(drop=True)


def flip_bars(flips: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """Table ``flips`` → one row a quant, benchmark and way: label, benchmark, way, number of items; of single tasks."""
    single = flips[flips["label"].isin(labels) & flips["drops"].notna() & (flips["benchmark"] != "composite")]
    ways = {"drops": BROKEN, "leapfrogs": MENDED}
    bars = single.melt(["label", "benchmark"], list(ways), var_name="way", value_name="changed")
    return bars.assign(way=bars["way"].map(ways)).astype({"changed": "int64"})


# --- chart ------------------------------------------------------------------------------------------------------------


def scatter_chart(tables: ScatterTables, styles: Mapping[str, FamilyStyle]) -> alt.VConcatChart:
    """The scatter with its slider, ρ for every cut, and the flips of the quant that is clicked on."""
    families = [family for family in styles if family in set(tables.quants["family"])]
    picked = _picked(tables.quants.sort_values("kl_mean")["label"].tolist())
    panels = [_scatter(tables, _family_encodings(families, styles), _shown(families), picked)]
    panels += [_curve(tables)] if tables.start is not None else []
    panels += [_flips(tables, picked)] if len(tables.flips) else []
    chart = alt.vconcat(*panels, spacing=28).add_params(*_slider(tables))
    own = dict.fromkeys(("fill", "stroke", "shape"), "independent")
    return chart.resolve_scale(**own).configure_view(stroke=GREY)


def _shown(families: list[str]) -> alt.Parameter:
    """The families that are shown, all at first; a click in the legend hides or shows one."""
    everyone = [{"family": family} for family in families]
    how = {"bind": "legend", "toggle": "true", "clear": False, "empty": False}
    return alt.selection_point(name="families", fields=["family"], value=everyone, **how)


def _picked(labels: list[str]) -> alt.Parameter:
    """The quant whose flips are shown, by a click on it or from a list; at first the last one."""
    listed = alt.binding_select(options=labels, name="flips of ")
    how = {"on": "click", "toggle": False, "clear": False}
    return alt.selection_point(name="picked", fields=["label"], bind=listed, value=labels[-1], **how)


def _slider(tables: ScatterTables) -> list[alt.Parameter]:
    """How many quants are in the zone; nothing where there is no step."""
    if tables.start is None:
        return []
    ends = {"min": int(tables.steps["inside"].min()), "max": int(tables.steps["inside"].max())}
    bound = alt.binding_range(**ends, step=1, name="quants in the zone ")
    return [alt.param(name="inside", value=tables.start, bind=bound)]


def _x(tables: ScatterTables, column: str = "kl_mean", title: str | None = KLD_LABEL) -> alt.X:
    """A KLD axis that is the same in every panel, whichever families are shown."""
    values = [*tables.quants["kl_mean"], *filter(None, [tables.cut])]
    domain = [min(values) / 1.3, max(values) * 1.3]
    axis = alt.Axis(format="~g", tickCount=8, grid=False)
    return alt.X(f"{column}:Q", title=title, axis=axis, scale=alt.Scale(type="log", domain=domain, nice=False))


def _family_encodings(families: list[str], styles: Mapping[str, FamilyStyle]) -> dict[str, Any]:
    colours = alt.Scale(domain=families, range=[styles[f].colour for f in families])
    shapes = alt.Scale(domain=families, range=[SHAPES[styles[f].marker] for f in families])
    legend = alt.Legend(title="family (click: off, on)")
    return {
        "stroke": alt.Stroke("family:N", scale=colours, legend=legend),
        "fill": alt.Fill("family:N", scale=colours, legend=legend),
        "shape": alt.Shape("family:N", scale=shapes, legend=legend),
    }


def _scatter(tables: ScatterTables, family: dict[str, Any], shown: alt.Parameter, picked: alt.Parameter) -> alt.Chart:
    x, y = _x(tables), alt.Y("percent:Q", title=f"{tables.score} score (%)", scale=_score_scale(tables))
    inside = alt.value(1) if tables.start is None else alt.when("datum.inside_from <= inside").then(alt.value(1))
    filled = inside if tables.start is None else inside.otherwise(alt.value(0))
    points = (
        alt.Chart(tables.quants)
        .mark_point(size=75, strokeWidth=1.6)
        .encode(x=x, y=y, fillOpacity=filled, tooltip=_told(tables), **family)
        .transform_filter(shown)
        .add_params(shown, picked)
    )
    ends = alt.Chart(tables.quants).mark_rule(color=GREY).encode(x=_x(tables, "low"), x2="high:Q", y=y)
    chosen = alt.Chart(tables.quants).mark_point(size=260, stroke="black", strokeWidth=1, fill=None)
    chosen = chosen.encode(x=x, y=y).transform_filter(picked)
    layers = [*_moving(tables), *_reference(tables, y), *_marks(tables), ends.transform_filter(shown), chosen, points]
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)


def _score_scale(tables: ScatterTables) -> alt.Scale:
    values = [*tables.quants["percent"], tables.reference - tables.error, tables.reference + tables.error]
    room = 0.08 * (max(values) - min(values)) + 0.5
    return alt.Scale(domain=[min(values) - room, max(values) + room], nice=False, zero=False)


def _told(tables: ScatterTables) -> list[alt.Tooltip]:
    titles = {"label": "quant", "family": "family", "recipe": "recipe", "bits": "bits per weight"}
    titles |= {"kld": KLD_LABEL, "points": f"{tables.score} score (%)"}
    return [alt.Tooltip(f"{column}:N", title=title) for column, title in titles.items()]


def _moving(tables: ScatterTables) -> list[alt.Chart]:
    """What follows the slider: the zone's shade, its edge, and the row's words above the panel."""
    if tables.start is None:
        return []
    row = alt.Chart(tables.steps).transform_filter("datum.inside == inside")
    lowest = _x(tables).to_dict()["scale"]["domain"][0]
    shade = row.mark_rect(color=ZONE).transform_calculate(lowest=f"{lowest!r}")
    words = row.mark_text(align="left", baseline="bottom", fontSize=15, fontWeight="bold")
    return [
        shade.encode(x=_x(tables, "lowest"), x2="cut:Q"),
        row.mark_rule(strokeDash=[4, 3]).encode(x=_x(tables, "cut")),
        words.encode(x=alt.value(0), y=alt.value(-8), text="said:N"),
    ]


def _reference(tables: ScatterTables, y: alt.Y) -> list[alt.Chart]:
    """The reference's score as a line, with a band of one standard error on either side."""
    value, error = tables.reference, tables.error
    table = pd.DataFrame({"percent": [value], "below": [value - error], "above": [value + error]})
    table["said"] = f"reference {printed(value, 1)} ± {printed(error, 1)} (1 SE)"
    chart = alt.Chart(table)
    band = chart.mark_rect(color=GREY, opacity=0.18).encode(
        y=alt.Y("below:Q", scale=y.to_dict()["scale"]), y2="above:Q"
    )
    words = chart.mark_text(align="right", baseline="bottom", dx=-4, dy=-2)
    return [band, chart.mark_rule().encode(y=y), words.encode(x=alt.value(WIDTH), y=y, text="said:N")]


def _marks(tables: ScatterTables) -> list[alt.Chart]:
    """Upright lines for the floor and for the study's own cut, where the axis reaches them."""
    least, most = _x(tables).to_dict()["scale"]["domain"]
    found = {"floor": tables.floor, "the study's cut": tables.cut}
    rows = [{"kl_mean": v, "said": name} for name, v in found.items() if v is not None and least <= v <= most]
    if not rows:
        return []
    chart = alt.Chart(pd.DataFrame(rows))
    words = chart.mark_text(angle=270, align="left", baseline="bottom", dx=4, dy=-2, color=GREY)
    lines = chart.mark_rule(strokeDash=[1, 2], color=GREY)
    return [lines.encode(x=_x(tables)), words.encode(x=_x(tables), y=alt.value(HEIGHT), text="said:N")]


def _curve(tables: ScatterTables) -> alt.Chart:
    """ρ for every cut with its interval, and where it would lie were true scores monotone in KLD."""
    rows = tables.steps.drop_duplicates("n")
    chart = alt.Chart(rows)
    x = _x(tables, "cut", "cut of the zone (nats per token)")
    y = alt.Scale(domain=[-1, 1])
    low, estimate = (alt.Y(f"{column}:Q", title="ρ inside", scale=y) for column in ("low", "estimate"))
    null = chart.mark_line(strokeDash=[4, 3], color=OKABE_ITO["blue"], strokeWidth=1)
    here = chart.mark_point(filled=True, size=70, color="black").transform_filter("datum.inside == inside")
    told = [alt.Tooltip("said:N", title="zone")]
    layers = [
        chart.mark_area(color=GREY, opacity=0.25).encode(x=x, y=low, y2="high:Q"),
        *(null.encode(x=x, y=alt.Y(f"{end}:Q", title="ρ inside", scale=y)) for end in ("null_low", "null_high")),
        chart.mark_line(color="black").encode(x=x, y=estimate),
        chart.mark_point(filled=True, size=22, color="black").encode(x=x, y=estimate, tooltip=told),
        here.encode(x=x, y=estimate),
    ]
    return alt.layer(*layers).properties(width=WIDTH, height=CURVE_HEIGHT)


def _flips(tables: ScatterTables, picked: alt.Parameter) -> alt.Chart:
    """How many items one quant has wrong that the reference has right, and the other way round, by benchmark."""
    ways = alt.Scale(domain=[BROKEN, MENDED], range=[OKABE_ITO["vermillion"], OKABE_ITO["blue"]])
    most = int(tables.flips["changed"].max()) or 1
    benchmarks = tables.flips["benchmark"].unique().tolist()
    chart = (
        alt.Chart(tables.flips)
        .transform_filter(picked)
        .encode(
            x=alt.X(
                "changed:Q",
                title="items whose answer changed",
                scale=alt.Scale(domain=[0, most]),
                axis=alt.Axis(grid=False),
            ),
            y=alt.Y("benchmark:N", title=None, sort=benchmarks),
            yOffset=alt.YOffset("way:N", sort=[BROKEN, MENDED]),
        )
    )
    bars = chart.mark_bar().encode(
        fill=alt.Fill("way:N", scale=ways, legend=alt.Legend(title="against the reference")),
        tooltip=["label:N", "benchmark:N", "way:N", alt.Tooltip("changed:Q", title="items")],
    )
    counts = chart.mark_text(align="left", dx=3).encode(text="changed:Q")
    return alt.layer(bars, counts).properties(width=WIDTH, height=BAR_HEIGHT * len(benchmarks))
