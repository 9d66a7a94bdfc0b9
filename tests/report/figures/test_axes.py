"""Names of metrics, what a log axis leaves out, the floor, and markers of quants."""

from __future__ import annotations

import matplotlib.colors
import numpy as np
import pytest

from qkld.report.figures.axes import (
    draw_quants,
    drawable,
    floor_of,
    interval_of,
    left_out,
    legend_above,
    mark_cut,
    mark_floor,
    metric_name,
    percent_axis,
    score_label,
)


@pytest.mark.parametrize(
    ("column", "label"),
    [
        ("composite", "composite score (%)"),
        ("score_sciq", "sciq score (%)"),
        ("composite_probability", "composite: P(right choice) (%)"),
        ("probability_arc_easy", "arc_easy: P(right choice) (%)"),
    ],
)
def test_a_score_s_axis_says_what_it_is_the_mean_of(column, label):
    assert score_label(column) == label


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("kl_mean", "KLD mean"),
        ("kl_p99_9", "KLD p99.9"),
        ("kl_mean_code", "KLD mean, code"),
        ("kl_mean_1024", "KLD mean, 1024 tokens"),
        ("abs_log_ppl_ratio", "|ln PPL ratio|"),
        ("something_else", "something_else"),
    ],
)
def test_metric_names(column, name):
    assert metric_name(column) == name


def test_a_log_axis_says_what_it_leaves_out():
    shown = drawable([0.1, 0.0, np.nan, np.inf, -1.0])
    assert shown.tolist() == [True, False, False, False, False]
    assert left_out(["a", "b"], np.array([True, True])) == ""
    assert left_out(["a", "b"], np.array([True, False])) == "\nnot drawn (KLD 0): b"
    assert left_out(["a" * 20] * 5, shown, "no answer changed") == "\nnot drawn (no answer changed): 4 quants"


def test_floor_is_that_of_the_dtype_and_none_where_it_is_zero(cohort):
    assert floor_of(cohort) == pytest.approx(8.6e-4)
    assert floor_of(cohort.assign(kl_mean=0.0)) is None
    assert floor_of(cohort[cohort["role"] != "floor"]) is None


def test_a_floor_within_reach_is_a_line_and_one_far_below_is_named_with_its_value(ax, cohort, quants, styles):
    draw_quants(ax, quants, "kl_mean", "bits_per_weight", styles)
    ax.set_xscale("log")
    start, lines = ax.get_xlim()[0], len(ax.get_lines())
    far = cohort.assign(kl_mean=cohort["kl_mean"].where(cohort["role"] != "floor", 2.4e-10))
    mark_floor(ax, far)
    assert ax.get_xlim()[0] == start
    assert (len(ax.get_lines()), ax.texts[-1].get_text()) == (lines, "floor: 2e-10")
    mark_floor(ax, cohort)
    assert (len(ax.get_lines()), ax.texts[-1].get_text()) == (lines + 1, "floor")


def test_quants_carry_their_familys_colour_marker_and_zone(ax, quants, styles, zone, drawn_points):
    draw_quants(ax, quants, "bits_per_weight", "kl_mean", styles, zone=zone, y_interval=interval_of(quants, "kl_mean"))
    points = drawn_points(ax)
    assert len(points) == len(quants)
    for row, (x, y, marker, colour, face) in zip(quants.to_dict("records"), points, strict=True):
        assert (x, y) == (row["bits_per_weight"], row["kl_mean"])
        assert (marker, colour) == (styles[row["family"]].marker, styles[row["family"]].colour)
        assert (face == "white") == (row["label"] not in zone)
    rings = [line for line in ax.get_lines() if line.get_markerfacecolor() == "none"]
    assert len(rings) == quants["at_floor"].sum() > 0


def test_intervals_reach_from_low_to_high(ax, quants, styles):
    one = quants.head(1)
    (container,) = draw_quants(ax, one, "bits_per_weight", "kl_mean", styles, y_interval=interval_of(one, "kl_mean"))
    ends = container.lines[2][0].get_segments()[0][:, 1]
    assert ends == pytest.approx([one["kl_mean_low"].item(), one["kl_mean_high"].item()])
    assert interval_of(one, "kl_median") is None


def test_a_missing_interval_draws_no_bar(ax, quants, styles):
    one = quants.head(1).assign(kl_mean_low=np.nan)
    (container,) = draw_quants(ax, one, "bits_per_weight", "kl_mean", styles, y_interval=interval_of(one, "kl_mean"))
    assert not container.has_yerr


def test_legend_names_only_families_that_are_there(ax, quants, styles):
    legend_above(ax, styles, quants[quants["family"] == "hqq"].assign(at_floor=False))
    legend = ax.get_legend()
    assert [t.get_text() for t in legend.get_texts()] == ["hqq"]
    assert matplotlib.colors.to_hex(legend.legend_handles[0].get_color()).upper() == styles["hqq"].colour


def test_legend_names_open_markers_only_where_there_are_some(ax, quants, styles):
    names = []
    for zone in (None, list(quants["label"]), []):
        legend_above(ax, styles, quants, zone=zone)
        names.append("outside the zone" in [t.get_text() for t in ax.get_legend().get_texts()])
    assert names == [False, False, True]


def test_zone_is_shaded_up_to_the_cut_and_the_limits_keep(ax):
    ax.set_xscale("log")
    ax.set_xlim(1e-3, 10)
    mark_cut(ax, 0.05, "zone")
    assert ax.get_xlim() == (1e-3, 10)
    span = ax.patches[0]
    assert span.get_x() == pytest.approx(1e-3)
    assert span.get_x() + span.get_width() == pytest.approx(0.05)
    assert ax.get_lines()[0].get_xdata()[0] == 0.05


def test_percent_axis_prints_percent_with_a_true_minus(ax):
    percent_axis(ax.yaxis)
    print_value = ax.yaxis.get_major_formatter()
    assert [print_value(v, 0) for v in (0.5, 0.525, -0.025, 0.07)] == ["50", "52.5", "−2.5", "7"]
