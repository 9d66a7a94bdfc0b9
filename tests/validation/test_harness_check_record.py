"""That five-families scores items as lm-evaluation-harness's own model does, by the record of harness_check.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qkld.study.params import load_params

RECORD = Path(__file__).parents[1] / "data" / "harness_check" / "record.json"
FAMILIES = {"knowledge", "code", "tool_calling", "instruction_following", "mathematics"}
CHAT = {"mbpp", "bfcl", "ifeval", "gsm8k", "math500"}


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tasks(record):
    return record["tasks"]


def test_every_task_of_every_family_was_checked(tasks):
    study = load_params("five-families")
    asked = {b.task: (b.family, b.prompt) for b in study.benchmarks}
    assert {name: (task["family"], task["prompt"]) for name, task in tasks.items()} == asked
    assert {task["family"] for task in tasks.values()} == FAMILIES
    assert {name for name, task in tasks.items() if task["prompt"] == "chat"} == CHAT
    assert {name: task["items"] for name, task in tasks.items()} == {b.task: b.limit for b in study.benchmarks}


def test_both_sides_ran_the_reference_s_weights_in_float32(record):
    made = record["table_made_by"]
    assert (made["study"], made["model"]["label"]) == ("five-families", "reference")
    assert made["model"]["compute_dtype"] == "float32"
    assert record["made_by"]["packages"]["lm_eval"] == made["packages"]["lm_eval"]


def test_every_difference_is_explained_and_none_changes_a_score(tasks):
    for name, task in tasks.items():
        assert all(difference["explained"] for difference in task["differences"]), name
        assert task["right"]["study"] == task["right"]["harness"], name


def test_log_probabilities_of_choices_are_equal_to_half_a_thousandth_of_a_nat(tasks):
    chosen = [task for task in tasks.values() if task["kind"] == "choices"]
    assert len(chosen) == 2
    for task in chosen:
        assert set(task["largest_difference"]) == {"logp_right", "margin", "choice_entropy"}
        assert 0 < max(task["largest_difference"].values()) < 5e-4


def test_answers_are_the_same_texts_but_for_ties(tasks):
    written = {name: task for name, task in tasks.items() if task["kind"] == "written"}
    assert set(written) == {*CHAT, "humaneval"}
    for name, task in written.items():
        assert task["same_text"] + len(task["differences"]) == task["items"], name
        assert 0 < task["answer_tokens"] <= 112 * task["items"], name
