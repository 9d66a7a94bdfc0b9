"""Each figure holds what its table holds: points, lines, labels with units, the zone at the cut."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from qkld.report.figures.bits_figure import draw_bits_kld
from qkld.report.figures.flips_figure import draw_direction, draw_net, draw_volume, draw_volume_and_direction
from qkld.report.figures.prompts_figure import draw_prompt_kld
from qkld.report.figures.reliability_figure import WANTED, draw_reliability
from qkld.report.figures.score_figure import draw_kld_score
from qkld.report.figures.variants_figure import draw_variants
from qkld.report.figures.zone_curve_figure import draw_zone_curve
from qkld.statistics.noise.reliability import items_for_reliability

CUT = 0.05


def texts(ax):
    return [t.get_text() for t in ax.texts]


# --- KLD against score ------------------------------------------------------------------------------------------------


def test_kld_score_draws_every_quant_and_nothing_else(ax, cohort, quants, styles, zone, drawn_points):
    draw_kld_score(ax, cohort, styles, zone=zone, cut=CUT, reference_error=0.0145)
    points = drawn_points(ax)
    assert sorted(p[:2] for p in points) == sorted(zip(quants["kl_mean"], quants["composite"], strict=True))
    assert sum(p[4] == "white" for p in points) == len(quants) - len(zone)
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "mean KLD (nats per token)"
    assert ax.get_ylabel() == "composite score (%)"


def test_kld_score_marks_zone_floor_and_reference(ax, cohort, styles, zone):
    draw_kld_score(ax, cohort, styles, zone=zone, cut=CUT, reference_error=0.0145)
    vertical = {
        line.get_xdata()[0]
        for line in ax.get_lines()
        if len(set(line.get_xdata())) == 1 == len(set(line.get_ydata())) - 1
    }
    assert vertical == {CUT, 8.6e-4}
    reference = cohort.loc[cohort["role"] == "reference", "composite"].item()
    band = next(p for p in ax.patches if p.get_height() == pytest.approx(0.029))
    assert band.get_y() == pytest.approx(reference - 0.0145)
    assert texts(ax) == ["reference ± 1 SE", "floor", f"zone, n = {len(zone)}"]


def test_kld_score_without_a_cut_shades_no_zone(ax, cohort, styles, zone):
    draw_kld_score(ax, cohort, styles, zone=zone, reference_error=None)
    assert not ax.patches
    assert texts(ax) == ["reference", "floor"]


def test_kld_score_names_a_quant_with_kld_zero(ax, cohort, styles, zone, quants, drawn_points):
    zeroed = cohort.assign(kl_mean=cohort["kl_mean"].where(cohort["label"] != zone[0], 0.0))
    draw_kld_score(ax, zeroed, styles, zone=zone, cut=CUT)
    assert zone[0] in ax.get_xlabel()
    assert len(drawn_points(ax)) == len(quants) - 1


# --- variants ---------------------------------------------------------------------------------------------------------


def test_variants_have_a_row_each_and_both_subsets(ax, analysis):
    table = analysis["variants"]
    draw_variants(ax, table)
    assert len(ax.get_yticks()) == 14
    assert ax.get_yticklabels()[0].get_text() == "KLD mean"
    assert ax.get_yticks()[0] > ax.get_yticks()[1]
    full, zone = (line for line in ax.get_lines() if len(line.get_xdata()) == 14)
    assert np.allclose(full.get_xdata(), table.loc[table["subset"] == "full", "estimate"])
    assert np.allclose(zone.get_xdata(), table.loc[table["subset"] == "zone", "estimate"])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["full cohort, n = 22", "zone, n = 11"]
    assert "ρ" in ax.get_xlabel()


def test_variants_say_where_rho_is_not_defined(ax, analysis):
    table = analysis["variants"].copy()
    table.loc[table["subset"] == "zone", ["estimate", "low", "high"]] = np.nan
    draw_variants(ax, table)
    assert texts(ax) == ["not defined"] * 14


def test_variants_have_their_simultaneous_band_behind_the_interval(ax, analysis):
    table = analysis["variants"]
    draw_variants(ax, table)
    drawn = {tuple(end for end in segment[:, 0]) for lines in ax.collections for segment in lines.get_segments()}
    for ends in (("band_low", "band_high"), ("low", "high")):
        assert {tuple(row) for row in table[list(ends)].to_numpy()} <= drawn


# --- reliability ------------------------------------------------------------------------------------------------------


def test_reliability_draws_every_subset_the_studys_own_items_and_what_is_wanted(ax, analysis):
    edges = analysis["zone_edge"]
    draw_reliability(ax, edges)
    lines = {line.get_label(): line for line in ax.get_lines()}
    points, curve = lines["subsets of items"], lines["Spearman–Brown"]
    assert sorted(points.get_xdata()) == sorted(edges["items"])
    own = edges.loc[edges["items"].idxmax()]
    assert np.interp(own["items"], curve.get_xdata(), curve.get_ydata()) == pytest.approx(own["reliability"], abs=1e-3)
    wanted = items_for_reliability(int(own["items"]), float(own["reliability"]), WANTED)
    assert texts(ax) == [f"this study: {int(own['items']):,}", *([f"{int(wanted):,}"] if wanted > own["items"] else [])]


def test_reliability_not_above_zero_is_said_and_has_no_curve(ax, analysis):
    draw_reliability(ax, analysis["zone_edge"].assign(reliability=-0.2))
    assert "not above 0" in texts(ax)[-1]
    assert "Spearman–Brown" not in [t.get_text() for t in ax.get_legend().get_texts()]


# --- zone curve -------------------------------------------------------------------------------------------------------


def test_zone_curve_draws_rho_n_and_the_cut(ax, analysis):
    curve = analysis["zone_curve"]
    counts = draw_zone_curve(ax, curve, cut=CUT)
    line = next(line for line in ax.get_lines() if len(line.get_xdata()) == len(curve))
    assert np.allclose(line.get_ydata(), curve["estimate"])
    assert np.allclose(counts.get_lines()[0].get_ydata(), curve["n"])
    assert any(set(line.get_xdata()) == {CUT} for line in ax.get_lines())
    assert texts(ax) == ["the study's cut"]
    assert "nats" in ax.get_xlabel()
    assert "quants" in counts.get_ylabel()


def test_zone_curve_without_any_cut_says_so(ax):
    nothing = pd.DataFrame({"cut": [np.nan], "n": [3], "estimate": [np.nan], "low": [np.nan], "high": [np.nan]})
    draw_zone_curve(ax, nothing, cut=None)
    assert texts(ax) == ["no cut has enough quants"]


# --- volume and direction ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "column", "label"),
    [
        (draw_volume, "flip_rate", "flip rate (% of items)"),
        (draw_direction, "improvement_fraction", "improvement fraction\nleapfrogs / flips"),
        (draw_net, "net", "score − reference (points)"),
    ],
)
def test_flips_are_drawn_a_point_a_quant(ax, flips, styles, zone, drawn_points, draw, column, label):
    draw(ax, flips, styles, zone=zone)
    assert sorted(p[:2] for p in drawn_points(ax)) == sorted(zip(flips["kl_mean"], flips[column], strict=True))
    assert ax.get_ylabel() == label
    assert ax.get_xlabel() == "mean KLD (nats per token)"


def test_direction_has_its_half_line_and_wilson_intervals(ax, flips, styles):
    draw_direction(ax, flips, styles)
    assert any(set(line.get_ydata()) == {0.5} for line in ax.get_lines())
    bars = sorted(tuple(c.lines[2][0].get_segments()[0][:, 1]) for c in ax.containers)
    assert np.allclose(bars, sorted(zip(flips["improvement_low"], flips["improvement_high"], strict=True)))


def test_the_reference_with_itself_is_a_line_under_the_volume(ax, flips, styles):
    draw_volume(ax, flips, styles, floor=0.03)
    assert [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == "--"] == [0.03]
    assert "reference with itself" in [text.get_text() for text in ax.texts]


def test_panels_say_how_reliably_they_are_measured(flips, styles):
    figure, axes = plt.subplots(3)
    rows = [("flip_rate", "full", 0.987), ("flip_rate", "zone", 0.9), ("net", "full", 0.5), ("net", "zone", np.nan)]
    direction = pd.DataFrame(rows, columns=["quantity", "subset", "reliability"])
    draw_volume_and_direction(axes, flips, styles, direction)
    said = ["reliability: all 0.99, zone 0.90", "reliability not known", "reliability: all 0.50"]
    assert [[t.get_text() for t in ax.texts if "reliab" in t.get_text()] for ax in axes] == [[text] for text in said]
    plt.close(figure)


def test_direction_names_a_quant_that_changed_no_answer(ax, flips, styles, drawn_points):
    still = flips["label"] == flips["label"].iloc[0]
    columns = ["improvement_fraction", "improvement_low", "improvement_high"]
    table = flips.copy()
    table.loc[still, columns] = np.nan
    draw_direction(ax, table, styles)
    assert flips["label"].iloc[0] in ax.get_xlabel()
    assert len(drawn_points(ax)) == len(flips) - 1


# --- prompts ----------------------------------------------------------------------------------------------------------


def test_prompts_mark_geometric_means_of_failed_and_passed(ax, items):
    models = ["torchao-8-g64", "hqq-4-g64"]
    draw_prompt_kld(ax, items, divergence="kl_choice_mean", models=models)
    assert [t.get_text() for t in ax.get_yticklabels()] == models
    marks = {(round(line.get_ydata()[0]), line.get_markerfacecolor()): line.get_xdata()[0]
             for line in ax.get_lines() if len(line.get_xdata()) == 1}  # fmt: skip
    for row, model in ((1, models[0]), (0, models[1])):
        for correct, face in ((0, "black"), (1, "white")):
            part = items[(items["model"] == model) & (items["correct"] == correct)]
            assert marks[row, face] == pytest.approx(np.exp(np.log(part["kl_choice_mean"]).mean()))
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["failed", "passed"]
    assert ax.get_xlabel().startswith("KLD of an item (nats per token)")


def test_prompts_count_items_with_kld_zero(ax, items):
    part = items[items["model"] == "hqq-4-g64"].copy()
    part.iloc[:3, part.columns.get_loc("kl_prompt")] = 0.0
    draw_prompt_kld(ax, part, divergence="kl_prompt", models=["hqq-4-g64"])
    assert f"3 of {len(part)} items with KLD 0" in ax.get_xlabel()


# --- bits -------------------------------------------------------------------------------------------------------------


def test_bits_draws_every_quant_with_the_floor(ax, cohort, quants, styles, zone, drawn_points):
    draw_bits_kld(ax, cohort, styles, zone=zone)
    wanted = sorted(zip(quants["bits_per_trunk_weight"], quants["kl_mean"], strict=True))
    assert sorted(p[:2] for p in drawn_points(ax)) == wanted
    assert any(list(line.get_ydata()) == [8.6e-4] * 2 for line in ax.get_lines())
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("stored bits per trunk weight", "mean KLD (nats per token)")
    assert ax.get_yscale() == "log"
