"""The answer from a study's tables and from a table with items: the decisions are those of the result tables."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import special
from simulated_study import write_simulated_project

from qkld.analysis.evidence import Evidence
from qkld.analysis.flip_tables import decision_table
from qkld.analysis.score_tables import probability_table
from qkld.analysis.study import load_study
from qkld.workflow import cli


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QKLD_ROOT", str(root))
        patch.setenv("QKLD_RUNS", str(root / "runs"))
        write_simulated_project(root)
        yield root


def test_of_a_study_by_accuracy(simulated, capsys, tmp_path):
    found = tmp_path / "found.json"
    options = ["--primary-score", "accuracy", "--margin", "0.05", "--json", str(found)]
    assert cli.main(["pick", "simulated", *options]) == 0
    printed, rows = capsys.readouterr().out.splitlines(), json.loads(found.read_text())["rows"]
    evidence = Evidence.of_study(load_study("simulated"))
    table = decision_table(evidence.by("accuracy")).query("benchmark == @evidence.headline").set_index("label")
    second = probability_table(evidence).query("benchmark == @evidence.headline").set_index("label")
    bits = [row["bits"] for row in rows]
    assert bits == sorted(bits, reverse=True)
    assert len(printed) >= len(rows) + 5
    for row in rows:
        assert row["accuracy"][0] == pytest.approx(table.loc[row["label"], "net"])
        assert row["items"] == table.loc[row["label"], "items"]
        assert row["probability"][0] == pytest.approx(second.loc[row["label"], "net"])
    shown = [row for row in rows if row["decision"] == "equivalent"]
    assert f"{shown[-1]['label']} ({shown[-1]['bits']:.2f} bits)" in printed[len(rows) + 3]


def test_what_is_about_files_is_refused_of_a_study(simulated, capsys):
    assert cli.main(["pick", "simulated", "--fit", "12GB", "--hours", "2"]) == 2
    assert "found:    --fit, --hours" in capsys.readouterr().err


def _items(rng: np.random.Generator) -> pd.DataFrame:
    """A reference, a file that hardly differs, and one whose right choices lose a nat."""
    right = rng.integers(4, size=800)
    own = 2 * rng.standard_normal((800, 4))
    own[np.arange(800), right] += 1.5
    parts = []
    for model, noise, loss in (("ref", 0.0, 0.0), ("near", 0.05, 0.0), ("far", 0.1, 1.0)):
        scores = own + noise * rng.standard_normal(own.shape)
        scores[np.arange(800), right] -= loss
        chosen = special.softmax(scores, axis=1)[np.arange(800), right]
        correct = (scores.argmax(axis=1) == right).astype(int)
        names = [f"{i:03}" for i in range(800)]
        parts.append(
            pd.DataFrame(
                {"model": model, "benchmark": "arc", "item": names, "correct": correct, "probability_right": chosen}
            )
        )
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def table_and_items(tmp_path, rng):
    """A table of quants whose score column no benchmark is named after, and the items behind it."""
    items, table = tmp_path / "items.parquet", tmp_path / "quants.csv"
    answers = _items(rng)
    answers.to_parquet(items)
    scores = answers.groupby("model")["correct"].mean()
    labels = ["ref", "near", "far"]
    pd.DataFrame({"label": labels, "kl_mean": [0.0, 0.001, 0.2], "arc": scores[labels].to_numpy()}).to_csv(
        table, index=False
    )
    return table, items


def test_without_the_second_score_it_cannot_decide(table_and_items, capsys):
    table, items = table_and_items
    pd.read_parquet(items).drop(columns="probability_right").to_parquet(items)
    options = [str(table), "--items", str(items), "--reference", "ref", "--scores", "arc"]
    assert cli.main(["pick", *options]) == 2
    assert "no probability of the right choice" in capsys.readouterr().err
    assert cli.main(["pick", *options, "--primary-score", "accuracy"]) == 0


def test_of_a_table_with_items_by_both_scores(table_and_items, capsys):
    table, items = table_and_items
    assert cli.main(["pick", str(table), "--items", str(items), "--reference", "ref", "--scores", "arc"]) == 0
    printed = capsys.readouterr().out
    near, far = (next(line for line in printed.splitlines() if line.startswith(name)) for name in ("near", "far"))
    assert near.endswith("equivalent")
    assert far.endswith("worse")
    assert "Smallest file shown equivalent to ref, within 1 point: near." in printed
