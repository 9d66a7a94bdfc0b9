"""The figure of metrics that may carry direction: order, kinds, KLD's line, chance, and which subset it shows."""

import numpy as np
import pandas as pd
import pytest

from qkld.report.figures.directional_figure import LOOKS, NAMES, draw_directional, shown_subset
from qkld.statistics.prompts.directional_metrics import metrics_of

ROWS = [("flips", "volume", 0.1, False), ("expected_net", "direction", 0.8, True), ("kl_mean", "volume", 0.3, False)]
TABLE = pd.DataFrame(
    [{"metric": m, "kind": k, "subset": "zone", "n": 11, "estimate": rho, "low": rho - 0.1, "high": rho + 0.1,
      "rank": 3 - sorted(r[2] for r in ROWS).index(rho), "critical": 0.6, "beats_kld": beats}
     for m, k, rho, beats in ROWS]
)  # fmt: skip


def test_the_best_is_on_top_and_only_it_has_a_ring(ax):
    draw_directional(ax, TABLE)
    names = {round(y): label.get_text() for y, label in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)}
    assert names == {2: "expected net", 1: "KLD, text", 0: "flips"}
    rings = [line.get_xdata()[0] for line in ax.get_lines() if line.get_markerfacecolor() == "none"]
    assert rings == [0.8]
    marks = {line.get_xdata()[0]: line.get_marker() for line in ax.get_lines() if line.get_zorder() == 3}
    assert marks == {0.8: LOOKS["direction"][1], 0.3: LOOKS["volume"][1], 0.1: LOOKS["volume"][1]}


def test_klds_line_and_the_range_of_chance(ax):
    draw_directional(ax, TABLE)
    dashed = [line.get_xdata()[0] for line in ax.get_lines() if line.get_linestyle() == "--"]
    assert dashed == [0.3]
    band = ax.patches[0]
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((-0.6, 0.6))
    assert "zone, n = 11" in ax.get_xlabel()


def test_without_a_zone_the_full_cohort_is_shown(ax):
    both = pd.concat([TABLE.assign(estimate=np.nan), TABLE.assign(subset="full", n=22)])
    assert shown_subset(both) == "full"
    draw_directional(ax, both)
    assert "full cohort" in ax.get_xlabel()
    assert len(ax.get_yticks()) == 3


def test_no_metric_at_all_is_said(ax):
    draw_directional(ax, TABLE.assign(estimate=np.nan))
    assert "no metric has a ρ" in [text.get_text() for text in ax.texts]


def test_every_metric_has_a_name_in_print():
    assert {m.name for m in metrics_of("kl_choice_mean")} | {"kl_mean"} == set(NAMES)
