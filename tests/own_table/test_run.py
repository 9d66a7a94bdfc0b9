"""`qkld analyse` whole: from a table alone, with numbers of items, and with answers item by item."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY
from scipy import stats
from simulated_study import BENCHMARKS

from qkld.errors import StatisticsError, TableError
from qkld.report import analyse_table
from qkld.report.own_table.figures import CAPTIONS
from qkld.report.text_tables import TEXTS
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.items.covariance import noise_by_benchmark
from qkld.statistics.noise.verdict import verdict
from qkld.workflow.cli import main

PUBLISHED = REPOSITORY / "src" / "qkld" / "report" / "published_tables" / "apex_qwen3.5-35b-a3b.csv"
SCORES = ["hellaswag", "winogrande", "mmlu", "arc_challenge", "truthfulqa"]
QUICK = Resampling(confidence=0.95, resamples=100, permutations=99, seed=1)


def row_of(rows, subset, benchmark="composite"):
    return next(r for r in rows if (r["subset"], r["benchmark"]) == (subset, benchmark))


def available(summary):
    return {entry["conclusion"].split(":")[0].split(",")[0] for entry in summary["conclusions"] if entry["available"]}


# --- a table alone ----------------------------------------------------------------------------------------------------


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


def test_a_table_alone_says_what_it_can_not_conclude():
    summary = analyse_table(PUBLISHED, "kl_mean", SCORES, "f16", resampling=QUICK)
    assert available(summary) == {"correlation of fidelity with scores"}
    lacking = {n for entry in summary["conclusions"] for n in entry["needs"]}
    assert {n.split(":")[0] for n in lacking} == {"--items", "--zone", "a column 'family'"}
    assert summary["verdict"] is summary["decision"] is summary["pairs"] is summary["score_noise"] is None


def test_numbers_of_items_give_the_noise_of_scores():
    sizes = {"hellaswag": 400, "winogrande": 400, "mmlu": 1548, "arc_challenge": 299, "truthfulqa": 817}
    summary = analyse_table(PUBLISHED, "kl_mean", SCORES, "f16", "kl_mean<0.02", n_items=sizes, resampling=QUICK)
    assert "standard error of scores" in available(summary)
    zone = row_of(summary["score_noise"], "zone")
    assert zone["items"] == sum(sizes.values())
    assert 0 == zone["attainable_low"] < zone["attainable_high"] < 1
    assert summary["notes"] == []
    odd = analyse_table(PUBLISHED, "kl_mean", SCORES, "f16", n_items={"mmlu": 1500}, resampling=QUICK)
    assert odd["notes"] == ["no whole numbers of right answers with the --n-items given: mmlu"]


def test_a_zone_of_three_has_no_number_and_says_why(tmp_path):
    summary = analyse_table(PUBLISHED, "kl_mean", ["mmlu"], "f16", "kl_mean<=0.007", tmp_path, resampling=QUICK)
    zone = row_of(summary["correlations"], "zone", "mmlu")
    assert zone["n"] == 3
    assert zone["estimate"] is None
    assert "at least 4 quants" in zone["note"]
    written = json.loads((tmp_path / "summary.json").read_text())
    assert written["correlations"] == summary["correlations"]
    assert set(pd.read_csv(tmp_path / "correlation.csv")["subset"]) == {"full", "zone"}
    assert pd.read_csv(tmp_path / "zone_curve.csv")["n"].min() >= 8
    assert "at least 4 quants" in (tmp_path / "report.html").read_text()


def test_a_constant_score_has_no_number(tmp_path):
    pd.read_csv(PUBLISHED).assign(mmlu=41.5).to_csv(tmp_path / "constant.csv", index=False)
    row = analyse_table(tmp_path / "constant.csv", "kl_mean", ["mmlu"], "f16", resampling=QUICK)["correlations"][0]
    assert row["estimate"] is row["p"] is None
    assert "constant" in row["note"]


def test_nothing_is_written_where_something_is_wrong(tmp_path):
    with pytest.raises(TableError, match="COLUMN<=NUMBER"):
        analyse_table(PUBLISHED, "kl_mean", ["mmlu"], "f16", "kl_mean", tmp_path / "out", resampling=QUICK)
    assert not (tmp_path / "out").exists()


def test_families_are_used_where_the_table_names_them(tmp_path):
    table = pd.read_csv(PUBLISHED)
    table["family"] = np.where(table["quant"].str.startswith("apex"), "apex", "other")
    table.to_csv(tmp_path / "families.csv", index=False)
    row = analyse_table(tmp_path / "families.csv", "kl_mean", ["mmlu"], "f16", resampling=QUICK)["correlations"][0]
    assert 0 < row["p_within_families"] <= 1
    plain = analyse_table(PUBLISHED, "kl_mean", ["mmlu"], "f16", resampling=QUICK)["correlations"][0]
    assert plain["p_within_families"] is None


# --- with items -------------------------------------------------------------------------------------------------------

OWN = list(BENCHMARKS)


@pytest.fixture(scope="module")
def whole(own, tmp_path_factory):
    """A table with items and reference, analysed into a folder once."""
    out = tmp_path_factory.mktemp("whole")
    options = {"items": own.items, "size": "bits_per_weight", "margin": 0.03, "resampling": QUICK}
    return analyse_table(own.table, "kl_mean", OWN, "reference", "kl_mean<=0.05", out, **options), out


def test_with_items_everything_is_concluded(whole):
    summary, out = whole
    assert all(entry["available"] for entry in summary["conclusions"])
    assert summary["items"] == {task: n for task, (n, _) in BENCHMARKS.items()}
    tables = {path.stem for path in out.glob("*.csv")}
    assert {
        "flips",
        "volume_direction",
        "thinning",
        "decision",
        "pairs",
        "verdict",
        "noise",
        "zone_edge",
        "prompts",
        "prompt_baselines",
        "prompt_within",
        "prompt_flips",
        "router",
        "directional",
    } <= tables
    pictures = {path.stem for path in out.glob("*.png")}
    assert pictures == set(CAPTIONS)
    report = (out / "report.html").read_text()
    shown = ("decision", "verdict", "volume_direction")
    for said in (TEXTS[name].title for name in shown):
        assert said in report
    assert report.count("data:image/png;base64,") == len(CAPTIONS)


def test_prompts_router_and_metrics_with_direction_come_with_items(whole):
    _, out = whole
    router = pd.read_csv(out / "router.csv").query("label_a == 'all pairs'").set_index("benchmark")
    assert set(router.index) == {*OWN, "all benchmarks"}
    assert (router["auroc_low"] < router["auroc"]).all()
    metrics = pd.read_csv(out / "directional.csv").set_index(["subset", "metric"])
    assert metrics.loc["zone", "estimate"].notna().sum() >= 8
    assert metrics.loc[("full", "directional_kld"), "note"] == "the items have no kl_choice_right"
    assert pd.read_csv(out / "prompt_flips.csv")["drops"].sum() > 0
    assert "Does anything cheap beat KLD" in (out / "report.html").read_text()


def test_the_verdict_is_that_of_the_items(own, whole):
    """The summary's row against the verdict's own function on the same answers."""
    summary, _ = whole
    items, table = pd.read_parquet(own.items), pd.read_csv(own.table)
    quants = table[(table["label"] != "reference") & (table["kl_mean"] <= 0.05)]
    noise = noise_by_benchmark(items, reference="reference", quants=list(quants["label"]), benchmarks=OWN, tasks=OWN)[
        "composite"
    ]
    assert row_of(summary["verdict"], "zone")["verdict"] == verdict(noise, quants["kl_mean"]).answer


def test_two_way_intervals_come_with_items(whole):
    row = row_of(whole[0]["correlations"], "full")
    assert row["twoway_low"] < row["estimate"] < row["twoway_high"]


def test_the_curve_has_its_envelope_and_the_size_its_partial_correlation(whole):
    summary, out = whole
    curve = pd.read_csv(out / "zone_curve.csv")
    assert (curve["null_low"] <= curve["null_high"]).all()
    row = next(r for r in summary["partial"] if r["benchmark"] == "composite")
    assert row["control"] == "size"
    assert row["inflation"] > 1
    assert "at equal size" in (out / "report.html").read_text()


def test_decisions_are_in_the_summary(whole):
    summary, out = whole
    decision = summary["decision"]
    labels = [label for d in ("equivalent", "worse", "better", "undecided") for label in decision[d]]
    assert sorted(labels) == sorted(set(pd.read_csv(out / "decision.csv")["label"]))
    assert set(decision["smallest"]) <= set(decision["equivalent"])
    assert set(decision["items_needed"]) == set(decision["undecided"])
    assert summary["pairs"]["pairs"] == 22 * 21 // 2


def test_without_a_reference_only_what_needs_one_is_missing(own, tmp_path):
    table = own.with_table(tmp_path, lambda t: t[t["label"] != "reference"])
    items = own.with_items(tmp_path, lambda t: t[t["model"] != "reference"])
    summary = analyse_table(table, "kl_mean", OWN[:1], zone="kl_mean<=0.05", items=items, resampling=QUICK)
    missing = [entry for entry in summary["conclusions"] if not entry["available"]]
    assert [entry["conclusion"].split()[0] for entry in missing] == ["volume", "equivalence"]
    assert all("--reference" in need for entry in missing for need in entry["needs"])
    assert row_of(summary["verdict"], "zone", OWN[0])["verdict"]
    assert summary["decision"] is summary["thinning"] is None


def test_a_metric_that_is_no_divergence_gets_no_verdict(own, tmp_path):
    table = own.with_table(tmp_path, lambda t: t.assign(ppl=8 + t["kl_mean"]))
    summary = analyse_table(table, "ppl", OWN[:1], "reference", items=own.items, resampling=QUICK)
    assert summary["verdict"] is None
    assert "KL divergence" in next(e for e in summary["conclusions"] if "verdict" in e["conclusion"])["needs"][0]
    noise = row_of(summary["noise"], "full", OWN[0])
    assert noise["reliability"] > 0.5
    assert noise["residual_p"] is noise["predictive_low"] is None


def test_items_of_a_part_of_the_scores_leave_two_way_intervals_out(own, tmp_path):
    items = own.with_items(tmp_path, lambda t: t[t["benchmark"] != "sciq"])
    summary = analyse_table(own.table, "kl_mean", OWN, "reference", items=items, resampling=QUICK)
    assert summary["notes"] == ["scores without items, left out of what needs them: sciq"]
    assert row_of(summary["correlations"], "full")["twoway_low"] is None
    assert set(summary["items"]) == {"arc_easy", "openbookqa"}


def test_quants_without_answers_are_left_out_where_that_is_asked_for(own, tmp_path):
    items = own.with_items(tmp_path, lambda t: t[t["model"] != "hqq-2-g64"])
    with pytest.raises(StatisticsError, match="hqq-2-g64: 0 of"):
        analyse_table(own.table, "kl_mean", OWN[:1], "reference", items=items, resampling=QUICK)
    summary = analyse_table(own.table, "kl_mean", OWN[:1], "reference", items=items, missing="drop", resampling=QUICK)
    assert row_of(summary["correlations"], "full", OWN[0])["n"] == 22
    assert row_of(summary["noise"], "full", OWN[0])["n"] == 21


def test_scores_that_are_not_the_items_are_refused(own, tmp_path):
    table = own.with_table(tmp_path, lambda t: t.assign(sciq=t["sciq"].where(t["label"] != "hqq-8-g64", 0.5)))
    with pytest.raises(StatisticsError, match=r"(?s)different scores.*sciq of hqq-8-g64: 0\.5000 and"):
        analyse_table(table, "kl_mean", OWN, "reference", items=own.items, resampling=QUICK)


def test_rounded_scores_are_those_of_the_items(own, tmp_path):
    table = own.with_table(tmp_path, lambda t: t.assign(arc_easy=t["arc_easy"].round(2)))
    summary = analyse_table(table, "kl_mean", ["arc_easy"], "reference", items=own.items, resampling=QUICK)
    assert summary["correlations"][0]["estimate"] is not None


# --- the command line -------------------------------------------------------------------------------------------------


def test_command_line(capsys, tmp_path):
    arguments = ["analyse", str(PUBLISHED), "--fidelity", "kl_mean", "--scores", "mmlu, hellaswag"]
    more = ["--reference", "f16", "--zone", "kl_mean<0.02", "--n-items", "mmlu=1548", "--out", str(tmp_path)]
    assert main([*arguments, *more]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert lines[1].startswith("answer    Over all 14 quants")
    assert lines[-1] == f"report    {tmp_path / 'report.html'}"
    assert (tmp_path / "report.html").exists()
    assert main([*arguments, *more, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert row_of(printed["correlations"], "zone")["n"] == 9
    assert printed["n_items"] == {"mmlu": 1548}
    assert main([*arguments, *more, "--json", str(tmp_path / "all.json")]) == 0
    assert json.loads((tmp_path / "all.json").read_text()) == printed
    assert len(capsys.readouterr().out.splitlines()) == 10


def test_command_line_refuses(capsys, tmp_path):
    arguments = ["analyse", str(PUBLISHED), "--fidelity", "kl_mean", "--scores", "mmlu"]
    assert main(arguments) == 2
    assert "kl_mean of f16" in capsys.readouterr().err
    assert main([*arguments, "--missing", "drop", "--n-items", "sciq=100"]) == 2
    assert "NAME=NUMBER" in capsys.readouterr().err


# --- tables without families, and metrics that fall -------------------------------------------------------------------


def test_items_of_a_table_without_families(tmp_path):
    """The smallest table and items of the README's own command."""
    (tmp_path / "t.csv").write_text("quant,kld,arc\nref,,0.5\nq8,0.001,0.5\nq4,0.03,0.25\n")
    rows = [f"{m},arc,{i},{c}" for m, a in (("ref", "1100"), ("q8", "1100"), ("q4", "1000")) for i, c in enumerate(a)]
    (tmp_path / "i.csv").write_text("\n".join(["model,benchmark,item,correct", *rows]) + "\n")
    call = {"reference": "ref", "items": tmp_path / "i.csv", "out": tmp_path / "out", "resampling": QUICK}
    summary = analyse_table(tmp_path / "t.csv", "kld", ["arc"], **call)
    assert summary["items"] == {"arc": 4}
    flips = pd.read_csv(tmp_path / "out" / "flips.csv").set_index("label")
    assert flips.loc["q4", ["leapfrogs", "drops"]].tolist() == [0, 1]
    assert any("no families given" in need for entry in summary["conclusions"] for need in entry["needs"])


