"""The check against the harness's own model: its two sides on a tiny model, and what it makes of differences."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from byte_models import CHAT_TEMPLATE, byte_model, byte_tokenizer

from qkld.benchmarks import harness_tasks
from qkld.errors import BenchmarkError
from qkld.study.params import Benchmark, load_params
from validation.crosschecks import harness_check

SUMS = [{"question": f"What is {n} + {n}?" * (1 + n % 3), "answer": f"{2 * n}\n#### {2 * n}"} for n in range(5)]
QUESTIONS = [
    {
        "id": str(n),
        "question": f"Which of these is like {thing}?",
        "choices": {"text": ["sun", "ice", "frog"], "label": list("ABC")},
        "answerKey": "ABC"[n % 3],
    }
    for n, thing in enumerate(["lead", "salt", "wheat", "river", "moon"])
]
PROMPT = tuple(b"1 + 1 =")


@pytest.fixture(scope="module")
def script():
    return harness_check


@pytest.fixture(scope="module")
def model():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    return byte_model(tokenizer, 1)


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The smoke study with a task of choices and a written one in a chat, its items made here, its runs in a folder."""
    files = {}
    for name, rows in (("arc_easy", QUESTIONS), ("gsm8k", SUMS)):
        files[f"benchmark-{name}"] = tmp_path / f"{name}.jsonl"
        files[f"benchmark-{name}"].write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    monkeypatch.setenv("QKLD_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(harness_tasks, "fetch", files.__getitem__)
    written = Benchmark(task="gsm8k", chance=0, prompt="chat", answer_tokens=20)
    return load_params("smoke").model_copy(update={"benchmarks": (Benchmark(task="arc_easy", chance=1 / 3), written)})


def found_of(script, params, model, *, limit=None, harness=None, kept=None):
    """The tasks' records of a study on a model, the harness's side by another where one is given."""
    few = script.limited(params, limit)
    with script.finished_run(params, model) as (table, made):
        script.check_like_with_like(params, model, made)
        own = replace(model, module=harness.module) if harness else model
        return list(script.checked(params, few, own, table, kept or {}))[-1]


def test_a_model_beside_itself_differs_nowhere(script, study, model):
    found = found_of(script, study, model)
    chosen, written = found["arc_easy"], found["gsm8k"]
    assert (chosen["items"], chosen["differences"], chosen["kind"], chosen["prompt"]) == (5, [], "choices", "plain")
    assert 0 < max(chosen["largest_difference"].values()) < 1e-4
    assert chosen["right"]["study"] == chosen["right"]["harness"]
    assert (written["items"], written["same_text"], written["differences"]) == (5, 5, [])
    assert (written["kind"], written["prompt"]) == ("written", "chat")
    assert written["prompt_tokens"] > sum(len(row["question"]) for row in SUMS)
    assert 5 < written["answer_tokens"] <= 5 * 20


def test_another_model_behind_the_harness_is_reported_and_not_explained(script, study, model):
    found = found_of(script, study, model, limit=3, harness=byte_model(model.tokenizer, 2))
    for task in found.values():
        assert task["items"] == len(task["differences"]) == 3
        assert not any(difference["explained"] for difference in task["differences"])


def test_tasks_of_an_earlier_record_are_kept_where_they_have_as_many_items(script, study, model, tmp_path):
    path, facts = tmp_path / "record.json", {"table_made_by": {"commit": "a"}}
    assert script.kept_tasks(path, facts) == {}
    path.write_text(json.dumps({**facts, "made_by": {}, "tasks": {"gsm8k": {"items": 3}, "arc_easy": {"items": 1}}}))
    assert script.kept_tasks(path, {"table_made_by": {"commit": "b"}}) == {}
    found = found_of(script, study, model, limit=2, kept=script.kept_tasks(path, facts))
    assert found["gsm8k"] == {"items": 3}
    assert (found["arc_easy"]["items"], found["arc_easy"]["differences"]) == (2, [])


def test_a_limit_takes_some_of_the_study_s_own_items(script, study):
    assert script.limited(study, None) is study
    few = script.limited(study, 2)
    whole, some = (harness_tasks.fetched_task(params.benchmarks[0]).items for params in (study, few))
    assert len(some) == 2
    assert set(some) < set(whole)


@pytest.mark.parametrize("change", [{"weights_sha256": "other"}, {"compute_dtype": torch.bfloat16}])
def test_a_table_of_another_model_or_dtype_is_refused(change, script, study, model):
    with pytest.raises(BenchmarkError, match="cannot be compared"):
        script.check_like_with_like(study, replace(model, **change), {"model": model.facts()})


def test_drawn_answers_are_refused(script, study, model):
    drawn = Benchmark(task="gsm8k", chance=0, answer_tokens=9, temperature=0.8)
    with pytest.raises(BenchmarkError, match="drawn in gsm8k"):
        script.check_like_with_like(study.model_copy(update={"benchmarks": (drawn,)}), model, {"model": model.facts()})


# --- choices ----------------------------------------------------------------------------------------------------------

CHOICE = {"correct": 1, "answer": 0, "right": 0, "logp_right": -3.0, "margin": 0.0004, "choice_entropy": 0.9}


@pytest.mark.parametrize(
    ("change", "explained"),
    [
        ({}, None),
        ({"logp_right": -3.0009}, None),
        ({"logp_right": -3.0011}, False),
        ({"margin": float("nan")}, False),
        ({"choice_entropy": 0.8}, False),
        ({"correct": 0, "answer": 1, "margin": -0.0004}, True),
        ({"correct": 0, "answer": 1, "margin": -0.0004, "lead": 0.1}, False),
        ({"correct": 0, "answer": 1, "logp_right": -3.5}, False),
        ({"right": 1}, False),
    ],
)
def test_choices_differ_beyond_the_tolerance_and_only_a_tie_is_explained(change, explained, script):
    ours = pd.DataFrame([CHOICE], index=["7"])
    theirs = pd.DataFrame([{**CHOICE, "lead": 0.0004, **change}], index=["7"])
    found = script.choice_differences(ours, theirs)
    assert [d["explained"] for d in found] == ([] if explained is None else [explained])
    assert all(d["item"] == "7" for d in found)


# --- written ----------------------------------------------------------------------------------------------------------


def answers(script, *tokens, prompt=PROMPT):
    """One answer for each of these token sequences, its text spelt out."""
    return [script.Answer(prompt, tuple(own), bytes(own).decode("latin1")) for own in tokens]


def tied(model, first, second):
    """The model with a head in which two tokens are alike, and by far the best."""
    other = byte_model(model.tokenizer, 1).module
    with torch.no_grad():
        best = other.base_model(torch.tensor([PROMPT])).last_hidden_state[0, -1]
        other.lm_head.weight[first] = other.lm_head.weight[second] = best
    return other


def test_answers_part_at_a_tie(script, model):
    ours, theirs = answers(script, b"ax", b"b")
    found = script.written_difference(ours, theirs, (True, False), tied(model, ord("a"), ord("b")))
    assert found == {
        "kind": "token",
        "explained": True,
        "place": 0,
        "correct": [True, False],
        "tokens": [ord("a"), ord("b")],
        "best": found["best"],
        "lead": pytest.approx(0, abs=1e-5),
    }
    assert set(found["best"]) == set(b"ab")


@pytest.mark.parametrize("pair", [(b"a", b"c"), (b"c", b"d")])
def test_a_token_that_is_not_of_the_two_best_is_not_explained(pair, script, model):
    found = script.written_difference(*answers(script, *pair), (True, True), tied(model, ord("a"), ord("b")))
    assert (found["kind"], found["explained"]) == ("token", False)


def test_a_clear_lead_explains_nothing(script, model):
    with torch.no_grad():
        logits = model.module(torch.tensor([[*PROMPT, ord("x")]])).logits[0, -1].numpy()
    second, first = np.argsort(logits)[-2:].tolist()
    found = script.written_difference(*answers(script, [ord("x"), first], [ord("x"), second]), (1, 1), model.module)
    assert (found["kind"], found["explained"], found["place"]) == ("token", False, 1)
    assert found["best"] == [first, second]
    assert found["lead"] == pytest.approx(logits[first] - logits[second], abs=1e-4)
    assert found["lead"] > script.TIE


def test_every_other_difference_is_named_and_not_explained(script, model):
    whole, short = answers(script, b"abc", b"ab")
    other = replace(whole, prompt=(*PROMPT, 32))
    kinds = {
        "prompt": (whole, other, (True, True)),
        "end": (whole, short, (True, True)),
        "verdict": (whole, whole, (True, False)),
    }
    for kind, arguments in kinds.items():
        found = script.written_difference(*arguments, model.module)
        assert (found["kind"], found["explained"]) == (kind, False)


def test_tokens_after_a_stop_text_are_no_difference(script, model):
    ours, theirs = answers(script, b"ab", b"ab\n\n")
    assert script.written_difference(ours, replace(theirs, text=ours.text), (False, False), model.module) is None
