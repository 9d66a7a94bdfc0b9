"""Builds of one recipe are joined, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

from qkld.report.figures.builds_figure import draw_builds


@pytest.fixture
def built(cohort):
    """The simulated cohort with its first six quants as three builds of two recipes, the rest built once."""
    quants = cohort.index[cohort["role"] == "quant"]
    recipes = cohort["label"].copy()
    recipes[quants[:3]], recipes[quants[3:6]] = "first", "second"
    return cohort.assign(recipe_id=recipes)


def test_lines_join_the_builds_of_a_recipe_by_rising_kld(ax, built, styles, drawn_points):
    draw_builds(ax, built, styles)
    quants = built[built["role"] == "quant"]
    assert len(drawn_points(ax)) == len(quants)
    joined = [line for line in ax.get_lines() if len(line.get_xdata()) == 3]
    assert len(joined) == 2
    for line in joined:
        x, y = line.get_data()
        assert (np.diff(x) >= 0).all()
        assert len(set(quants.loc[quants["kl_mean"].isin(x) & quants["composite"].isin(y), "recipe_id"])) == 1
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "mean KLD (nats per token)"


def test_a_build_without_any_kld_is_named_and_not_joined(ax, built, styles):
    first = built.index[built["recipe_id"] == "first"]
    built.loc[first[0], "kl_mean"] = 0.0
    draw_builds(ax, built, styles)
    assert f"not drawn (KLD 0): {built.loc[first[0], 'label']}" in ax.get_xlabel()
    assert sorted(len(line.get_xdata()) for line in ax.get_lines() if len(line.get_xdata()) in (2, 3))[-1] == 3
