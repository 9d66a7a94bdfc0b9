"""A study's scatter to look into: one HTML page with its library inside, which opens without server or network."""

from __future__ import annotations

import json
from math import isfinite
from pathlib import Path

import vl_convert

from qkld.analysis.headline import cohort_columns, zone_of
from qkld.analysis.study import LoadedStudy
from qkld.report.figures.axes import floor_of
from qkld.report.figures.scatter import ScatterTables, cut_steps, flip_bars, quant_points, scatter_chart
from qkld.report.figures.styles import cohort_styles
from qkld.report.page import render_page
from qkld.study.provenance import written_whole


def scatter_tables(study: LoadedStudy) -> ScatterTables:
    """What the page shows, from the cohort and the tables ``zone_curve``, ``zone_members`` and ``flips``.

    The score is the one that ``zone_curve`` is about.
    """
    curve, zone, cohort = study.analysis("zone_curve"), zone_of(study), study.cohort
    benchmark = str(curve["benchmark"].iloc[0])
    column, error = cohort_columns(benchmark, "accuracy")
    quants, steps = quant_points(cohort, column), cut_steps(curve)
    reference, error = 100 * cohort.loc[cohort["role"] == "reference", [column, error]].iloc[0].astype(float)
    return ScatterTables(
        quants=quants,
        steps=steps,
        flips=flip_bars(study.analysis("flips"), quants["label"]),
        start=None if steps.empty else int(min(max(len(zone.labels), steps["inside"].min()), steps["inside"].max())),
        score=benchmark,
        reference=reference,
        error=error if isfinite(error) else 0.0,
        floor=floor_of(cohort),
        cut=zone.cut,
    )


def render_scatter(study: LoadedStudy) -> str:
    """The page as HTML, its library and its numbers inside."""
    tables = scatter_tables(study)
    chart = scatter_chart(tables, cohort_styles(study.cohort))
    return render_page(
        "scatter.html",
        study=study.params.study,
        confidence=f"{study.params.correlation.correlation_confidence:.0%}",
        without_curve="" if len(tables.steps) else study.analysis("zone_curve")["note"].iloc[0],
        left_out=sorted(set(study.quants) - set(tables.quants["label"])),
        commit=study.cohort_made_by["commit"],
        library=vl_convert.javascript_bundle(),
        chart=json.dumps(chart.to_dict(), ensure_ascii=False).replace("</", "<\\/"),
    )


def write_scatter(path: Path, study: LoadedStudy) -> None:
    """Write the page whole."""
    html = render_scatter(study)
    with written_whole(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
