"""Gates on tables, comparisons and items: each outcome and its exit status, and thresholds that cannot be meant."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY

from qkld.analysis.gate.estimates import of_items
from qkld.analysis.gate.judging import Estimate, judge, outcome_of
from qkld.analysis.gate.thresholds import LOSS, Threshold, thresholds_of
from qkld.analysis.measured import collect
from qkld.analysis.study import load_study
from qkld.errors import ParameterError
from qkld.statistics.items.score_differences import difference_interval
from qkld.workflow import cli

TABLE = """quant,Mean KLD,Mean KLD_se,Same top p,mmlu
F16,,,,62.0
Q8_0,0.0010,0.0001,98.5,62.1
Q4_K_M,0.0200,0.0010,94.1,61.2
Q2_K,0.2000,0.0050,80.0,51.5
"""


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "quants.csv"
    path.write_text(TABLE)
    return path


def gate(capsys, *arguments: object) -> tuple[int, str]:
    status = cli.main(["gate", *map(str, arguments)])
    said = capsys.readouterr()
    return status, said.out + said.err


# --- outcomes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quant", "thresholds", "status", "word"),
    [
        ("Q8_0", ["--max-kld", "0.01"], 0, "passed"),
        ("Q2_K", ["--max-kld", "0.01"], 3, "failed"),
        ("Q4_K_M", ["--max-kld", "0.021"], 5, "not resolved"),
        ("Q4_K_M", ["--max-kld", "0.0221"], 0, "passed"),
        ("Q8_0", ["--min-top1", "95%"], 0, "passed"),
        ("Q8_0", ["--min-top1", "0.99"], 3, "failed"),
        ("Q8_0", ["--require", "kl_p99<=0.1"], 4, "not measured"),
        ("Q6_K", ["--max-kld", "0.01"], 4, "not measured"),
        ("Q2_K", ["--max-kld", "0.01", "--require", "kl_p99<=0.1"], 3, "failed"),
        ("Q4_K_M", ["--max-kld", "0.021", "--require", "kl_p99<=0.1"], 4, "not measured"),
        ("Q8_0", ["--max-loss", "mmlu=1%", "--reference", "F16"], 0, "passed"),
        ("Q2_K", ["--max-loss", "mmlu=0.01", "--reference", "F16"], 3, "failed"),
        ("Q2_K", ["--max-loss", "mmlu=0.01"], 4, "not measured"),
    ],
)
def test_each_outcome_has_its_status_and_one_line(table, capsys, quant, thresholds, status, word):
    found, said = gate(capsys, table, "--quant", quant, *thresholds)
    assert (found, said.count("\n")) == (status, 1)
    assert said.startswith(f"{word}: {quant}: ")


def test_a_quant_that_is_not_there_is_named_with_those_that_are(table, capsys):
    assert (
        "there is no 'Q6_K', but F16, Q8_0, Q4_K_M, Q2_K" in gate(capsys, table, "--quant", "Q6_K", "--max-kld", "1")[1]
    )


@pytest.mark.parametrize(
    ("ends", "outcome"),
    [
        ((0.1, 0.2), "passed"),
        ((0.1, 0.3), "passed"),
        ((0.3000001, 0.4), "failed"),
        ((0.29, 0.31), "not resolved"),
        ((math.nan, math.nan), "passed"),
    ],
)
def test_the_interval_decides_where_there_is_one(ends, outcome):
    verdicts = judge([Threshold("kl_mean", "<=", 0.3)], {"kl_mean": [Estimate("", 0.2, *ends)]})
    assert outcome_of(verdicts) == outcome


def test_every_text_has_to_pass():
    evidence = {"kl_mean": [Estimate("prose", 0.1, 0.09, 0.11), Estimate("code", 0.5, 0.4, 0.6)]}
    assert [v.outcome for v in judge([Threshold("kl_mean", "<=", 0.3)], evidence)] == ["passed", "failed"]


@pytest.mark.parametrize("unit", ["", " (bits)", " (mnats)"])
def test_units_of_the_table_are_heeded(tmp_path, capsys, unit):
    scale = {"": 1, " (bits)": 1 / math.log(2), " (mnats)": 1000}[unit]
    path = tmp_path / "t.csv"
    path.write_text(f"quant,KLD{unit}\nq4,{0.02 * scale}\nq8,{0.001 * scale}\n")
    assert gate(capsys, path, "--quant", "q4", "--max-kld", "0.0201")[0] == 0
    assert gate(capsys, path, "--quant", "q4", "--max-kld", "0.0199")[0] == 3


def test_the_json_holds_every_threshold(table, tmp_path, capsys):
    out = tmp_path / "gate.json"
    assert gate(capsys, table, "--quant", "Q4_K_M", "--max-kld", "0.021", "--json", out)[0] == 5
    value = json.loads(out.read_text())
    assert (value["outcome"], value["status"], value["thresholds"][0]["bound"]) == ("not resolved", 5, 0.021)
    assert value["thresholds"][0]["low"] == pytest.approx(0.02 - 1.96 * 0.001, abs=1e-5)


# --- sources ----------------------------------------------------------------------------------------------------------


def test_the_json_of_a_comparison(tmp_path, capsys):
    rows = [
        {"quant": q, "corpus": "text", "context": 512, "metric": "kl_mean", "estimate": e, "low": e / 2, "high": 2 * e}
        for q, e in (("q4", 0.01), ("reference in bfloat16", 0.0001))
    ]
    path = tmp_path / "compare.json"
    path.write_text(json.dumps({"fidelity": rows}))
    assert gate(capsys, path, "--quant", "q4", "--max-kld", "0.02")[0] == 0
    assert gate(capsys, path, "--quant", "q4", "--max-kld", "0.015")[0] == 5
    assert gate(capsys, path, "--quant", "q4", "--max-kld", "0.004")[0] == 3


def test_a_study_is_judged_on_every_text_and_by_its_items(measured_project, capsys):
    collect("simulated")
    study = load_study("simulated")
    quant = study.quants[0]
    rows = study.fidelity[(study.fidelity["quant"] == quant) & (study.fidelity["metric"] == "kl_mean")]
    asked = ("--study", "simulated", "--quant", quant)
    status, said = gate(capsys, *asked, "--max-kld", rows["high"].max(), "--max-loss", "sciq=100%")
    assert (status, said.count("kl_mean on ")) == (0, len(rows))
    assert "loss of sciq" in said
    assert gate(capsys, *asked, "--max-kld", rows["low"].min() / 2)[0] == 3
    assert gate(capsys, *asked, "--max-kld", "9", "--max-loss", "gsm8k=1%")[0] == 4


def items(flips: int, count: int = 400, clusters: int | None = None) -> pd.DataFrame:
    """A quant that loses so many of the reference's right answers."""
    right = {"ref": np.ones(count, int), "q4": np.r_[np.zeros(flips, int), np.ones(count - flips, int)]}
    frames = [
        pd.DataFrame({"model": m, "benchmark": "arc", "item": [str(i) for i in range(count)], "correct": v})
        for m, v in right.items()
    ]
    table = pd.concat(frames, ignore_index=True)
    return table if clusters is None else table.assign(cluster=table["item"].astype(int) // (count // clusters))


def test_losses_of_items_have_the_paired_interval():
    (found,) = of_items(items(20), "q4", "ref", ["arc"])[f"{LOSS}arc"]
    low, high = difference_interval([0], [20], [400], 0.95)
    assert (found.value, found.low, found.high) == pytest.approx((0.05, -float(high), -float(low)))
    (wider,) = of_items(items(20, clusters=20), "q4", "ref", ["arc"])[f"{LOSS}arc"]
    assert wider.high - wider.low > found.high - found.low


def test_a_gate_on_items(table, tmp_path, capsys):
    path = tmp_path / "items.csv"
    items(20).replace({"ref": "F16", "q4": "Q4_K_M"}).to_csv(path, index=False)
    asked = (table, "--quant", "Q4_K_M", "--reference", "F16", "--items", path)
    assert gate(capsys, *asked, "--max-loss", "arc=0.08")[0] == 0
    assert gate(capsys, *asked, "--max-loss", "arc=0.05")[0] == 5
    assert gate(capsys, *asked, "--max-loss", "arc=0.02")[0] == 3


# --- real tables ------------------------------------------------------------------------------------------------------

DEMO = REPOSITORY / "studies" / "demo"
QUANT = "bnb-int8"


@pytest.mark.parametrize("source", ["table", "study", "logs"])
@pytest.mark.parametrize("status", [0, 2, 3, 4, 5])
def test_every_status_on_figures_that_were_measured(own_place, tmp_path, capsys, source, status):
    """The committed demo as a table and as a study, and logs that llama-perplexity wrote."""
    path, quant = DEMO / "cohort.parquet", QUANT
    if source == "logs":
        logs, path, quant = REPOSITORY / "tests" / "data" / "llama_logs", tmp_path / "quants.parquet", "Q4_0"
        cli.main(["import", "llama-perplexity", str(logs / "kld-Q4_0.log"), "--out", str(path)])
        capsys.readouterr()
    own = pd.read_parquet(path).set_index("label").loc[quant]
    kld, low, high, top1 = (own[f"{name}"] for name in ("kl_mean", "kl_mean_low", "kl_mean_high", "top1_agreement"))
    options = {
        0: ["--max-kld", 2 * high, "--min-top1", f"{100 * top1 - 20}%"],
        2: ["--max-kld", 2 * high, "--require", f"kl_mean>={3 * high}"],
        3: ["--max-kld", low / 2],
        4: ["--max-kld", 2 * high, "--require", "kl_p42<=1"],
        5: ["--max-kld", kld],
    }[status]
    where = ["--study", "demo"] if source == "study" else [path]
    found, said = gate(capsys, *where, "--quant", quant, *options)
    assert found == status, said
    assert said.startswith({0: "passed", 2: "qkld: ParameterError", 3: "failed", 4: "not m", 5: "not r"}[status])


def test_losses_of_committed_items(own_place, capsys):
    """A study keeps a file of items a model: a folder of them is read."""
    asked = (
        DEMO / "cohort.parquet",
        "--quant",
        "torchao-int3-g32",
        "--reference",
        "reference",
        "--items",
        DEMO / "items",
    )
    assert gate(capsys, *asked, "--max-loss", "arc_easy=30%")[0] == 0
    assert gate(capsys, *asked, "--max-loss", "arc_easy=5%")[0] == 5
    assert gate(capsys, *asked, "--max-loss", "arc_easy=-50%")[0] == 3


# --- what cannot be meant --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"max_kld": "0.01", "require": ["kl_mean>=0.02"]},
        {"max_kld": "0.01", "require": ["kl_mean<=0.02"]},
        {"min_top1": "95%", "require": ["top1_agreement<=90%"]},
        {"max_loss": ["mmlu=0.01", "mmlu=0.02"]},
        {},
        {"max_kld": "much"},
        {"max_kld": "nan"},
        {"min_top1": "95"},
        {"max_loss": ["mmlu"]},
        {"require": ["kl_mean=0.1"]},
        {"max_kld": "0.01", "require": ["Mean KLD<=0.02"]},
        {"max_kld": "0.01", "require": ["KLD>=0.02"]},
        {"min_top1": "95%", "require": ["same top p>=0.9"]},
        {"min_top1": "0.95", "require": ["Top-1 <= 90%"]},
        {"require": ["kl_p99>=0.5", "kl_max<=0.4"]},
        {"require": ["kl_median>=0.5", "kl_p99_9<=0.4"]},
        {"max_kld": "-0.01"},
        {"require": ["kl_p99<=-1"]},
        {"require": ["jensen_shannon_mean<=0.8"]},
        {"require": ["ppl<=0.9"]},
        {"require": ["top5_agreement>=-10%"]},
        {"require": ["top1_agreement>=95"]},
        {"max_loss": ["mmlu=1"]},
        {"max_loss": ["mmlu=2"]},
    ],
)
def test_thresholds_that_contradict_each_other_or_say_nothing(options):
    with pytest.raises(ParameterError) as error:
        thresholds_of(**{"max_kld": None, "min_top1": None, "max_loss": (), "require": (), **options})
    assert [line.split(":")[0] for line in str(error.value).splitlines()[1:]] == ["  expected", "  found", "  do"]


