"""The published cohorts: what their sources' figures say, and that they are carried whole."""

import json

import pandas as pd
import pytest
from conftest import REPOSITORY

from qkld.errors import TableError
from qkld.report import PAPER
from qkld.report.published import (
    PublishedCohort,
    analyse_cohort,
    analyse_published,
    conditions,
    family_of,
    headline_rows,
    published_cohorts,
    published_table,
)
from qkld.report.published_sentences import published_sentences
from qkld.statistics.core.resampling import Resampling

pytestmark = pytest.mark.long

QUICK = Resampling(confidence=0.95, resamples=100, permutations=99, seed=1)
COHORTS = {cohort.name: cohort for cohort in published_cohorts()}
TABLES = REPOSITORY / "src" / "qkld" / "report" / "published_tables"


def analysed(cohort: PublishedCohort, resampling: Resampling = QUICK) -> dict:
    return analyse_cohort(cohort, resampling=resampling)


def rho(summary: dict) -> dict[str, tuple[int, float]]:
    """Subset → n and ρ with the mean of the scores."""
    benchmark = summary["correlations"][-1]["benchmark"]
    return {r["subset"]: (r["n"], r["estimate"]) for r in summary["correlations"] if r["benchmark"] == benchmark}


def test_qwen_35b_collapses():
    summary = analysed(COHORTS["qwen3.5-35b-a3b"], PAPER)
    full, zone = rho(summary)["full"], rho(summary)["zone"]
    assert full == (14, pytest.approx(-0.55, abs=0.005))
    assert zone == (9, pytest.approx(-0.02, abs=0.005))
    row = next(r for r in summary["correlations"] if (r["subset"], r["benchmark"]) == ("full", "composite"))
    assert row["p"] == pytest.approx(0.043, abs=0.006)
    row = next(r for r in summary["correlations"] if (r["subset"], r["benchmark"]) == ("zone", "composite"))
    assert row["low"] < -0.5 < 0.5 < row["high"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("llama3.1-8b-wikitext2", -0.84), ("llama3.1-8b-c4", -0.82), ("llama3.1-8b-fineweb", -0.81)],
)
def test_llama_8b_does_not_collapse(name, expected):
    found = rho(analysed(COHORTS[name]))
    assert found["full"] == (27, pytest.approx(-0.95, abs=0.005))
    assert found["zone"] == (17, pytest.approx(expected, abs=0.005))


def test_llama_3_8b_does_not_collapse_either():
    """MMLU of all 14,042 items: the facts that were worked out beside the table."""
    found = rho(analysed(COHORTS["llama3-8b"]))
    assert found["full"] == (22, pytest.approx(-0.998, abs=0.0005))
    assert found["zone"] == (8, pytest.approx(-0.976, abs=0.0005))


@pytest.mark.parametrize("corpus", ["c4", "fineweb_edu", "wikitext2"])
def test_llama_8b_by_the_published_average(corpus):
    """The source's own rounded average in place of the mean of the four benchmarks."""
    cohort = COHORTS["llama3.1-8b-c4"].model_copy(
        update={"fidelity": f"ppl_{corpus}", "scores": ("avg_score",), "n_items": {}}
    )
    found = rho(analysed(cohort))
    assert -0.96 < found["full"][1] < -0.93
    assert found["zone"][0] == 17
    assert -0.845 < found["zone"][1] < -0.765


def test_a_quant_published_twice_is_named():
    assert any("GPTQ-4, EvoPress-GPTQ-4" in note for note in analysed(COHORTS["llama3.1-8b-c4"])["notes"])


def test_a_column_that_was_not_published_is_left_out_by_name():
    summary = analysed(COHORTS["qwen3.5-122b-a10b"])
    assert "left out, without any value: truthfulqa" in summary["notes"]
    assert not any("looks like the reference" in note for note in summary["notes"])
    assert rho(summary)["full"][0] == 10
    needs = {n for e in summary["conclusions"] for n in e["needs"]}
    assert any(n.startswith("--reference") for n in needs)


