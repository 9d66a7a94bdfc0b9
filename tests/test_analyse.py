"""`qkld analyse` on published figures and on tables that can not be analysed."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY
from scipy import stats

from qkld.analyse import analyse_table, parse_zone, score_unit
from qkld.cli import main
from qkld.errors import StatisticsError, TableError
from qkld.statistics.correlation import Resampling

PUBLISHED = REPOSITORY / "params" / "published" / "apex_qwen3.5-35b-a3b.csv"
SCORES = ["hellaswag", "winogrande", "mmlu", "arc_challenge", "truthfulqa"]
QUICK = Resampling(confidence=0.95, resamples=200, permutations=99, seed=1)


def row_of(summary, subset, benchmark="composite"):
    return next(r for r in summary["correlations"] if (r["subset"], r["benchmark"]) == (subset, benchmark))


def test_published_cohort():
    summary = analyse_table(PUBLISHED, "kl_mean", SCORES, reference="f16", zone="kl_mean<0.02")
    full, zone = row_of(summary, "full"), row_of(summary, "zone")
    assert (full["n"], zone["n"]) == (14, 9)
    assert full["estimate"] == pytest.approx(-0.55, abs=0.005)
    assert zone["estimate"] == pytest.approx(-0.02, abs=0.005)
    assert full["p"] == pytest.approx(0.043, abs=0.006)
    assert zone["low"] < -0.5 < 0.5 < zone["high"]
    assert summary["score_unit"] == "percent"


def test_percent_and_fraction_give_the_same(tmp_path):
    table = pd.read_csv(PUBLISHED)
    table[SCORES] /= 100
    table.to_csv(tmp_path / "fractions.csv", index=False)
    one, other = (
        analyse_table(p, "kl_mean", SCORES, "f16", resampling=QUICK) for p in (PUBLISHED, tmp_path / "fractions.csv")
    )
    assert (one["score_unit"], other["score_unit"]) == ("percent", "fraction")
    for a, b in zip(one["correlations"], other["correlations"], strict=True):
        assert a["estimate"] == pytest.approx(b["estimate"], abs=1e-12)


def test_one_score_is_its_own_composite_and_no_zone_has_no_rows():
    summary = analyse_table(PUBLISHED, "kl_max", ["mmlu"], "f16", resampling=QUICK)
    assert [(r["benchmark"], r["subset"]) for r in summary["correlations"]] == [("mmlu", "full")]
    table = pd.read_csv(PUBLISHED).dropna(subset="kl_max")
    expected = stats.spearmanr(table["kl_max"], table["mmlu"]).statistic
    assert summary["correlations"][0]["estimate"] == pytest.approx(expected)
    assert summary["zone_quants"] is None


def test_a_zone_of_three_has_no_number_and_says_why(tmp_path):
    summary = analyse_table(PUBLISHED, "kl_mean", ["mmlu"], "f16", "kl_mean<=0.007", tmp_path, resampling=QUICK)
    zone = row_of(summary, "zone", "mmlu")
    assert zone["n"] == 3
    assert zone["estimate"] is None
    assert "at least 4 quants" in zone["note"]
    written = json.loads((tmp_path / "summary.json").read_text())
    assert written["correlations"] == summary["correlations"]
    assert set(pd.read_csv(tmp_path / "correlation.csv")["subset"]) == {"full", "zone"}
    assert pd.read_csv(tmp_path / "zone_curve.csv")["n"].min() >= 8


def test_rows_without_values_are_named():
    with pytest.raises(StatisticsError, match=r"(?s)empty for f16.*--reference"):
        analyse_table(PUBLISHED, "kl_mean", SCORES, resampling=QUICK)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"fidelity": "kld"}, r"missing \['kld'\]"),
        ({"scores": ["quant"]}, r"not numbers \['quant'\]"),
        ({"reference": "bf16"}, "There is no row 'bf16'"),
        ({"zone": "kl_mean=0.02"}, "COLUMN<=NUMBER"),
        ({"zone": "kl_mean<=low"}, "COLUMN<=NUMBER"),
        ({"zone": "kld<=0.02"}, r"missing \['kld'\]"),
        ({"table_path": "nowhere.csv"}, "can not be read"),
    ],
)
def test_bad_requests_are_refused(arguments, found, tmp_path):
    request = {"table_path": PUBLISHED, "fidelity": "kl_mean", "scores": ["mmlu"], "reference": "f16"} | arguments
    with pytest.raises(TableError, match=found):
        analyse_table(**request, out=tmp_path / "out", resampling=QUICK)
    assert not (tmp_path / "out").exists()


def test_a_quant_twice_is_refused(tmp_path):
    table = pd.read_csv(PUBLISHED)
    pd.concat([table, table.tail(1)]).to_csv(tmp_path / "twice.csv", index=False)
    with pytest.raises(TableError, match="unsloth_ud_q4_k_xl"):
        analyse_table(tmp_path / "twice.csv", "kl_mean", SCORES, "f16", resampling=QUICK)


def test_unclear_units_are_refused():
    table = pd.DataFrame({"a": [0.5, 0.6], "b": [50.0, 60.0], "c": [50.0, 160.0], "d": [-1.0, 50.0]})
    assert score_unit(table, ["a"]) == "fraction"
    assert score_unit(table, ["b"]) == "percent"
    for columns in (["a", "b"], ["c"], ["d"]):
        with pytest.raises(TableError, match="unit of the scores"):
            score_unit(table, columns)


@pytest.mark.parametrize(("sign", "kept"), [("<=", 2), ("<", 1), (">=", 2), (">", 1)])
def test_zone_signs(sign, kept):
    assert parse_zone(f" kl_mean {sign} 0.02 ").members(pd.DataFrame({"kl_mean": [0.01, 0.02, 0.03]})).sum() == kept


def test_families_are_used_where_the_table_names_them(tmp_path):
    table = pd.read_csv(PUBLISHED)
    table["family"] = np.where(table["quant"].str.startswith("apex"), "apex", "other")
    table.to_csv(tmp_path / "families.csv", index=False)
    row = analyse_table(tmp_path / "families.csv", "kl_mean", ["mmlu"], "f16", resampling=QUICK)["correlations"][0]
    assert 0 < row["p_within_families"] <= 1
    plain = analyse_table(PUBLISHED, "kl_mean", ["mmlu"], "f16", resampling=QUICK)["correlations"][0]
    assert plain["p_within_families"] is None


def test_command_line(capsys, tmp_path):
    arguments = ["analyse", str(PUBLISHED), "--fidelity", "kl_mean", "--scores", "mmlu, hellaswag"]
    assert main([*arguments, "--reference", "f16", "--zone", "kl_mean<0.02", "--out", str(tmp_path)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert row_of(printed, "zone")["n"] == 9
    assert (tmp_path / "summary.json").exists()
