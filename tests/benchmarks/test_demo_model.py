"""On the demo model and real items: equal to the harness's own model, and the two stages end to end."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM

from qkld.benchmarks.harness_tasks import items_of, load_task, prompts_of
from qkld.benchmarks.item_table import item_table
from qkld.benchmarks.items import distinct
from qkld.benchmarks.judging.correctness import judged
from qkld.benchmarks.packing import hidden_states, split_into_packs
from qkld.benchmarks.reference_items import record_benchmarks
from qkld.benchmarks.scoring import score_states
from qkld.benchmarks.stage import score_benchmarks
from qkld.benchmarks.writing import Sampling, write_answers
from qkld.benchmarks.writing.batched_writing import LEAD, _left_padded
from qkld.benchmarks.writing.prompts import end_tokens
from qkld.models import open_model
from qkld.models.attention import torchs_attention
from qkld.sources import fetch
from qkld.study.knobs import with_knobs
from qkld.study.params import Benchmark, load_params
from qkld.study.paths import StudyPaths
from qkld.study.schemas import ITEMS

pytestmark = pytest.mark.model

ITEMS_A_TASK = 15
ITEMS_DRAWN = 600
"""The shortest of so many: the harness's own model runs every choice with its whole prompt, which is slow."""


@pytest.fixture(scope="module")
def smoke():
    return load_params("smoke")


@pytest.fixture(scope="module")
def reference(smoke):
    return open_model(smoke.reference, reference=smoke.reference, compute=smoke.compute)


def short_items(name, folder):
    lines = [line for line in fetch(f"benchmark-{name}").read_text(encoding="utf-8").split("\n") if line]
    lines = lines[:: max(1, len(lines) // ITEMS_DRAWN)]
    data = folder / f"{name}.jsonl"
    data.write_text("\n".join(sorted(lines, key=len)[:ITEMS_A_TASK]), encoding="utf-8")
    return load_task(Benchmark(task=name, chance=0.25), data)


CHOSEN = (
    *("arc_easy", "boolq", "commonsense_qa", "copa", "hellaswag", "mmlu", "openbookqa", "piqa", "sciq"),
    "social_iqa",
)
"""Tasks of multiple choice; the others are written."""


@pytest.mark.long
@pytest.mark.parametrize("name", CHOSEN)
def test_every_item_is_judged_as_by_the_harness_own_model(name, reference, tmp_path):
    task = short_items(name, tmp_path)
    items = distinct(items_of(task, reference.tokenizer))
    hidden = [
        states
        for pack in split_into_packs(items, pack_tokens=512, packing=True)
        for states in hidden_states(reference, pack)
    ]
    scores = score_states(items, hidden, reference.head, hidden, reference.head, tile=8192)
    ours = item_table("ours", task, reference.tokenizer, {i.request: s for i, s in zip(items, scores, strict=True)})
    own = HFLM(pretrained=reference.module, tokenizer=reference.tokenizer, softmax_dtype="float32", batch_size=4)
    theirs = evaluate(own, {"tasks": {task.name: task.task}}, bootstrap_iters=0)["samples"][task.name]
    assert set(ours["metric"]) == {task.metric}
    assert (task.metric == "acc_norm") == (name in ("hellaswag", "openbookqa", "piqa"))
    for metric in {"acc", "acc_norm"} & set(theirs[0]):
        asked = replace(task, benchmark=task.benchmark.model_copy(update={"metric": metric}))
        table = item_table(
            "ours", asked, reference.tokenizer, {i.request: s for i, s in zip(items, scores, strict=True)}
        )
        assert list(table["correct"]) == [int(sample[metric]) for sample in theirs]
        assert ((table["margin"] > 0) == (table["correct"] == 1)).all()
    answers = {item.request: score.answer for item, score in zip(items, scores, strict=True)}
    for request, sample in zip(ours["request"], theirs, strict=True):
        harness = [response[0] for response in sample["filtered_resps"]]
        np.testing.assert_allclose(answers[request].loglikelihood, harness, atol=1e-3)


def chats(reference, folder, lengths):
    """Real prompts of different lengths in SmolLM2's own chat template, with answers of at most these many tokens."""
    rows = [{"question": "Why? " * n + "What is 17 + 26?", "answer": "#### 43"} for n in range(len(lengths))]
    data = folder / "gsm8k.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = load_task(Benchmark(task="gsm8k", chance=0.0, prompt="chat"), data)
    found = prompts_of(task, reference.tokenizer)
    return task, [replace(p, max_tokens=n) for p, n in zip(found, lengths, strict=True)]


def test_a_chat_is_made_of_control_tokens(reference, tmp_path):
    _, (prompt,) = chats(reference, tmp_path, [1])
    start, end = (reference.tokenizer.convert_tokens_to_ids(f"<|im_{side}|>") for side in ("start", "end"))
    assert (prompt.tokens.count(start), prompt.tokens.count(end)) == (
        3,
        2,
    )  # of system, user, assistant
    assert prompt.tokens[0] == start
    assert end in end_tokens(reference.tokenizer, reference.module)
    assert len(prompt.tokens) == len(reference.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Q: What is 17 + 26?\nA: Let's think step by step."}],
        add_generation_prompt=True, return_dict=True)["input_ids"])  # fmt: skip


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.8, seed=3)], ids=["greedy", "drawn"])
def test_answers_of_a_batch_are_those_of_each_prompt_alone(sampling, reference, tmp_path):
    _, prompts = chats(reference, tmp_path, [6, 3, 8, 5])
    batched = dict(write_answers(reference, prompts, sampling))
    assert [batched[i] for i in range(4)] == [next(write_answers(reference, [p], sampling))[1] for p in prompts]