def test_numbers_of_items_fit_the_scores():
    """Every published score is a whole number of right answers out of the items named for it."""
    for cohort in COHORTS.values():
        assert not [note for note in analysed(cohort)["notes"] if "whole numbers" in note]


def test_every_table_has_its_source_and_is_used():
    listed = (TABLES / "README.md").read_text()
    tables = {path.name for path in TABLES.glob("*.csv")}
    assert {cohort.table for cohort in COHORTS.values()} == tables
    assert all(f"`{name}`" in listed for name in tables)
    assert all(cohort.source for cohort in COHORTS.values())


def test_all_are_analysed_into_one_folder(tmp_path):
    summaries = analyse_published(tmp_path, resampling=QUICK)
    assert set(summaries) == set(COHORTS)
    assert json.loads((tmp_path / "published.json").read_text()) == summaries
    table = pd.read_csv(tmp_path / "published.csv")
    assert len(table) == 2 * len(COHORTS)
    assert list(table) == list(headline_rows(summaries))
    for name in COHORTS:
        assert COHORTS[name].source in summaries[name]["notes"][0]
        assert COHORTS[name].source in (tmp_path / name / "report.html").read_text()


def test_readers_get_one_row_a_cohort():
    numbers = {"low": -0.9, "high": 0.1, "zmax_low": -0.9, "zmax_high": 0.1, "p": 0.0452}
    common = {"cohort": "c", "fidelity": "kl_mean", "zone": "kl_mean<0.02", "benchmark": "composite", **numbers}
    rows = pd.DataFrame(
        [
            {**common, "subset": "full", "n": 14, "estimate": -0.5473, "attainable_low": 0.0, "attainable_high": 0.97},
            {**common, "subset": "zone", "n": 9, "estimate": -0.0167, "attainable_low": 0.0, "attainable_high": 0.94},
        ]
    )
    (row,) = published_table(rows).rows
    assert row[:4] == ("c", "KLD mean", "14", "−0.55 [−0.90, 0.10]")
    assert row[4:] == ("kl_mean<0.02", "9", "−0.02 [−0.90, 0.10]", "0.045", "0.00 to 0.94")
    (unknown,) = published_table(rows.assign(attainable_low=None, attainable_high=None)).rows
    assert unknown[-1] == ""


# --- what separates the cohorts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(COHORTS))
def test_every_quant_is_of_one_family(name):
    cohort = COHORTS[name]
    labels = pd.read_csv(TABLES / cohort.table)["quant"]
    assert {family_of(label, cohort) for label in labels if label != cohort.reference} == set(cohort.families)


def test_a_quant_of_no_family_is_named():
    with pytest.raises(TableError, match="'awq' of 'llama3-8b' does not match exactly one family"):
        family_of("awq", COHORTS["llama3-8b"])


def test_the_committed_conditions_are_those_of_the_tables():
    kept = pd.read_csv(REPOSITORY / "figures" / "published" / "conditions.csv")
    pd.testing.assert_frame_equal(conditions(COHORTS.values()), kept, check_dtype=False, rtol=1e-12)
    llama = kept.set_index("cohort").loc["llama3-8b"]
    assert llama[["items", "zone_lowest", "zone_highest"]].tolist() == [14042, 0.001355, 0.036334]
    assert llama["zone_score_range"] == pytest.approx(65.23 - 64.33)


def test_what_separates_the_cohorts_is_said():
    rows = pd.read_csv(REPOSITORY / "figures" / "published" / "published.csv")
    text = published_sentences(rows, conditions(COHORTS.values()))
    first, second, *_ = text.split("\n\n")
    assert first.startswith("**In 4 of 7 cohorts the metric still ranks")
    assert "`llama3-8b`, ρ = −0.98 [−1.00, −0.73], 8 quants" in first
    assert all(f"`{name}`" in second for name in COHORTS if name.startswith("qwen"))
    assert "Number of items: 14,042 to 15,523 where the metric still ranks, 400 to 3,464 where it does not" in text
    every = rows.assign(low=-1.0, high=-0.1)
    assert "separates" not in published_sentences(every, conditions(COHORTS.values()))
