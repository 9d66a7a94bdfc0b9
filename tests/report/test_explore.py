"""The explorer's views say what the tables say, for any cut, item and window."""

from __future__ import annotations

import logging
import math
import re

import matplotlib
import numpy as np
import pandas as pd
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from scipy import stats

from qkld.errors import TableError
from qkld.report.explore import (
    ItemText,
    item_html,
    item_rows,
    items_where,
    zone_at,
    zone_figure,
)
from qkld.report.explore_widgets import item_widget, zone_widget
from qkld.report.window_text import coloured_text, strength, window_tokens

QUANT = "hqq-4-g64"


@pytest.fixture
def tokens():
    """Two windows of a text and one of another, with a KL that is missing and text that is markup."""
    return pd.DataFrame(
        {
            "corpus": ["prose"] * 5 + ["chat"],
            "context": [64] * 5 + [0],
            "window": [0, 0, 0, 1, 1, 0],
            "position": [2, 0, 1, 0, 1, 0],
            "token": [30, 10, 20, 40, 50, 60],
            "kl": [1e-6, 10.0, math.nan, 0.0, 0.1, 0.2],
            "nll_reference": math.log(2),
            "nll_quant": math.log(4),
        }
    )


# --- zone -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [0.03, 0.5, 20.0])
def test_zone_follows_the_cut(simulated, cut):
    quants = simulated.cohort[simulated.cohort["role"] == "quant"]
    inside = quants[quants["kl_mean"] <= cut]
    zone = zone_at(simulated, cut)
    assert zone.labels == tuple(inside["label"])
    assert zone.correlation["estimate"] == pytest.approx(
        stats.spearmanr(inside["kl_mean"], inside["composite"]).statistic
    )
    assert str(zone).startswith(f"n = {len(inside)}, ρ = ")


def test_a_zone_with_too_few_quants_says_so(simulated):
    assert re.match(r"n = 1: no ρ \(.*at least 4", str(zone_at(simulated, 0.003)))


def test_zone_figure_shades_up_to_the_cut_and_names_n(simulated):
    figure = zone_figure(simulated, 0.2)
    (ax,) = figure.axes
    assert any(set(line.get_xdata()) == {0.2} for line in ax.get_lines())
    assert "n = 14" in figure.get_suptitle()
    plt.close(figure)


# --- items ------------------------------------------------------------------------------------------------------------


def test_changed_items_are_those_with_another_answer(simulated):
    items = simulated.items[simulated.items["benchmark"] == "sciq"].set_index(["model", "item"])["correct"]
    changed = items_where(simulated, "sciq", QUANT, changed=True)
    everything = items_where(simulated, "sciq", QUANT, changed=False)
    assert everything == [str(i) for i in range(300)]
    assert 0 < len(changed) < 300
    assert changed == [i for i in everything if items["reference", i] != items[QUANT, i]]


def test_item_rows_are_reference_then_quant(simulated):
    rows = item_rows(simulated, "sciq", "7", QUANT)
    assert list(rows.index) == ["reference", QUANT]
    assert math.isnan(rows.loc["reference", "kl_choice_mean"])
    with pytest.raises(TableError, match="'9999' of 'sciq'"):
        item_rows(simulated, "sciq", "9999", QUANT)


def test_item_html_marks_right_and_taken_choices_and_escapes(simulated):
    rows = item_rows(simulated, "sciq", "0", QUANT)
    rows["right"], rows["answer"] = 1, [1, 2]
    text = item_html(rows, ItemText("Is 1 < 2?", ("<i>", "yes", "no & yes")))
    assert "Is 1 &lt; 2?" in text
    assert "<li>&lt;i&gt;</li>" in text
    assert "<li>yes <b>← right, taken by reference</b></li>" in text
    assert f"<li>no &amp; yes <b>← taken by {QUANT}</b></li>" in text
    assert f"{rows.loc[QUANT, 'margin']:.3f} nats" in text


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_a_window_is_sorted_by_position(tokens):
    assert window_tokens(tokens, "prose", 64, 0)["token"].tolist() == [10, 20, 30]
    with pytest.raises(TableError, match=r"windows \[.*0.*1.*\]"):
        window_tokens(tokens, "prose", 64, 7)


@pytest.mark.parametrize(("kl", "expected"), [(10.0, 1), (1e-4, 0), (1e-9, 0), (1e3, 1), (0.0, 0), (math.nan, 0)])
def test_strength_is_logarithmic_and_bounded(kl, expected):
    assert strength(kl) == expected
    assert strength(10**-1.5) == pytest.approx(0.5)


def test_coloured_text_has_a_span_a_token_and_escapes(tokens):
    text = coloured_text(window_tokens(tokens, "prose", 64, 0), lambda token: f"<{token}>")
    assert re.findall(r">(&lt;\d+&gt;)<", text) == ["&lt;10&gt;", "&lt;20&gt;", "&lt;30&gt;"]
    assert [float(a) for a in re.findall(r"rgba\(213,94,0,([\d.]+)\)", text)] == [0.85, 0, 0]
    assert "KL not available" in text
    assert text.count("p reference 0.5, p quant 0.25") == 3
    assert "over 3 tokens" in text


# --- widgets ----------------------------------------------------------------------------------------------------------


def test_moving_the_zone_slider_redraws_without_an_error(simulated, caplog):
    plt.close("all")
    widget = zone_widget(simulated, 0.05)
    with caplog.at_level(logging.WARNING):
        widget.children[0].value = 0.5
    assert not caplog.records
    kld = simulated.cohort.loc[simulated.cohort["role"] == "quant", "kl_mean"]
    assert 10 ** widget.children[0].min < kld.min()
    assert 10 ** widget.children[0].max > kld.max()
    assert not plt.get_fignums()


def test_item_widget_offers_items_of_its_benchmark(simulated, caplog):
    widget = item_widget(simulated, "sciq", QUANT, text=lambda *_: ItemText("prompt", ("a", "b", "c", "d")))
    (benchmarks, quants), (items, changed) = (box.children for box in widget.children[:2])
    assert len(items.options) == 300
    assert items.value == "0"
    with caplog.at_level(logging.WARNING):
        changed.value = True
        assert list(items.options) == items_where(simulated, "sciq", QUANT, changed=True)
        benchmarks.value = "arc_easy"
        assert list(items.options) == items_where(simulated, "arc_easy", QUANT, changed=True)
        assert items.value == items.options[0]
        quants.value = "hqq-2-g64"
    assert not caplog.records
    assert np.isin(items.options, simulated.items["item"]).all()