def test_a_table_with_items_needs_no_families(own, tmp_path):
    table = own.with_table(tmp_path, lambda t: t.drop(columns="family"))
    summary = analyse_table(table, "kl_mean", OWN, "reference", "kl_mean<=0.05", items=own.items, resampling=QUICK)
    assert row_of(summary["correlations"], "full")["p_within_families"] is None
    assert summary["decision"]["benchmark"] == "composite"


def test_the_curve_of_top1_agreement_walks_from_the_reference_outwards(tmp_path):
    top1 = [99.5, 99.3, 99.1, 98.8, 98.2, 97.5, 96.4, 95.1, 94.0, 91.0, 88.0, 85.0]
    mmlu = [70.1, 70.4, 69.9, 70.2, 70.3, 69.6, 69.8, 69.1, 69.3, 67.0, 65.2, 61.0]
    pd.DataFrame({"quant": [f"q{i}" for i in range(12)], "top1": top1, "mmlu": mmlu}).to_csv(
        tmp_path / "t.csv", index=False
    )
    summary = analyse_table(tmp_path / "t.csv", "top1", ["mmlu"], None, "top1>=94", tmp_path / "o", resampling=QUICK)
    curve = pd.read_csv(tmp_path / "o" / "zone_curve.csv")
    zone = row_of(summary["correlations"], "zone", "mmlu")
    assert curve.loc[curve["n"] == zone["n"], "estimate"].item() == pytest.approx(zone["estimate"])
    assert (curve["cut"].iloc[0], curve["n"].iloc[0]) == (95.1, 8)
