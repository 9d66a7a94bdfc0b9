"""`qkld analyse` on items that have the probability of the right choice, and what is refused where they have not."""

import json

import numpy as np
import pandas as pd
import pytest

from qkld.errors import StatisticsError
from qkld.report import analyse_table, lines_of
from qkld.statistics.core.resampling import Resampling
from qkld.workflow.cli import main

FEW = Resampling(confidence=0.95, resamples=60, permutations=39, seed=1)
QUANTS = {"q8": 0.01, "q6": 0.04, "q5": 0.1, "q4": 0.25, "q3": 0.6, "q2": 1.5}
ITEMS, CHOICES = 150, 4


@pytest.fixture(scope="module")
def items():
    """A table with ln p of each choice: quants that lose the right choice by KLD."""
    rng = np.random.default_rng(5)
    right = rng.integers(CHOICES, size=ITEMS)
    own = -12 + 1.5 * rng.standard_normal((ITEMS, CHOICES))
    own[np.arange(ITEMS), right] += 1.5
    parts = []
    for model, kld in {"ref": 0.0, **QUANTS}.items():
        logp = own + np.sqrt(kld) * 0.7 * rng.standard_normal(own.shape)
        logp[np.arange(ITEMS), right] -= 0.7 * np.sqrt(kld)
        logp = np.minimum(logp, -1e-3)
        rows = pd.DataFrame({"model": model, "benchmark": "own", "item": range(ITEMS), "right": right})
        rows["correct"] = (logp.argmax(axis=1) == right).astype(int)
        rows["kl_answer"] = kld * rng.lognormal(0, 0.5, ITEMS)
        parts.append(rows.assign(**{f"logp_{i}": logp[:, i] for i in range(CHOICES)}))
    return pd.concat(parts, ignore_index=True)


def write(items, folder, name="items.csv"):
    items.to_csv(folder / name, index=False)
    return folder / name


def without_choices(items):
    return items.drop(columns=[c for c in items if c.startswith("logp_")])


def test_both_scores_stand_in_tables_summary_and_lines(items, tmp_path):
    path = write(items, tmp_path)
    out = tmp_path / "out"
    summary = analyse_table(None, items=path, reference="ref", out=out, resampling=FEW, probability_margin=0.02)
    lines = lines_of(summary, report=None)
    (said,) = [line for line in lines if line.startswith("second")]
    assert "primary score" in said
    (row,) = summary["two_scores"]
    assert row["primary_score"] == "accuracy"
    found = pd.read_csv(out / "probability.csv")
    assert set(found["label"]) == set(QUANTS)
    assert set(found["margin"]) == {0.02}
    assert found.set_index("label").loc["q2", "decision"] == "worse"
    assert said.removeprefix("second").strip() in (out / "report.html").read_text().replace("&#x27;", "'")


def test_the_primary_score_can_be_named(items, tmp_path):
    path, out = write(items, tmp_path), tmp_path / "out"
    options = ["--primary-score", "probability", "--probability-margin", "0.03", "--out", str(out)]
    assert (
        main(["analyse", "--items", str(path), "--reference", "ref", *options, "--json", str(tmp_path / "s.json")]) == 0
    )
    assert (
        "those of the probability of the right choice"
        in json.loads((tmp_path / "s.json").read_text())["answer"]["second"]
    )


@pytest.mark.parametrize("asked", [{"probability_margin": 0.01}, {"primary_score": "probability"}])
def test_a_margin_without_its_score_is_refused(items, tmp_path, asked):
    path = write(without_choices(items), tmp_path)
    with pytest.raises(StatisticsError, match="was requested but is not available"):
        analyse_table(None, items=path, reference="ref", resampling=FEW, **asked)


def test_items_without_it_have_one_score(items, tmp_path):
    summary = analyse_table(None, items=write(without_choices(items), tmp_path), reference="ref", resampling=FEW)
    assert summary["two_scores"] is None
    assert summary["answer"]["second"] == ""
    assert len(lines_of(summary, report=None)) == 10
