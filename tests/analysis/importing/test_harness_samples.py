"""Samples of lm-evaluation-harness: lines, filters, metrics, names of models, and groups of tasks."""

from __future__ import annotations

import json

import pytest
from own_items import read_own_items

from qkld.analysis.importing import import_items
from qkld.analysis.importing.groups import harness_groups, parse_groups
from qkld.analysis.importing.harness_samples import read_harness_samples
from qkld.analysis.own_table.answers_by_item import Reading
from qkld.errors import BenchmarkError, ParameterError, TableError
from qkld.workflow.cli import main

TIME = "2026-01-31T12-30-05.123456"


def write(folder, task, samples, *, model="q8"):
    """Samples as the harness writes them: one JSON a line, other alphabets as they are."""
    (folder / model).mkdir(parents=True, exist_ok=True)
    path = folder / model / f"samples_{task}_{TIME}.jsonl"
    lines = (json.dumps({"doc_id": i, **sample}, ensure_ascii=False) + "\n" for i, sample in enumerate(samples))
    path.write_bytes("".join(lines).encode())
    return path


def scored(*answers, **more):
    return [{"filter": "none", "metrics": ["acc"], "acc": float(a), **more} for a in answers]


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_lines_end_at_a_line_feed_only(tmp_path, sign):
    path = write(tmp_path, "mmlu_pro", scored(1, 0, doc={"question": f"Which{sign}one?"}))
    assert read_harness_samples(path)["correct"].tolist() == [1, 0]


def test_windows_line_ends_are_read(tmp_path):
    path = write(tmp_path, "arc", scored(1, 0))
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_harness_samples(path)["correct"].tolist() == [1, 0]


# --- filters ----------------------------------------------------------------------------------------------------------


def gsm8k(*pairs):
    both = ("strict-match", "flexible-extract")
    return [
        {"doc_id": i, "filter": f, "metrics": ["exact_match"], "exact_match": float(right)}
        for f, answers in zip(both, zip(*pairs, strict=True), strict=True)
        for i, right in enumerate(answers)
    ]


@pytest.fixture
def mixed(tmp_path):
    """gsm8k with two filters, and a task with a single one of another name."""
    write(tmp_path, "gsm8k", gsm8k((0, 1), (1, 1)))
    once = [{"filter": "remove_whitespace", "metrics": ["exact_match"], "exact_match": 1.0}] * 2
    write(tmp_path, "triviaqa", once)
    return tmp_path


@pytest.mark.parametrize("named", ["strict-match", "gsm8k=strict-match", "gsm*=strict-match"])
def test_a_filter_concerns_tasks_with_several(mixed, named):
    items = read_harness_samples(mixed, filter_name=named).set_index("benchmark")
    assert items.loc["gsm8k", "correct"].tolist() == [0, 1]
    assert items.loc["triviaqa", "correct"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("named", "found"),
    [
        (None, r"several filters(?s:.*)flexible-extract, strict-match(?s:.*)--filter gsm8k=NAME"),
        ("remove_whitespace", "gsm8k.*several filters"),
        ("strict-match,triviaqa=strict-match", "triviaqa.*one filter only(?s:.*)remove_whitespace"),
    ],
)
def test_a_filter_that_a_task_does_not_have_is_refused(mixed, named, found):
    with pytest.raises(TableError, match=found):
        read_harness_samples(mixed, filter_name=named)


@pytest.mark.parametrize("named", ["", "a,b", "=a", "gsm8k=", "gsm8k=a,gsm8k=b"])
def test_filters_that_can_not_be_read(mixed, named):
    with pytest.raises(ParameterError, match="--filter cannot be read"):
        read_harness_samples(mixed, filter_name=named)


# --- metrics ----------------------------------------------------------------------------------------------------------

BOTH = {"filter": "none", "metrics": ["acc", "acc_norm"]}


def test_the_metric_is_said_and_can_be_named(tmp_path):
    path = write(tmp_path, "arc", [{**BOTH, "acc": 0.0, "acc_norm": 1.0}, {**BOTH, "acc": 1.0, "acc_norm": 0.0}])
    usual = import_items("lm-eval", [path])
    assert usual["correct"].tolist() == [0, 1]
    assert set(usual["metric"]) == {"acc"}
    for named in ("acc_norm", "arc=acc_norm", "acc,arc=acc_norm"):
        items = import_items("lm-eval", [path], metric=named)
        assert items["correct"].tolist() == [1, 0]
        assert set(items["metric"]) == {"acc_norm"}


def test_a_task_is_judged_by_the_metric_it_is_published_by(tmp_path):
    """Of HellaSwag the field gives acc_norm; a margin of log-probabilities that it does not compare is left out."""
    choices = {"target": "0", "filtered_resps": [["-9.0", "False"], ["-6.0", "False"]]}
    for task, correct, metric in (("hellaswag", 1, "acc_norm"), ("arc_easy", 0, "acc")):
        path = write(tmp_path, task, [{**BOTH, **choices, "acc": 0.0, "acc_norm": 1.0}])
        items = import_items("lm-eval", [path])
        assert (items["correct"].item(), items["metric"].item()) == (correct, metric)
        assert ("margin" in items) == (metric == "acc")
    only = write(tmp_path, "hellaswag", [{"filter": "none", "metrics": ["acc"], "acc": 1.0}])
    assert import_items("lm-eval", [only])["metric"].item() == "acc"