@pytest.mark.parametrize(
    ("option", "shown"),
    [("--min-top1=95", "0.95 or 95%"), ("--max-loss=mmlu=1", "mmlu=1%"), ("--max-kld=-1", "0 or more")],
)
def test_a_bound_in_another_unit_is_shown_as_it_was_meant(table, capsys, option, shown):
    status, said = gate(capsys, table, "--quant", "Q8_0", option)
    assert (status, said.count("\n")) == (2, 4)
    assert shown in said


def test_thresholds_on_several_percentiles_may_rise():
    asked = ["kl_p99<=0.5", "kl_max<=4", "kl_p90>=0.1", "kl_min>=-0.001", "dp_mean>=-0.01"]
    assert len(thresholds_of(max_kld="0.2", min_top1=None, max_loss=["mmlu=100%"], require=asked)) == 7


def test_bounds_on_both_sides_may_be_given():
    found = thresholds_of(max_kld="0.1", min_top1=None, max_loss=(), require=["kl_mean>=0.1", "top5_agreement>=90%"])
    assert [str(t) for t in found] == ["kl_mean ≤ 0.1", "kl_mean ≥ 0.1", "top5_agreement ≥ 0.9"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["nowhere.csv", "--max-kld", "0.1"],
        ["--max-kld", "0.1"],
        ["--study", "no-such-study", "--max-kld", "0.1"],
    ],
)
def test_errors_have_status_2(capsys, arguments):
    status, said = gate(capsys, "--quant", "q4", *arguments)
    assert status == 2
    assert "do: " in said
