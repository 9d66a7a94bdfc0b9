"""The zone curve's envelope: drawn where there is one, and named."""

import numpy as np
import pandas as pd
import pytest

from qkld.report.figures.zone_curve_figure import draw_zone_curve

CURVE = pd.DataFrame(
    {"cut": [0.01, 0.02, 0.1], "n": [8, 9, 10], "estimate": [0.1, -0.2, -0.5], "low": [-0.5, -0.7, -0.8],
     "high": [0.6, 0.3, -0.1], "null_low": [-0.8, -0.85, -0.9], "null_high": [0.2, 0.0, -0.5]}
)  # fmt: skip


def dashed(ax):
    return [line.get_ydata() for line in ax.lines if line.get_linestyle() == "--"]


def test_the_envelope_is_two_dashed_lines_with_one_name(ax):
    draw_zone_curve(ax, CURVE, cut=None)
    np.testing.assert_array_equal(dashed(ax), CURVE[["null_low", "null_high"]].to_numpy().T)
    assert len(ax.get_legend().get_texts()) == 1


@pytest.mark.parametrize("curve", [CURVE.drop(columns=["null_low", "null_high"]), CURVE.assign(null_low=np.nan)])
def test_without_an_envelope_there_is_none(ax, curve):
    draw_zone_curve(ax, curve, cut=None)
    assert dashed(ax) == []
    assert ax.get_legend() is None
