"""The figure of scores beside chance: one row a benchmark, and everything that the tables hold is on it."""

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection

from qkld.report.figures.accuracies_figure import draw_accuracies
from qkld.report.figures.styles import cohort_styles

COHORT = pd.DataFrame(
    {
        "label": ["reference", "q8", "q4", "q3"],
        "role": ["reference", "quant", "quant", "quant"],
        "family": ["none", "hqq", "hqq", "torchao"],
        "score_arc_easy": [0.61, 0.60, 0.58, 0.44],
        "score_mmlu$": [0.26, 0.27, 0.24, np.nan],
        "at_floor": [False, True, False, False],
    }
)
ACCURACIES = pd.DataFrame(
    {
        "benchmark": ["arc_easy", "mmlu$"],
        "chance": [0.25, 0.2],
        "reference_score": [0.61, 0.26],
        "se": [0.02, 0.03],
        "in_composite": [True, False],
    }
)


def drawn(ax):
    draw_accuracies(ax, COHORT, ACCURACIES, cohort_styles(COHORT))
    return ax


def test_the_first_benchmark_is_on_top_and_one_outside_the_composite_is_grey(ax):
    drawn(ax)
    rows = {label.get_text(): round(y) for y, label in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)}
    assert rows == {"arc_easy": 1, r"mmlu\$": 0}
    assert [label.get_color() for label in ax.get_yticklabels()] == ["black", "0.5"]


def test_each_benchmark_has_its_own_chance_level(ax):
    lines = [c for c in drawn(ax).collections if isinstance(c, LineCollection) and c.get_linestyle()[0][1]]
    assert [segment[0][0] for c in lines for segment in c.get_segments()] == [0.25, 0.2]


def test_every_score_is_drawn_in_its_row(ax):
    points = {tuple(np.ravel(line.get_data())) for line in drawn(ax).lines if len(line.get_xdata()) == 1}
    assert {(0.60, 1.0), (0.58, 1.0), (0.44, 1.0), (0.27, 0.0), (0.24, 0.0)} <= points
    assert {x for x, y in points if y not in (0.0, 1.0)} == {0.61, 0.26}, "the reference's"


def test_quants_at_the_floor_are_named(ax):
    assert "at the floor" in [text.get_text() for text in drawn(ax).get_legend().get_texts()]
