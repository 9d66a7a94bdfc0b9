"""Small tables and a closed figure for every test of plotting."""

from __future__ import annotations

import matplotlib
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from qkld.report.figures.figure_files import use_style
from qkld.report.figures.styles import family_styles

CUT = 0.05


@pytest.fixture
def cohort(simulated):
    return simulated.cohort


@pytest.fixture
def items(simulated):
    return simulated.items


@pytest.fixture
def analysis(simulated):
    return {name: simulated.analysis(name) for name in ("variants", "zone_curve", "flips", "zone_edge")}


@pytest.fixture
def quants(cohort):
    return cohort[cohort["role"] == "quant"]


@pytest.fixture
def zone(quants):
    return list(quants.loc[quants["kl_mean"] <= CUT, "label"])


@pytest.fixture
def styles(quants):
    return family_styles(quants["family"])


@pytest.fixture
def flips(analysis, quants):
    composite = analysis["flips"][analysis["flips"]["benchmark"] == "composite"]
    return composite.merge(quants[["label", "family", "kl_mean", "at_floor"]], on="label")


@pytest.fixture
def ax():
    use_style()
    figure, axes = plt.subplots(figsize=(3.4, 2.6))
    yield axes
    plt.close(figure)


@pytest.fixture
def drawn_points():
    """(x, y, marker, colour, face) of every single marker in an axes, rings left out."""

    def of(axes):
        lines = [line for line in axes.get_lines() if line.get_linestyle() == "None" and len(line.get_xdata()) == 1]
        return [
            (line.get_xdata()[0], line.get_ydata()[0], line.get_marker(), line.get_color(), line.get_markerfacecolor())
            for line in lines
            if line.get_markerfacecolor() != "none"
        ]

    return of
