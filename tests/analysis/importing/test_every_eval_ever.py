"""Records of every_eval_ever: those that its own converter wrote are read, and ours pass its own validator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest

from qkld.analysis.every_eval_ever_records import Origin, share_items
from qkld.analysis.gate.judging import Estimate
from qkld.analysis.importing import import_items
from qkld.analysis.importing.results import Asked, import_folder, import_results
from qkld.errors import ParameterError, TableError
from qkld.workflow import cli

SHARED = "every-eval-ever"
PINNED = "every-eval-ever==0.3.0 --hash=sha256:564b8bc624c1f822f749a769dc69dc058a736e83d920cbeb147c3a30d3152317\n"
OWN = Origin("own-eval", "own", "tests")
ANSWERS = ["model", "benchmark", "item", "correct"]


@pytest.fixture
def items(rng):
    """Answers of two models: multiple choice with probabilities, and three samples a written answer."""
    rows = [
        {"model": model, "benchmark": "arc", "item": f"arc-{i:02d}", "correct": int(rng.random() < share)}
        | {"probability_right": rng.random(), "answer": "2", "request": f"{i:016x}", "metric": "acc_norm"}
        | {"cluster": f"arc-{i:02d}"}
        for model, share in (("f16", 0.7), ("Q4:K_M", 0.5))
        for i in range(40)
    ]
    rows += [
        {"model": model, "benchmark": "sums", "item": f"1 + {i}#{s}", "cluster": f"1 + {i}", "correct": s % 2}
        | {"answer": "“3”\n", "metric": "exact_match", "probability_right": float(s % 2), "request": f"{i:016x}"}
        for model in ("f16", "Q4:K_M")
        for i in range(5)
        for s in range(3)
    ]
    return pd.DataFrame(rows)


# --- what its own converter wrote -------------------------------------------------------------------------------------


def test_its_converter_and_the_harness_say_the_same(files):
    found = import_folder(files / "every_eval_ever").items
    by_harness = import_items("lm-eval", [files / "lm-eval"], filter_name="flexible-extract")
    assert set(found["benchmark"]) == {"own_choice", "own_answer/strict-match", "own_answer/flexible-extract"}
    found = found.assign(benchmark=found["benchmark"].str.removesuffix("/flexible-extract"))
    found = found.assign(model=found["model"].str.removeprefix("own/"))
    same = found.merge(by_harness, on=ANSWERS, suffixes=("", "_harness"))
    assert len(same) == len(by_harness)
    written = same[same["benchmark"] == "own_answer"]
    assert (written["answer"] == written["answer_harness"]).all()


def test_a_named_file_is_read_with_the_other_one_of_its_evaluation(items, tmp_path):
    (record, _) = share_items(items, tmp_path, OWN)
    for named in (record, record.with_name(f"{record.stem}_samples.jsonl")):
        found = import_results(SHARED, [named], Asked(labels=["base"]))
        assert len(found.items) == 55
        assert found.quants[["label", "arc"]].to_numpy().tolist() == [["base", found.items["correct"][:40].mean()]]


# --- both ways --------------------------------------------------------------------------------------------------------


def test_what_is_shared_comes_back(items, tmp_path):
    share_items(items, tmp_path, OWN, divergences={"Q4:K_M": Estimate("", 0.02, 0.018, 0.022)})
    found = import_folder(tmp_path)
    own = items.assign(model="own/" + items["model"])
    columns = ["model", "benchmark", "item", "cluster", "correct", "answer", "probability_right"]
    assert set(found.items[columns].itertuples(index=False)) == set(own[columns].itertuples(index=False))
    quants = found.quants.set_index("label")
    assert quants.loc["own/Q4:K_M", ["kl_mean", "kl_mean_low", "kl_mean_high"]].tolist() == [0.02, 0.018, 0.022]
    assert np.isnan(quants.loc["own/f16", "kl_mean"])


def test_equal_answers_replace_the_files_of_before(items, tmp_path):
    first = share_items(items, tmp_path, OWN)
    assert share_items(items, tmp_path, OWN) == first
    assert sum(1 for p in tmp_path.rglob("*") if p.is_file()) == 4


def test_no_text_of_a_question_is_shared(items, tmp_path):
    share_items(items.assign(prompt="What is ice?"), tmp_path, OWN)
    assert "What is ice?" not in "".join(p.read_text() for p in tmp_path.rglob("*.json*"))


@pytest.mark.parametrize("models", [("a:b", "a?b"), ("own/a", "a")])
def test_two_models_in_one_folder_are_refused(items, tmp_path, models):
    renamed = items.assign(model=items["model"].map(dict(zip(("f16", "Q4:K_M"), models, strict=True))))
    with pytest.raises(ParameterError, match="the same folder") as error:
        share_items(renamed, tmp_path, OWN)
    assert all(model in error.value.found for model in models)
    assert not list(tmp_path.iterdir())


def test_a_model_needs_a_developer(items, tmp_path, capsys):
    items.to_csv(tmp_path / "items.csv", index=False)
    asked = ["share", str(tmp_path / "items.csv"), "--organization", "tests", "--out", str(tmp_path / "out")]
    assert cli.main(asked) == 2
    assert "does not name its developer" in capsys.readouterr().err
    assert cli.main([*asked, "--developer", "own"]) == 0


# --- its own validator ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def validate(tmp_path_factory):
    """Its validator, from the pinned wheel, which runs in this Python too: every file's errors and warnings."""
    folder = tmp_path_factory.mktemp("every_eval_ever")
    (folder / "pinned.txt").write_text(PINNED)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--ignore-requires-python"]
    subprocess.run([*command, "--require-hashes", "-r", "pinned.txt", "-d", "."], check=True, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder)

    def run(root):
        asked = [sys.executable, "-m", "every_eval_ever.validator.cli", "data/*/*/*/*.json*", "--format", "json"]
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        done = subprocess.run(asked, cwd=root, env=environment, capture_output=True, text=True)
        return done.returncode, [
            e["msg"] for file in json.loads(done.stdout) for e in file["errors"] + file["warnings"]
        ]

    return run


