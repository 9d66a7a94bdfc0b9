"""Scores in lm-evaluation-harness's results, of its versions; older samples and packed ones."""

from __future__ import annotations

import gzip
import json
import shutil

import pytest

from qkld.analysis.importing.results import Asked, import_folder, import_results
from qkld.errors import TableError

TIME = "2026-01-31T12-30-05.123456"


def results(model: str, **scores: float) -> dict:
    """What the harness writes since 2024: metrics with their filter, versions, examples and numbers of items."""
    return {
        "results": {
            task: {"alias": task, "acc,none": value, "acc_stderr,none": 0.01, "acc_norm,none": value + 0.05}
            | {"acc_norm_stderr,none": 0.02}
            for task, value in scores.items()
        },
        "versions": dict.fromkeys(scores, 1.0),
        "n-shot": dict.fromkeys(scores, 0),
        "n-samples": {task: {"original": 2000, "effective": 400} for task in scores},
        "config": {"model": "hf", "model_args": {"pretrained": model, "dtype": "float32"}},
        "model_name": model,
        "lm_eval_version": "0.4.9",
        "git_hash": "abc1234",
    }


def put(folder, model, value, name=f"results_{TIME}.json"):
    path = folder / model.replace("/", "__") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def test_a_table_with_each_tasks_published_metric(tmp_path):
    for model, score in (("own/f16", 0.6), ("own/q4", 0.55)):
        put(tmp_path, model, results(model, arc_easy=score, hellaswag=score - 0.2))
    found = import_results("lm-eval", [tmp_path])
    table = found.quants.set_index("label")
    assert table.loc["own/q4", ["arc_easy", "arc_easy_se"]].tolist() == [0.55, 0.01]
    assert table.loc["own/q4", ["hellaswag", "hellaswag_se"]].tolist() == pytest.approx([0.4, 0.02])
    assert "'hellaswag' is acc_norm" in found.notes
    named = import_results("lm-eval", [tmp_path], Asked(metric="acc")).quants.set_index("label")
    assert named.loc["own/q4", "hellaswag"] == pytest.approx(0.35)


def test_results_of_2023_have_metrics_without_a_filter(tmp_path):
    value = {
        "results": {"arc_easy": {"acc": 0.5, "acc_stderr": 0.02, "acc_norm": 0.45}},
        "versions": {"arc_easy": 0},
        "config": {"model": "gguf", "model_args": "pretrained=own/q5,dtype=float16"},
    }
    table = import_results("lm-eval", [put(tmp_path, "x", value, "results.json")]).quants
    assert table[["label", "arc_easy", "arc_easy_se"]].to_numpy().tolist() == [["own/q5", 0.5, 0.02]]


def test_several_filters_have_to_be_named(tmp_path):
    value = results("own/q4")
    value["results"] = {"gsm8k": {"exact_match,strict-match": 0.1, "exact_match,flexible-extract": 0.2}}
    path = put(tmp_path, "own/q4", value)
    with pytest.raises(TableError) as error:
        import_results("lm-eval", [path])
    assert "flexible-extract" in error.value.found
    table = import_results("lm-eval", [path], Asked(filter_name="gsm8k=flexible-extract")).quants
    assert table["gsm8k"].item() == 0.2


@pytest.mark.parametrize(("section", "value"), [("versions", 2.0), ("n-shot", 5), ("n-samples", {"effective": 100})])
def test_models_that_were_asked_otherwise_are_refused(tmp_path, section, value):
    put(tmp_path, "a", results("a", arc_easy=0.5))
    other = results("b", arc_easy=0.5)
    other[section]["arc_easy"] = value
    put(tmp_path, "b", other)
    with pytest.raises(TableError, match="tested differently"):
        import_results("lm-eval", [tmp_path])


def test_two_versions_of_the_harness_are_said(tmp_path):
    put(tmp_path, "a", results("a", arc_easy=0.5))
    put(tmp_path, "b", results("b", arc_easy=0.5) | {"lm_eval_version": "0.4.4"})
    notes = import_results("lm-eval", [tmp_path]).notes
    assert "the files are of several lm eval versions: 0.4.4, 0.4.9" in notes


def test_two_versions_of_the_harness_are_said_beside_samples_too(files, tmp_path):
    """Samples name no version; the results that lie beside them do."""
    for model, version in (("q4", "0.4.9"), ("reference", "0.4.4")):
        shutil.copytree(files / "lm-eval" / model, tmp_path / model)
        put(tmp_path, model, results(model, own_choice=0.5) | {"lm_eval_version": version})
    asked = Asked(filter_name="flexible-extract")
    assert import_folder(tmp_path, asked).notes == ("the files are of several lm eval versions: 0.4.4, 0.4.9",)
    changed = results("reference", own_choice=0.5) | {"versions": {"own_choice": 2.0}}
    put(tmp_path, "reference", changed)
    (note,) = import_folder(tmp_path, asked).notes
    assert note.startswith("Models were tested differently on own_choice: version. Expected 1.0")


def test_a_task_of_one_model_twice_is_refused(tmp_path):
    put(tmp_path, "a", results("a", arc_easy=0.5))
    put(tmp_path, "a", results("a", arc_easy=0.6), "results_2026-02-01T00-00-00.000001.json")
    with pytest.raises(TableError, match="cannot be imported"):
        import_results("lm-eval", [tmp_path])


@pytest.mark.parametrize("value", [{}, [], {"results": [1]}, {"results": {}}])
def test_other_files_are_refused(tmp_path, value):
    path = put(tmp_path, "a", value)
    with pytest.raises(TableError):
        import_results("lm-eval", [path])


def samples(right: list[int]) -> list[dict]:
    return [{"doc_id": i, "doc_hash": str(i), "target": 0, "filter": "none", "acc": r} for i, r in enumerate(right)]


@pytest.mark.parametrize(
    ("ending", "packed"),
    [
        ("jsonl", lambda rows: "\n".join(map(json.dumps, rows)).encode()),
        ("jsonl.gz", lambda rows: gzip.compress("\n".join(map(json.dumps, rows)).encode())),
        ("json", lambda rows: json.dumps(rows, indent=2).encode()),
        ("jsonl", lambda rows: json.dumps(rows, indent=2).encode()),
        ("json.gz", lambda rows: gzip.compress(json.dumps(rows).encode())),
    ],
)
def test_samples_of_2024_and_packed_ones(tmp_path, ending, packed):
    path = tmp_path / "own__q4" / f"samples_arc_easy_{TIME}.{ending}"
    path.parent.mkdir()
    path.write_bytes(packed(samples([1, 0, 1])))
    found = import_folder(tmp_path)
    assert found.items[["model", "benchmark", "correct"]].to_numpy().tolist() == [
        ["own__q4", "arc_easy", value] for value in (1, 0, 1)
    ]
    assert found.quants["arc_easy"].tolist() == pytest.approx([2 / 3])