def test_a_batch_changes_logits_by_far_less_than_the_lead_that_is_asked_for(reference, tmp_path):
    _, prompts = chats(reference, tmp_path, [1] * 4)
    ids, seen = _left_padded([p.tokens for p in prompts], pad=0)
    positions = (seen.cumsum(dim=1) - 1).clamp(min=0)

    def largest_difference():
        together = reference.hidden(ids, attention_mask=seen, position_ids=positions)[:, -1]
        alone = torch.stack([reference.hidden(torch.tensor([p.tokens]))[0, -1] for p in prompts])
        return (reference.head.logits(together) - reference.head.logits(alone)).abs().max()

    with torchs_attention(reference.module):
        assert 0 < largest_difference() < LEAD[torch.float32] / 10
    assert largest_difference() < LEAD[torch.float32] / 10  # in blocks it may be none


def test_greedy_answers_equal_the_harness_own_model_and_get_its_verdicts(reference, tmp_path):
    task, _ = chats(reference, tmp_path, [1, 1])
    task.task.config.generation_kwargs["max_gen_toks"] = 12
    prompts = prompts_of(task, reference.tokenizer)
    written = dict(write_answers(reference, prompts, Sampling()))
    own = HFLM(pretrained=reference.module, tokenizer=reference.tokenizer, batch_size=1)
    theirs = evaluate(own, {"tasks": {task.name: task.task}}, bootstrap_iters=0, apply_chat_template=True)
    samples = [s for s in theirs["samples"][task.name] if s["filter"] == task.judging.filter]
    assert [written[i].text for i in range(2)] == [s["resps"][0][0] for s in samples]
    answers = {prompt.request: written[i] for i, prompt in enumerate(prompts)}
    assert judged(task, reference.tokenizer, prompts, answers) == [int(s["exact_match"]) for s in samples]


def test_rows_of_a_batch_give_what_packs_give(reference, tmp_path):
    items = distinct(items_of(short_items("openbookqa", tmp_path), reference.tokenizer))[:4]
    packed, rows = (hidden_states(replace(reference, supports_packing=p), items) for p in (True, False))
    for mine, other in zip(packed, rows, strict=True):
        np.testing.assert_allclose(mine, other, atol=2e-3)


def test_both_stages_and_a_task_added_later(smoke, reference, tmp_path, monkeypatch):
    monkeypatch.setenv("QKLD_RUNS", str(tmp_path))
    tasks = [Benchmark(task=task, chance=0.25, limit=limit) for task, limit in (("openbookqa", 4), ("arc_easy", 2))]
    one, both = (with_tasks(smoke, tasks[:n]) for n in (1, 2))
    record_benchmarks(one, reference)
    first = score_benchmarks(one, reference)
    partial = StudyPaths(smoke.study).partial / "items" / reference.label
    kept = {path: path.stat().st_mtime_ns for path in partial.rglob("*.json")}
    record_benchmarks(both, reference)
    table = score_benchmarks(both, reference)
    assert kept
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert table[table["benchmark"] == "openbookqa"].equals(first)
    assert table.groupby("benchmark").size().to_dict() == {"arc_easy": 2, "openbookqa": 4}
    assert table[["kl_prompt", "kl_choice_right", "kl_choice_mean"]].abs().to_numpy().max() <= 1e-12
    assert ITEMS.checked(table).equals(table)
    seal = StudyPaths(smoke.study).benchmarks_seal.read_bytes()
    record_benchmarks(both, reference)
    assert StudyPaths(smoke.study).benchmarks_seal.read_bytes() == seal
    assert set(json.loads(seal)["benchmarks"]) == {"arc_easy", "openbookqa"}


def with_tasks(study, tasks):
    pack = with_knobs(study, "03_benchmark_scores", **{**study.compute.model_dump(), "pack_tokens": 80})
    return pack.model_copy(update={"benchmarks": tuple(tasks)})
