"""The page to look into: what its slider shows is the table's row, and a browser shows it without a network."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from browser_check import START, keep_picture, new_page, opened_browser
from playwright.sync_api import expect

from qkld.report.figures.scatter import BROKEN, MENDED, cut_steps, cut_words
from qkld.report.numbers import printed, significant
from qkld.report.scatter_page import render_scatter, scatter_tables, write_scatter

LARGEST = 2_000_000
"""Bytes of a page."""


def curve(cuts, ns, **more):
    table = {"cut": cuts, "n": ns, "estimate": -0.5, "low": -0.9, "high": 0.1, "note": ""}
    return pd.DataFrame(table | more)


def test_every_number_of_quants_inside_has_the_row_of_its_cut():
    steps = cut_steps(curve([0.03, 0.01, 0.5], [8, 6, 9]))
    assert steps["inside"].tolist() == [6, 7, 8, 9]
    assert steps["n"].tolist() == [6, 6, 8, 9], "no cut has 7 inside: two quants have the same KLD"
    assert steps["cut"].tolist() == [0.01, 0.01, 0.03, 0.5]


def test_without_a_cut_there_is_no_step():
    assert cut_steps(curve([np.nan], [3], note="no cut has 4 quants inside")).empty


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({}, "cut 0.0300 nats: n = 8, ρ = −0.50 [−0.90, 0.10]"),
        ({"low": np.nan, "high": np.nan}, "cut 0.0300 nats: n = 8, ρ = −0.50, no interval"),
        ({"estimate": np.nan, "note": "all scores equal"}, "cut 0.0300 nats: n = 8, no ρ (all scores equal)"),
    ],
)
def test_a_row_is_said_in_words(row, words):
    assert cut_words(curve([0.03], [8], **row).iloc[0]) == words


def test_the_slider_starts_at_the_studys_zone(simulated):
    tables, members = scatter_tables(simulated), simulated.analysis("zone_members")
    assert tables.start == members["in_zone"].sum()
    inside = tables.quants[tables.quants["inside_from"] <= tables.start]["label"]
    assert set(inside) == set(members.loc[members["in_zone"], "label"])


def test_quants_without_a_kld_or_a_score_are_named_and_not_drawn(simulated_copy):
    study = simulated_copy
    first, second, *_ = study.quants
    study.cohort.loc[study.cohort["label"] == first, "kl_mean"] = 0.0
    study.cohort.loc[study.cohort["label"] == second, "composite"] = np.nan
    assert {first, second}.isdisjoint(scatter_tables(study).quants["label"])
    assert (
        f"Not drawn, without a KLD above 0 or without a score: {', '.join(sorted([first, second]))}"
        in render_scatter(study)
    )


def test_a_study_with_too_few_quants_for_a_curve_has_no_slider(simulated_copy):
    study = simulated_copy
    table = study.analysis("zone_curve").head(1).assign(cut=np.nan, note="no cut has 4 quants inside; the cohort has 3")
    study.save_analysis("zone_curve", table)
    page = render_scatter(study)
    assert "There is no slider for the zone's cut: no cut has 4 quants inside; the cohort has 3." in page
    assert '"input": "range"' not in page


def test_the_page_is_one_small_file_that_fetches_nothing(simulated, tmp_path):
    path = tmp_path / "scatter.html"
    write_scatter(path, simulated)
    assert path.stat().st_size < LARGEST
    page = path.read_text(encoding="utf-8")
    own = re.sub(r"(<script[^>]*>).*?</script>", r"\1", page, flags=re.DOTALL)  # the library has such words in its text
    assert not re.search(r"<(script|img|link|iframe)[^>]+(src|href)=", own)
    assert page.count("</script>") == 2


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture
def page(simulated, tmp_path):
    """The page, opened from its file without a network; what it asked for and complained about is listed."""
    path = tmp_path / "scatter.html"
    write_scatter(path, simulated)
    with opened_browser() as browser:
        page = new_page(browser)
        page.context.set_offline(True)
        heard = []
        page.on("request", lambda request: heard.append(request.url))
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.goto(path.as_uri())
        page.wait_for_selector("#chart svg")
        yield page
        keep_picture(page, "scatter")
        assert heard == [path.as_uri()], "one file, and nothing to complain about"


def words_in(page):
    return page.locator("#chart svg text").all_text_contents()


@pytest.mark.browser
def test_a_browser_shows_the_tables_rows_and_what_is_asked_for(simulated, page):
    """The slider, a family off and on, a quant's name on hovering and its flips on clicking: one page, in order."""
    rows, flips = simulated.analysis("zone_curve").set_index("n"), simulated.analysis("flips")
    slider = page.locator("input[type=range]")
    for n in (rows.index.min(), 9, rows.index.max()):
        slider.fill(str(n))
        expected = f"cut {significant(rows.loc[n, 'cut'])} nats: n = {n}, ρ = {printed(rows.loc[n, 'estimate'])}"
        page.locator("#chart svg text", has_text=expected).wait_for()
        (said,) = [words for words in words_in(page) if words.startswith("cut ") and " nats: " in words]
        if np.isfinite(rows.loc[n, "low"]):
            assert said.endswith(f" [{printed(rows.loc[n, 'low'])}, {printed(rows.loc[n, 'high'])}]")
    points = page.locator("#chart svg .mark-symbol path[aria-label*='family:']")
    everything, hidden = points.count(), int((simulated.cohort["family"] == "hqq").sum())
    page.locator("#chart svg .role-legend-label text", has_text="hqq").first.click()
    expect(points).to_have_count(everything - hidden, timeout=1000 * START)
    quant = simulated.quants[0]
    page.locator("select").select_option(quant)
    drops = flips[(flips["label"] == quant) & (flips["benchmark"] == "sciq")].iloc[0]
    for way, column in ((BROKEN, "drops"), (MENDED, "leapfrogs")):
        bar = f"#chart svg path[aria-label*='sciq'][aria-label*='{way}'][aria-label*='{quant}']"
        page.wait_for_selector(bar, state="attached")
        assert f"items: {drops[column]}" in page.locator(bar).get_attribute("aria-label")
