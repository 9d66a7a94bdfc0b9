"""What a study can resolve, against draws, the tests that it plans for and the intervals of the committed studies."""

from __future__ import annotations

import re
import statistics

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY

from qkld.statistics.items.score_differences import equivalence_p
from qkld.study.params import load_params
from qkld.workflow import resolution
from qkld.workflow.resolution import (
    entering,
    headline_place,
    kld_table,
    limit_of,
    margin_met,
    paired_error,
    places_of,
    resolution_lines,
)

MEASURED = ("demo", "five-families", "gguf", "gguf-engines", "gguf-unrotated", "main")
"""Studies whose figures hold intervals of mean KLD."""


@pytest.fixture(scope="module")
def demo():
    return load_params("demo")


def changed(study, section: str, **values):
    return study.model_copy(update={section: getattr(study, section).model_copy(update=values)})


def relative_half_widths(study: str) -> list[float]:
    """Of the quants with mean KLD between 0.002 and 1, from the cohort's table: "0.101 [0.0930, 0.109]"."""
    text = (REPOSITORY / "figures" / study / "tables.md").read_text()
    found = [tuple(map(float, cells)) for cells in re.findall(r"\| ([\d.]+) \[([\d.]+), ([\d.]+)\] \|", text)]
    return [(high - low) / 2 / kld for kld, low, high in found if 0.002 < kld < 1]


def test_the_paired_error_is_that_of_drawn_differences(rng):
    items, flip_rate = (300, 900), 0.08
    p = [flip_rate / 2, 1 - flip_rate, flip_rate / 2]
    drawn = [rng.multinomial(n, p, size=20_000) / n for n in items]
    composite = np.mean([shares[:, 0] - shares[:, 2] for shares in drawn], axis=0)
    assert composite.std() == pytest.approx(paired_error(flip_rate, items), rel=0.03)


def test_the_margin_is_met_with_the_power_stated(demo, rng):
    """Equal quants of a cohort, by the test that the decision makes at its strictest level."""
    n, flip_rate = 4000, 0.05
    margin = margin_met(demo, paired_error(flip_rate, [n]))
    up, down, _ = rng.multinomial(n, [flip_rate / 2, flip_rate / 2, 1 - flip_rate], size=4000).T[:, :, None]
    assert (equivalence_p(up, down, n, margin) <= 0.05 / len(demo.quants)).mean() == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize("name", MEASURED)
def test_the_interval_of_mean_kld_is_about_that_of_the_committed_studies(name):
    study = load_params(name)
    expected = headline_place(study).half_width(study.quant_kld.confidence)
    assert statistics.median(relative_half_widths(name)) == pytest.approx(expected, rel=0.2)


def test_the_interval_of_mean_kld_is_about_that_of_every_place_of_the_main_study():
    study = load_params("main")
    files = sorted((REPOSITORY / "studies" / "main" / "fidelity").glob("*.parquet"))
    tables = pd.concat(map(pd.read_parquet, files)).query("metric == 'kl_mean' and 0 < estimate < 1")
    own = tables[tables["quant"].isin({quant.label for quant in study.quants})]
    half = ((own["high"] - own["low"]) / 2 / own["estimate"]).groupby([own["corpus"], own["context"]]).median()
    places = [place for corpus in study.corpora for place in places_of(study, corpus)]
    planned = {(place.corpus, place.context): place.half_width(study.quant_kld.confidence) for place in places}
    assert half.to_dict() == pytest.approx(planned, rel=0.2)


def test_controls_and_benchmarks_of_too_few_items_do_not_enter(demo):
    assert entering(demo) == {"arc_easy": 260}
    gguf = entering(load_params("gguf"))
    assert gguf == {"arc_easy": 100, "openbookqa": 30, "sciq": 50, "hellaswag": 10}  # mmlu is a control
    few = demo.benchmarks[0].model_copy(update={"limit": 6})
    assert entering(demo.model_copy(update={"benchmarks": (few,)})) == {}


def test_a_single_window_has_no_interval(demo):
    prose = demo.corpora[0].model_copy(update={"windows_at": {128: 1}})
    study = demo.model_copy(update={"corpora": (prose, *demo.corpora[1:])})
    assert places_of(study, prose)[-1].half_width(0.95) == np.inf
    assert "unbounded" in "\n".join(kld_table(study).lines())


def test_what_limits_a_study_is_named(demo):
    items = entering(demo)
    assert limit_of(demo, items).startswith("the score limits the verdict")
    generous = changed(demo, "volume_direction", equivalence_margin=0.3)
    assert limit_of(generous, items).startswith("neither limits the verdict")
    few = demo.corpora[0].model_copy(update={"windows": 4, "windows_at": {}})
    assert limit_of(generous.model_copy(update={"corpora": (few,)}), items).startswith("the KLD limits the verdict")
    assert "no benchmark has the items" in limit_of(demo, {})


def test_the_primary_score_is_the_one_that_is_judged(demo):
    items = {"arc_easy": 2000}
    by = {score: demo.model_copy(update={"primary_score": score}) for score in ("accuracy", "probability")}
    assert "points of accuracy can be met, and the study's is 5.00" in limit_of(by["accuracy"], items)
    assert limit_of(by["probability"], items).startswith("neither limits the verdict")
    strict = by["probability"].model_copy(update={"probability_margin": 0.005})
    assert "points of probability can be met, and the study's is 0.50" in (said := limit_of(strict, items))
    assert said.startswith("the score limits the verdict")


def test_errors_of_both_scores_are_printed_in_points(demo):
    rows = {line[:34].strip(): line[34:].split() for line in resolution_lines(demo, cores=2, flop_per_second=1e10)}
    assert rows["arc_easy"][-2:] == ["1.39", "2.40"]  # √(.05/260), √(.15/260)
    five, fifteen = ([float(rows[f"composite, {score}"][i]) for score in ("accuracy", "probability")] for i in (-2, -1))
    assert five[0] / five[1] == pytest.approx(resolution.PROBABILITY_RATIO[0.05], rel=0.01)
    assert fifteen[0] / fifteen[1] == pytest.approx(resolution.PROBABILITY_RATIO[0.15], rel=0.01)


def test_shares_of_the_time_follow_the_items(demo):
    def share(study) -> int:
        text = "\n".join(resolution_lines(study, cores=2, flop_per_second=1e10))
        return int(re.search(r"items (\d+)%", text).group(1))

    fewer = [b.model_copy(update={"limit": b.limit // 10}) for b in demo.benchmarks]
    assert 2 * share(demo.model_copy(update={"benchmarks": tuple(fewer)})) < share(demo)


def test_what_is_not_known_is_not_guessed(demo, monkeypatch, tmp_path):
    monkeypatch.setenv("QKLD_DATA", str(tmp_path))
    text = "\n".join(resolution_lines(demo, cores=2, flop_per_second=None))
    assert "the benchmarks' lengths are unknown" in text
    assert "Where the time goes: unknown" in text
    assert "composite, accuracy" not in text
