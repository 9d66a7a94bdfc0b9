"""A comparison as text and JSON: every figure with its intervals, the floor beside it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from simulated_tokens import moved, token_table

from qkld.compare.compare_request import Comparison
from qkld.compare.text import as_json, shown
from qkld.statistics.tokens.breakdown import breakdown_table
from qkld.statistics.tokens.differences import paired_table
from qkld.statistics.tokens.fidelity import METRICS, QUANTILES, SECOND_WALK, summarise
from qkld.study.params import FLOOR_DTYPE

HOW = {"confidence": 0.9, "bootstrap": 100}


def comparison(*, floor: bool = True, pair: bool = True, same: bool = False) -> Comparison:
    rng = np.random.default_rng(1)
    first = token_table(rng)
    tables = {"q": first, "r": first if same else moved(first, rng, by=0.01, spread=0.002)}
    tables = {"q": first} if not pair else tables
    if floor:
        tables[FLOOR_DTYPE] = first.assign(kl=first["kl"] * 1e-4)
    labels = [label for label in tables if label != FLOOR_DTYPE]
    parts = [summarise(t, label, **HOW, rng=np.random.default_rng(0)) for label, t in tables.items()]
    facts = {"bits_per_weight": 4.5, "bits_per_trunk_weight": 4.25, "given_as": "models/m"}
    facts |= {"plain_trunk_share": 0.004, "stored_and_left_out": {}}
    return Comparison(
        made={
            "models": {**dict.fromkeys(labels, facts), "reference": facts},
            "text": "boolq-passages",
            "compute_dtype": "float32",
            "device": "cpu",
            "floor_dtype": "float64" if floor else None,
            "without_floor": None if floor else "not measured: no float64",
            "statistics": {"confidence": 0.9, "bootstrap": 100, "power": 0.8, "seed": 0},
        },
        fidelity=pd.concat(parts, ignore_index=True),
        breakdown=breakdown_table(tables.__getitem__, labels, **HOW, seed=0),
        paired=paired_table(tables.__getitem__, [tuple(labels)], **HOW, power=0.8, seed=0) if pair else None,
    )


def test_every_metric_stands_there_with_both_intervals() -> None:
    made = comparison(pair=False)
    text = shown(made)
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    metrics = set(made.fidelity["metric"])
    assert metrics == set(METRICS) - set(SECOND_WALK) | set(QUANTILES)
    assert metrics <= set(lines)
    assert "90 % clustered" in lines["metric"]
    assert "90 % bootstrap" in lines["metric"]
    assert all(lines[metric].count("[") == 2 for metric in metrics if metric != "kl_max")
    assert "\n8 clusters: intervals are rough below 40\n" in text
    assert "\nkl_p99, kl_p99_9: fewer than 5 tokens lie beyond it\n" in text
    assert "paired" not in text


def test_the_floor_is_shown_and_subtracted_from_nothing() -> None:
    made = comparison(pair=False)
    without = comparison(pair=False, floor=False)
    assert "of the reference in float64; subtracted from nothing" in shown(made)
    assert "\nfloor      not measured: no float64\n" in shown(without)
    row = made.fidelity.set_index(["quant", "metric"]).loc[("q", "kl_mean")]
    assert row["estimate"] == without.fidelity.set_index(["quant", "metric"]).loc[("q", "kl_mean"), "estimate"]


def test_a_pair_is_shown_with_its_tests_and_the_windows_needed() -> None:
    made = comparison()
    text = shown(made)
    row = made.paired.iloc[0]
    assert "r − q, paired on 400 tokens" in text
    assert "'q' lower in 8 of 8 clusters, higher in 0, 0 tied: p 0.008" in text
    assert f"{row['windows_needed']:.0f} for a power of 80 %" in text


def test_quants_that_do_not_differ_need_endless_windows() -> None:
    text = shown(comparison(same=True))
    assert "no number of windows is enough" in text
    assert "p not available" in text


def test_the_breakdown_is_printed_on_request() -> None:
    made = comparison(pair=False)
    assert "entropy" not in shown(made)
    printed = [line for line in shown(made, breakdown=True).splitlines() if line.startswith(("entropy", "position"))]
    assert len(printed) == 5 + 4


def test_a_quant_that_is_partly_not_quantized_is_said_to_be() -> None:
    made = comparison(pair=False)
    assert "(4.50 bits per weight, 4.25 in the trunk, 0.4 % of which no quantizer has touched)" in shown(made)
    assert "warning" not in shown(made)
    assert "not loaded" not in shown(made)
    left = {f"part{i}": i for i in range(1, 8)}
    made.made["models"]["q"] = made.made["models"]["q"] | {"plain_trunk_share": 0.63, "stored_and_left_out": left}
    assert "\nwarning: 'q' leaves 63.0 % of its trunk's weights unquantized, such as fused experts\n" in shown(made)
    assert "\nstored and not loaded: part1 (1 tensors), " in shown(made)
    assert "part5 (5 tensors) and 2 more\n" in shown(made)


def test_json_holds_every_figure_and_is_strict() -> None:
    made = comparison(same=True)
    values = json.loads(json.dumps(as_json(made), allow_nan=False))
    kl = next(r for r in values["fidelity"] if r["quant"] == "q" and r["metric"] == "kl_mean")
    row = made.fidelity.set_index(["quant", "metric"]).loc[("q", "kl_mean")]
    for column in ("estimate", "low", "high", "bootstrap_low", "bootstrap_high"):
        assert kl[column] == row[column]
    assert values["paired"][0]["windows_needed"] == "inf"
    assert values["paired"][0]["t_p"] is None
    assert values["floor"] == "measured"
    assert len(values["breakdown"]) == len(made.breakdown)


@pytest.mark.parametrize("floor", [True, False])
def test_json_says_whether_the_floor_was_measured(floor: bool) -> None:
    assert as_json(comparison(pair=False, floor=floor))["floor"] == (
        "measured" if floor else "not measured: no float64"
    )
