"""What a plan said beside what was found: of a committed study, and by the plan's own formulas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from qkld.analysis.study import load_study
from qkld.workflow.planned_and_found import planned_and_found, planned_error
from qkld.workflow.resolution import PROBABILITY_RATIO, paired_error


@pytest.fixture
def demo(own_place):
    return load_study("demo")


def test_errors_of_scores_are_those_over_items(demo):
    rows = {row[0]: row[1:] for row in planned_and_found(demo).rows}
    answers = demo.items.pivot(index="item", columns="model", values="correct").astype(float)
    moved = answers[demo.quants].sub(answers["reference"], axis=0)
    found = 100 * moved.std(ddof=1) / np.sqrt(len(moved))
    planned = 100 * np.sqrt(moved.abs().mean() / len(moved))
    shown = [float(cell) for cell in rows["score by accuracy"]]
    assert shown[:2] == pytest.approx([planned.median(), found.median()], abs=0.006)
    ratio = planned / found
    assert shown[2:] == pytest.approx([ratio.median(), ratio.min(), ratio.max()], abs=0.006)


def test_where_answers_are_written_there_is_no_row_of_their_probability(demo):
    demo.__dict__["items"] = demo.items.assign(probability_right=np.nan)  # a cached property
    names = {row[0] for row in planned_and_found(demo).rows}
    assert {name for name in names if name.startswith("score")} == {"score by accuracy"}


def test_every_place_of_a_text_has_a_row(demo):
    rows = {row[0]: row[1:] for row in planned_and_found(demo).rows}
    assert {"KLD, prose at 32 tokens", "KLD, prose at 128 tokens", "KLD, code at 128 tokens", "KLD, chat"} < set(rows)
    kld = demo.fidelity.query("metric == 'kl_mean' and corpus == 'chat'").set_index("quant").loc[demo.quants]
    half = (kld["high"] - kld["low"]) / 2 / kld["estimate"]
    assert float(rows["KLD, chat"][1]) == pytest.approx(100 * half.median(), abs=0.006)


def test_between_the_plans_flip_rates_the_ratio_of_the_scores_lies_between_theirs():
    items = [500, 2000]
    for rate, ratio in PROBABILITY_RATIO.items():
        assert planned_error(rate, items, "probability") == pytest.approx(paired_error(rate, items) / ratio)
    rates = pd.Series([0.01, 0.02, 0.05, 0.1, 0.15])
    ratios = rates.map(lambda f: paired_error(f, items) / planned_error(f, items, "probability"))
    assert (ratios.diff().dropna() < 0).all()
    assert planned_error(0.05, items, "accuracy") == paired_error(0.05, items)
