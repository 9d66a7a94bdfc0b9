"""The decision figure: order, marks, and that it says what it shows."""

import numpy as np
import pandas as pd

from qkld.report.figures.decision_figure import draw_decision

TABLE = pd.DataFrame(
    {
        "label": ["q8", "q4", "q3"],
        "size": [8.5, 4.5, np.nan],
        "net": [0.0, -0.004, -0.03],
        "net_low": [-0.005, -0.012, -0.04],
        "net_high": [0.005, 0.004, -0.02],
        "equivalence_low": [-0.004, -0.009, -0.038],
        "equivalence_high": [0.004, 0.002, -0.022],
        "margin": 0.01,
        "decision": ["equivalent", "equivalent", "worse"],
        "smallest": [False, True, False],
    }
)


def test_the_largest_is_on_top_and_sizes_are_printed(ax):
    draw_decision(ax, TABLE)
    names = {round(y): label.get_text() for y, label in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)}
    assert names == {2: "q8  8.5", 1: "q4  4.5", 0: "q3"}


def test_only_the_smallest_has_a_ring(ax):
    draw_decision(ax, TABLE)
    rings = [line for line in ax.lines if line.get_markersize() == 9]
    assert [tuple(np.ravel(line.get_data())) for line in rings] == [(-0.004, 1)]


def test_the_legend_names_what_is_there(ax):
    draw_decision(ax, TABLE)
    said = [text.get_text() for text in ax.get_legend().get_texts()]
    assert said == ["equivalent", "worse", "± 1 points", "smallest equivalent"]


def test_without_an_equivalent_quant_there_is_no_ring(ax):
    draw_decision(ax, TABLE.assign(decision="undecided", smallest=False))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["undecided", "± 1 points"]
