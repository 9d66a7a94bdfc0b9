"""Cards of a study, a table and a comparison: what stands on them, and when two are comparable."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from conftest import REPOSITORY

from qkld.analysis.measured import collect
from qkld.analysis.study import load_study
from qkld.errors import ParameterError, TableError
from qkld.report.card.card_data import of_comparison, of_study, of_table
from qkld.report.card.markdown import sentence
from qkld.report.card.panel import Panel, panel_of_card
from qkld.statistics.items.score_differences import difference_interval
from qkld.study.parquet import read_frame
from qkld.workflow import cli

TEXT = {"name": "prose", "hash": "a" * 16, "windows": "40", "context": "512"}
WHOLE = Panel("b" * 64, (TEXT,), "torch 2.13.0", "float32 on cpu", "none", {"qkld metrics": "6"})


def comparison(**made: object) -> dict:
    rows = [
        {"quant": q, "corpus": "text", "context": 512, "metric": m, "estimate": e, "low": 0.9 * e, "high": 1.1 * e}
        for q, kld in (("q8", 0.001), ("q4", 0.02), ("floor-dtype", 0.00001))
        for m, e in (("kl_mean", kld), ("top1_agreement", 0.9))
    ]
    models = {
        label: {"bits_per_weight": bits, "weights_sha256": label * 8} for label, bits in (("q8", 8.5), ("q4", 4.5))
    }
    facts = {
        "models": models | {"reference": {"bits_per_weight": 16.0, "weights_sha256": "c" * 64}},
        **{"text": "prose.txt", "text_key": "d" * 16, "windows": 40, "compute_dtype": "float32", "device": "cpu"},
        **{"floor_dtype": "float64", "metrics_version": 6, "packages": {"torch": "2.13.0", "numpy": "2.4.6"}},
    }
    return {"made_by": facts | made, "fidelity": rows}


def card(capsys, *arguments: object) -> tuple[int, str]:
    status = cli.main(["card", *map(str, arguments)])
    said = capsys.readouterr()
    return status, said.out + said.err


# --- panels -----------------------------------------------------------------------------------------------------------


def test_panels_of_one_id_are_equal_and_others_say_what_differs():
    again = Panel(**{**WHOLE.__dict__, "texts": (dict(reversed(TEXT.items())),)})
    assert again.id == WHOLE.id
    assert again.differences(WHOLE) == []
    other = Panel(**{**WHOLE.__dict__, "texts": ({**TEXT, "context": "2048"},), "dtype": "bfloat16 on cuda"})
    assert other.id != WHOLE.id
    assert sorted(other.differences(WHOLE)) == [
        "dtype: bfloat16 on cuda here, float32 on cpu there",
        "texts 1 context: 2048 here, 512 there",
    ]


@pytest.mark.parametrize("part", ["reference", "texts", "engine", "dtype", "floor", "versions"])
def test_every_part_is_in_the_id_and_none_may_be_missing(part):
    empty = {"texts": (), "versions": {}}.get(part, "")
    without = Panel(**{**WHOLE.__dict__, part: empty})
    assert (without.id, without.missing) == (None, [part])
    assert any("not said here" in line for line in without.differences(WHOLE))


def test_a_text_without_its_hash_gives_no_id():
    panel = Panel(**{**WHOLE.__dict__, "texts": ({**TEXT, "hash": ""},)})
    assert (panel.id, panel.missing) == (None, ["hash of the text"])


@pytest.mark.parametrize("name", ["plain", "two -- hyphens -->", "<b>Büchlein</b> | 42"])
def test_a_card_gives_its_panel_back(tmp_path, name):
    panel = Panel(**{**WHOLE.__dict__, "texts": ({**TEXT, "name": name},)})
    path = tmp_path / "card.md"
    path.write_text(f"# A card\n\n{panel.comment()}\n\nmore", encoding="utf-8")
    assert panel.comment().count("-->") == 1
    assert panel_of_card(path) == panel
    assert panel_of_card(path).id == panel.id


@pytest.mark.parametrize("text", ["", "# A card", "<!-- qkld-panel {broken} -->", '<!-- qkld-panel {"a": 1} -->'])
def test_other_files_have_no_panel(tmp_path, text):
    path = tmp_path / "card.md"
    path.write_text(text)
    with pytest.raises(TableError, match="not a card of qkld"):
        panel_of_card(path)


def test_what_the_source_does_not_say_may_be_added_and_nothing_else():
    silent = Panel(**{**WHOLE.__dict__, "dtype": ""})
    assert silent.with_said({"dtype": "float32 on cpu"}).id == WHOLE.id
    for said in ({"dtype": "float16"}, {"texts": "mine"}, {"colour": "red"}):
        with pytest.raises(ParameterError, match="cannot be given with --say"):
            WHOLE.with_said(said)


# --- sources ----------------------------------------------------------------------------------------------------------


def test_a_comparison(tmp_path):
    data = of_comparison(comparison(), tmp_path / "c.json")
    assert [(row.label, row.size, row.kld.value) for row in data.rows] == [("q4", 4.5, 0.02), ("q8", 8.5, 0.001)]
    assert (data.floor, data.panel.missing) == (0.00001, [])
    moved = of_comparison(comparison(text_key="e" * 16), tmp_path / "c.json")
    assert [line.split(":")[0] for line in data.panel.differences(moved.panel)] == ["texts 1 hash"]


def test_bounds_are_no_figures(tmp_path):
    with pytest.raises(TableError, match="not a comparison with figures"):
        of_comparison({"made_by": {}, "bounds": []}, tmp_path / "c.json")


@pytest.fixture
def study(measured_project):
    """A study whose tables are put together, of simulated quants."""
    collect("simulated")
    return load_study("simulated")


def test_a_study(study):
    data = of_study(study)
    cohort = study.cohort.set_index("label")
    assert {row.label for row in data.rows} == set(study.quants)
    assert [row.size for row in data.rows] == sorted(row.size for row in data.rows)
    for row in data.rows:
        assert row.kld.value == cohort.at[row.label, "kl_mean"]
        assert row.scores["sciq"] == cohort.at[row.label, "score_sciq"]
        loss = row.losses["sciq"]
        assert loss.value == pytest.approx(data.reference.scores["sciq"] - row.scores["sciq"])
        assert loss.low < loss.value < loss.high
    assert data.floor == cohort.loc[list(study.params.floors), "kl_mean"].max()
    assert data.panel.texts[0]["context"] == str(study.params.headline.context)


WITHOUT_TORCH = (
    "import sys; from qkld.workflow.cli import main; assert main() == 0; assert 'torch' not in sys.modules, 'torch'"
)


def test_a_study_whose_tables_are_committed_needs_no_run_and_no_torch(own_place, tmp_path):
    """The demo as a fresh clone has it: every quant, its losses, and the panel of the machine that measured it."""
    asked = ("card", "--study", "demo", "--out", str(tmp_path / "card"))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *asked],
        env={**os.environ, **own_place.variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("no run of 'demo' here: its tables in the repository")
    assert not (own_place.folder / "runs").exists()
    text = (tmp_path / "card" / "card.md").read_text(encoding="utf-8")
    committed = pd.read_parquet(REPOSITORY / "studies" / "demo" / "cohort.parquet").set_index("label")
    for label, row in committed[committed["role"] == "quant"].iterrows():
        (line,) = (line for line in text.splitlines() if line.startswith(f"| {label} |"))
        assert f"| {row['bits_per_weight']:.4g} | {row['kl_mean']:.4g} [{row['kl_mean_low']:.4g}, " in line
        assert f"| {100 * row['score_arc_easy']:.1f} |" in line
    assert f"| {100 * committed.at['reference', 'score_arc_easy']:.1f} |  |" in text, "the reference's own score"
    panel = panel_of_card(tmp_path / "card" / "card.md")
    assert panel.id is not None
    assert panel.reference == committed.at["reference", "weights_sha256"]
    assert "auto" not in panel.dtype, "the device that it was, not the one that was left to the machine"
    fidelity = read_frame(REPOSITORY / "studies" / "demo" / "fidelity" / "bnb-int8.parquet")
    row = fidelity[(fidelity["metric"] == "kl_mean") & (fidelity["corpus"] == "prose")].iloc[-1]
    (said,) = panel.texts
    assert said["context"] == str(row["context"])
    assert (said["tokens"], said["clusters"]) == (str(row["tokens"]), str(row["clusters"])), "as the tables have it"


def test_a_table_with_and_without_what_a_card_needs(tmp_path):
    path = tmp_path / "t.csv"
    rows = ("F16,2.0,,,0.61", "q4,0.6,0.02 ± 0.001,94.5,0.6", "q8,1.1,0.001 ± 0.0001,99,0.61")
    path.write_text("\n".join(("quant,size_gb,KLD,Same top p,arc", *rows)))
    data = of_table(path, scores=["arc"], reference="F16")
    assert [(row.label, row.size) for row in data.rows] == [("q4", 0.6), ("q8", 1.1)]
    assert [row.top1.value for row in data.rows] == pytest.approx([0.945, 0.99])
    assert (data.size, data.panel.id) == ("size (GB)", None)
    with pytest.raises(TableError, match="lacks columns"):
        of_table(path, size="weight")
    with pytest.raises(TableError, match="no row"):
        of_table(path, reference="bf16")
    path.write_text("quant,arc\nq4,0.6\n")
    with pytest.raises(TableError, match="no mean KLD"):
        of_table(path)


def test_a_published_table_has_its_reference_below_the_quants(tmp_path, capsys):
    table = REPOSITORY / "src" / "qkld" / "report" / "published_tables" / "apex_qwen3.5-35b-a3b.csv"
    asked = (table, "--scores", "hellaswag,mmlu", "--reference", "f16", "--out", tmp_path)
    assert card(capsys, *asked)[0] == 0
    lines = [line for line in (tmp_path / "card.md").read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    published = pd.read_csv(table).set_index("quant")
    assert lines[0] == "| quant | size (GB) | mean KLD | hellaswag | mmlu |"
    assert lines[len(published) + 1].startswith("| f16 (reference) | 64.6 |  | 82.5 |")
    sizes = [published.at[line.split(" | ")[0].strip("| "), "size_gb"] for line in lines[2 : len(published) + 1]]
    assert sizes == sorted(published.drop("f16")["size_gb"])
    assert yaml.safe_load((tmp_path / "evaluation-results.yaml").read_text(encoding="utf-8"))


def test_items_give_losses_their_intervals(tmp_path, capsys):
    """Tables that `qkld import` makes have scores of items alone."""
    (tmp_path / "quants.csv").write_text("rank,Quant,Type,KLD (bits)\n1,a,F16,\n2,a,Q8_0,0.001\n3,a,Q4_0,0.02\n")
    right = {"a F16": 90, "a Q8_0": 88, "a Q4_0": 70, "b Q4_0": 50}
    rows = [f"{m},arc,{i},{int(i < n)}" for m, n in right.items() for i in range(100)]
    (tmp_path / "items.csv").write_text("\n".join(["model,benchmark,item,correct", *rows]))
    data = of_table(
        tmp_path / "quants.csv", reference="a F16", items=tmp_path / "items.csv", label=["quant", "Type"], unit="bits"
    )
    assert [row.label for row in data.rows] == ["a Q4_0", "a Q8_0"]
    assert [row.kld.value for row in data.rows] == pytest.approx([0.02 * math.log(2), 0.001 * math.log(2)])
    assert [row.scores["arc"] for row in data.rows] == [0.7, 0.88]
    low, high = difference_interval([0], [20], [100], 0.95)
    loss = data.rows[0].losses["arc"]
    assert (loss.value, loss.low, loss.high) == pytest.approx((0.2, -float(high), -float(low)))
    asked = ("--items", tmp_path / "items.csv", "--reference", "a F16", "--label", "Quant,Type")
    assert card(capsys, tmp_path / "quants.csv", *asked, "--out", tmp_path / "card")[0] == 0
    text = (tmp_path / "card" / "card.md").read_text(encoding="utf-8")
    assert "| a Q4_0 | 0.01386 | 70.0 | +20.0 [" in text
    for wrong, said in (("--label", "Maker"), ("--scores", "mmlu")):
        assert card(capsys, tmp_path / "quants.csv", *asked, wrong, said, "--out", tmp_path / "no")[0] == 2
    (tmp_path / "items.csv").write_text("model,benchmark,item,correct\nb,arc,1,1\n")
    with pytest.raises(TableError, match="no answers of the table's models"):
        of_table(tmp_path / "quants.csv", items=tmp_path / "items.csv", label=["Quant", "Type"])


def test_quants_that_are_not_told_apart_are_named(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("quant,kl_mean,kl_mean_se\nq8,0.0010,0.0001\nq6,0.0011,0.0001\nq4,0.02,0.001\n")
    assert "Its interval overlaps that of q6, so" in sentence(of_table(path))
    path.write_text("quant,kl_mean,kl_mean_se\nq8,0.0010,0.00001\nq6,0.0011,0.00001\nq4,0.02,0.001\n")
    assert "overlaps" not in sentence(of_table(path))


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_card_figure_and_drafts(tmp_path, capsys):
    source = tmp_path / "compare.json"
    source.write_text(json.dumps(comparison()))
    status, said = card(capsys, source, "--out", tmp_path / "card")
    assert status == 0
    text = (tmp_path / "card" / "card.md").read_text(encoding="utf-8")
    assert "Of 2 quants **q8** is nearest to the reference with 0.001 [0.0009, 0.0011] nats per token" in text
    assert "| q4 | 4.5 | 0.02 [0.018, 0.022] | 90.00 % [81.00, 99.00] |" in text
    assert (tmp_path / "card" / "card.png").read_bytes().startswith(b"\x89PNG")
    panel = panel_of_card(tmp_path / "card" / "card.md")
    assert f"panel: {panel.id}" in said
    index = (tmp_path / "card" / "model-index.yaml").read_text(encoding="utf-8")
    assert index.startswith("# Draft")
    entry = yaml.safe_load(index)["model-index"][0]
    assert entry["results"][0]["metrics"][0]["value"] == 0.02
    assert entry["results"][0]["dataset"]["args"] == {"panel": panel.id}


def test_scores_go_into_both_drafts(study, tmp_path, capsys):
    assert card(capsys, "--study", "simulated", "--out", tmp_path / "card")[0] == 0
    results = yaml.safe_load((tmp_path / "card" / "evaluation-results.yaml").read_text(encoding="utf-8"))
    assert {entry["dataset"]["id"] for entry in results} >= {"allenai/sciq", "allenai/ai2_arc"}
    assert all(0 <= entry["value"] <= 1 and "panel" in entry["notes"] for entry in results)


def test_two_cards_are_held_against_each_other(tmp_path, capsys):
    for name, more in (("a", {}), ("b", {}), ("c", {"compute_dtype": "bfloat16"})):
        (tmp_path / f"{name}.json").write_text(json.dumps(comparison(**more)))
    other = tmp_path / "a" / "card.md"
    assert card(capsys, tmp_path / "a.json", "--out", tmp_path / "a")[0] == 0
    assert "comparable with the other card" in card(
        capsys, tmp_path / "b.json", "--against", other, "--out", tmp_path / "b")[1]  # fmt: skip
    status, said = card(capsys, tmp_path / "c.json", "--against", other, "--out", tmp_path / "c")
    assert status == 0
    assert "dtype: bfloat16 on cpu here, float32 on cpu there" in said
    assert "Not comparable with the other card" in (tmp_path / "c" / "card.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("arguments", [[], ["nowhere.csv"], ["--study", "no-such-study"], ["t.csv", "--study", "demo"]])
def test_errors(tmp_path, capsys, arguments):
    status, said = card(capsys, *arguments, "--out", tmp_path / "card")
    assert status == 2
    assert "do: " in said
    assert not (tmp_path / "card").exists()