@pytest.mark.network
def test_its_validator_passes_what_is_shared(items, tmp_path, validate):
    divergences = {"f16": Estimate("", -1e-5), "Q4:K_M": Estimate("", 0.02, 0.018, 0.022)}
    written = share_items(items, tmp_path, OWN, divergences=divergences)
    assert validate(tmp_path) == (0, [])
    record = json.loads(written[0].read_text())
    record["detailed_evaluation_results"]["total_rows"] += 1
    written[0].write_text(json.dumps(record))
    status, said = validate(tmp_path)
    assert status == 1
    assert any("declared 56, found 55" in message for message in said)


# --- bad input --------------------------------------------------------------------------------------------------------


def changed(items, tmp_path, change):
    """The samples of one model with each row changed."""
    record, _ = share_items(items, tmp_path, OWN)
    path = record.with_name(f"{record.stem}_samples.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(change(row)) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda row: row | {"evaluation": {"score": 0.5, "is_correct": False}}, "score 0.5"),
        (lambda row: row | {"evaluation": {"score": 1.0, "is_correct": False}}, "is_correct False"),
        (lambda row: {k: v for k, v in row.items() if k != "sample_id"}, "no sample_id"),
        (lambda row: row | {"input": "text"}, "no input"),
        (lambda row: [row], "list"),
        (lambda row: row | {"metadata": {"probability_right": "much"}}, "could not convert"),
    ],
)
def test_rows_that_are_no_record_are_named(items, tmp_path, change, found):
    with pytest.raises(TableError, match="line 1, cannot be imported") as error:
        import_results(SHARED, [changed(items, tmp_path, change)])
    assert found in str(error.value.found)


def test_of_several_metrics_one_is_named(items, tmp_path):
    path = changed(items, tmp_path, lambda row: row | {"evaluation_result_id": "match:accuracy"})
    rows = path.read_text().splitlines()
    others = [json.dumps(json.loads(r) | {"evaluation_result_id": "includes:accuracy"}) for r in rows]
    path.write_text("\n".join(rows + others))
    with pytest.raises(TableError, match="several metrics") as error:
        import_results(SHARED, [path])
    assert error.value.found == "match:accuracy, includes:accuracy"
    assert len(import_results(SHARED, [path], Asked(metric="match:accuracy")).items) == 55


def test_a_score_of_another_kind_is_left_out_and_named(items, tmp_path):
    record, _ = share_items(items, tmp_path, OWN)
    value = json.loads(record.read_text())
    (percent, elo) = (json.loads(json.dumps(value["evaluation_results"][0])) for _ in range(2))
    percent |= {"evaluation_name": "mmlu", "evaluation_result_id": "m", "score_details": {"score": 62.5}}
    percent["metric_config"] |= {"max_score": 100}
    elo |= {"evaluation_name": "arena", "evaluation_result_id": "e", "score_details": {"score": 1200}}
    elo["metric_config"] |= {"max_score": "Infinity"}
    value["evaluation_results"] += [percent, elo]
    record.write_text(json.dumps(value))
    found = import_results(SHARED, [record])
    assert found.quants["mmlu"].tolist() == [0.625]
    assert "arena" not in found.quants
    assert any(note.startswith("'arena' was left out") for note in found.notes)