def test_a_metric_for_every_task_concerns_those_that_have_it(tmp_path):
    write(tmp_path, "arc", [{**BOTH, "acc": 0.0, "acc_norm": 1.0}])
    write(tmp_path, "gsm8k", [{"metrics": ["exact_match"], "exact_match": 1.0}])
    items = import_items("lm-eval", [tmp_path], metric="acc_norm").set_index("benchmark")
    assert items["metric"].to_dict() == {"arc": "acc_norm", "gsm8k": "exact_match"}
    with pytest.raises(TableError, match=r"No task has the metric 'acc_nrom'(?s:.*)acc, acc_norm, exact_match"):
        import_items("lm-eval", [tmp_path], metric="acc_nrom")


@pytest.mark.parametrize("metric", ["acc_norm", "em", "f1", "exact", "score", "mc1"])
def test_the_only_metric_of_a_task_is_taken_by_any_name(tmp_path, metric):
    path = write(tmp_path, "own", [{"filter": "none", "metrics": [metric], metric: 1.0}])
    assert read_harness_samples(path)["metric"].tolist() == [metric]


def test_samples_of_older_versions_list_no_metrics(tmp_path):
    path = write(tmp_path, "own", [{"doc_hash": "a", "target": "0", "em": 1.0}])
    assert read_harness_samples(path)["metric"].tolist() == ["em"]


@pytest.mark.parametrize(
    ("sample", "found"),
    [
        ({"metrics": ["em", "f1"], "em": 1.0, "f1": 0.5}, "metrics em, f1(?s:.*)--metric"),
        ({"metrics": ["f1"], "f1": 0.5}, "f1 = 0.5"),
        ({"metrics": ["bleu"], "bleu": [1, 2]}, "metrics none"),
    ],
)
def test_what_is_no_right_or_wrong_answer_lists_what_there_is(tmp_path, sample, found):
    with pytest.raises(TableError, match=found):
        read_harness_samples(write(tmp_path, "squad", [sample]))


def test_models_judged_by_different_metrics_are_refused(tmp_path):
    one = write(tmp_path, "arc", scored(1, 0))
    other = write(tmp_path, "arc", [{"metrics": ["acc_norm"], "acc_norm": 1.0}] * 2, model="q4")
    with pytest.raises(BenchmarkError, match="arc: 'q8' by acc; 'q4' by acc_norm"):
        import_items("lm-eval", [one, other])


# --- names of models --------------------------------------------------------------------------------------------------


def test_a_file_of_the_working_directory_has_its_folder_as_model(tmp_path, monkeypatch):
    path = write(tmp_path, "arc", scored(1), model="meta__llama")
    monkeypatch.chdir(path.parent)
    assert main(["import", "lm-eval", path.name, "--out", "items.parquet"]) == 0
    assert import_items("lm-eval", [path.relative_to(path.parent)])["model"].tolist() == ["meta__llama"]


# --- groups -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def subjects(tmp_path):
    for model, answers in (("ref", (1, 1)), ("q8", (1, 0))):
        for subject in ("mmlu_law", "mmlu_art", "mmlu_tax"):
            write(tmp_path, subject, scored(*answers), model=model)
        write(tmp_path, "arc", scored(*answers), model=model)
    return tmp_path


CALL = {"quants": ["q8"], "reference": "ref", "scores": ["mmlu", "arc"]}


def test_parts_of_a_benchmark_are_put_together(subjects):
    reading = Reading(groups=parse_groups(["mmlu=mmlu_*"]))
    found = read_own_items(subjects, **CALL, reading=reading)
    assert found.benchmarks == ["arc", "mmlu"]
    own = found.items.query("model == 'q8' and benchmark == 'mmlu'")
    assert (len(own), own["correct"].sum(), own["item"].iloc[0]) == (6, 3, "mmlu_art/0")


def test_groups_of_the_harness_need_no_option(subjects):
    named = {"mmlu": ["mmlu_social", "mmlu_art"], "mmlu_social": ["mmlu_law", "mmlu_tax"], "mmlu_law": [], "arc": []}
    for model in ("ref", "q8"):
        (subjects / model / f"results_{TIME}.json").write_text(json.dumps({"group_subtasks": named}))
    assert harness_groups(subjects)["mmlu"] == ["mmlu_art", "mmlu_law", "mmlu_tax"]
    found = read_own_items(subjects, **CALL)
    assert found.items.query("benchmark == 'mmlu'")["item"].nunique() == 6


def test_a_group_that_was_not_named_is_suggested(subjects):
    with pytest.raises(TableError, match=r"--group 'mmlu=mmlu_\*'"):
        read_own_items(subjects, **CALL | {"scores": ["mmlu"]})
    assert any("--group 'mmlu=mmlu_*'" in note for note in read_own_items(subjects, **CALL).notes)


@pytest.mark.parametrize("text", ["mmlu", "mmlu=", "=mmlu_*", ""])
def test_groups_that_can_not_be_read(text):
    with pytest.raises(ParameterError, match="--group cannot be read"):
        parse_groups([text])


@pytest.mark.parametrize("texts", [["bbh=bbh_*"], ["a=mmlu_law", "b=mmlu_*"]])
def test_groups_that_do_not_fit_the_items(subjects, texts):
    with pytest.raises(TableError, match="cannot be made"):
        import_items("lm-eval", [subjects], groups=parse_groups(texts))
