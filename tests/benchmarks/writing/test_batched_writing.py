"""Answers do not depend on the batch, the batch's padding, or on what else is asked; and end where they should."""

from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from tiny_models import stored
from transformers import GenerationConfig

from qkld.benchmarks.writing import Prompt, Sampling, batched_writing, write_answers
from qkld.benchmarks.writing.batched_writing import POSITIONS_AT_ONCE, batches
from qkld.benchmarks.writing.prompts import cut, end_tokens
from qkld.errors import BenchmarkError
from qkld.models import OpenedModel, open_model
from qkld.sources.windows import ANSWERS_AT_ONCE
from qkld.study.params import load_params
from validation import architectures

GREEDY = Sampling()
DRAWN = Sampling(temperature=1.3, seed=5)


def together(model, prompts, sampling=GREEDY):
    answers = dict(write_answers(model, prompts, sampling))
    return [answers[i] for i in range(len(prompts))]


def one_at_a_time(model, prompts, sampling=GREEDY):
    return [together(model, [prompt], sampling)[0] for prompt in prompts]


def without_cache(model, prompt, sampling=GREEDY):
    """The definition: each token by a pass over all that stands before it, alone; the argmax, or a Gumbel-max draw."""
    rng, tokens = sampling.stream(prompt), []
    while len(tokens) < prompt.max_tokens:
        with torch.no_grad():
            logits = model.module(torch.tensor([[*prompt.tokens, *tokens]])).logits[0, -1].double().numpy()
        if sampling.temperature:
            logits = logits / sampling.temperature + rng.gumbel(size=len(logits))
        tokens.append(int(logits.argmax()))
        text = model.tokenizer.decode(tokens, skip_special_tokens=True)
        if tokens[-1] == model.tokenizer.eos_token_id or any(stop in text for stop in prompt.stop):
            break
    return tuple(tokens)


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_a_batch_of_different_lengths_writes_what_each_prompt_gives_alone(model, prompts, sampling):
    batched = together(model, prompts, sampling)
    assert len({len(w.tokens) for w in batched}) > 3, "rows have to leave the batch at different steps"
    assert batched == one_at_a_time(model, prompts, sampling)
    assert [w.tokens for w in batched] == [without_cache(model, p, sampling) for p in prompts]


def test_the_order_of_the_prompts_changes_no_answer(model, prompts, rng):
    order = rng.permutation(len(prompts))
    shuffled = together(model, [prompts[i] for i in order], DRAWN)
    assert [shuffled[int(np.flatnonzero(order == i)[0])] for i in range(len(prompts))] == together(
        model, prompts, DRAWN
    )


def test_architectures_without_padding_are_run_by_length_and_write_the_same(model, prompts):
    plain = replace(model, supports_packing=False)
    groups = batches(prompts, padding=False)
    assert all(len({len(prompts[i].tokens) for i in group}) == 1 for group in groups)
    assert max(map(len, groups)) == 2
    assert together(plain, prompts) == together(model, prompts)


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_an_engine_without_a_cache_writes_the_same(model, prompts, sampling):
    class Engine(OpenedModel):
        def hidden(self, input_ids, **_):
            return model.hidden(input_ids)

    engine = Engine(**{field.name: getattr(model, field.name) for field in fields(model)} | {"module": None})
    assert together(engine, prompts[:3], sampling) == together(model, prompts[:3], sampling)


def test_a_tie_is_decided_by_the_row_alone(model, prompts, monkeypatch):
    """With a lead that no step has, every step is decided alone; with none, no step is. Here both give the same."""
    alone = Counter()
    decide = batched_writing._decided_alone
    monkeypatch.setattr(batched_writing, "_decided_alone", lambda *given: (alone.update(n=1), decide(*given))[1])
    whole = together(model, prompts)
    few = alone["n"]
    monkeypatch.setitem(batched_writing.LEAD, torch.float32, float("inf"))
    assert together(model, prompts) == whole
    assert alone["n"] - few == sum(len(w.tokens) for w in whole)
    assert few < 0.05 * sum(len(w.tokens) for w in whole)


def test_equal_logits_give_the_first_token(model, prompts):
    flat = replace(model, head=replace(model.head, weight=torch.zeros_like(model.head.weight)))
    assert all(set(w.tokens) == {0} for w in together(flat, prompts[1:3]))


def test_greedy_answers_are_those_of_transformers(model, prompts):
    wanted = GenerationConfig(do_sample=False, max_new_tokens=12, eos_token_id=256, pad_token_id=256)
    for prompt in prompts[3:6]:
        ids = torch.tensor([prompt.tokens])
        own = model.module.generate(ids, attention_mask=torch.ones_like(ids), generation_config=wanted)
        plain = replace(prompt, stop=(), max_tokens=12)
        assert together(model, [plain])[0].tokens == tuple(own[0, len(prompt.tokens) :].tolist())


def test_answers_end_at_their_stop_text_their_end_token_or_their_length(model, monkeypatch):
    prompt = Prompt("0", (5, 6, 7), (), 12)
    (long,) = together(model, [prompt])
    assert long.truncated
    assert len(long.tokens) == 12
    stop = model.tokenizer.decode(long.tokens[4:6])
    (stopped,) = together(model, [replace(prompt, stop=(stop,))])
    assert not stopped.truncated
    assert stopped.text == long.text.split(stop)[0]
    assert stopped.tokens == long.tokens[: len(stopped.tokens)]
    monkeypatch.setattr(model.module.generation_config, "eos_token_id", [256, long.tokens[3]])
    (ended,) = together(model, [prompt])
    assert not ended.truncated
    assert ended.tokens == long.tokens[: long.tokens.index(long.tokens[3]) + 1]


def test_texts_are_cut_at_the_first_of_several_stops():
    assert cut("one. two\nthree", ("\n", ". ")) == "one"
    assert cut("one", ("\n", "")) == "one"


def test_end_tokens_are_the_tokenizer_s_and_the_generation_config_s(model):
    assert end_tokens(model.tokenizer, model.module) == {256}
    assert end_tokens(model.tokenizer, type("M", (), {"generation_config": None})()) == {256}


def test_draws_follow_the_model_s_distribution(model):
    """First tokens of many streams: each token's share is its probability at this temperature, within 4.5 errors."""
    prompt, draws = Prompt("0", (9, 8, 7, 6), (), 1), 3000
    with torch.no_grad():
        logits = model.module(torch.tensor([prompt.tokens])).logits[0, -1].double()
    p = (logits / 0.8).softmax(dim=-1).numpy()
    counts = np.zeros(len(p))
    for repeat in range(draws):
        noise = Sampling(0.8, seed=1, repeat=repeat).stream(prompt).gumbel(size=len(p))
        counts[int(batched_writing._scores(logits, 0.8, noise).argmax())] += 1
    assert np.all(np.abs(counts - draws * p) <= 4.5 * np.sqrt(draws * p * (1 - p)) + 1)


def test_seeds_and_repeats_draw_anew_and_global_generators_stay(model, prompts):
    before = torch.random.get_rng_state()
    first = together(model, prompts[:6], DRAWN)
    assert together(model, prompts[:6], DRAWN) == first
    assert together(model, prompts[:6], replace(DRAWN, seed=6)) != first
    assert together(model, prompts[:6], replace(DRAWN, repeat=1)) != first
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_logit_that_is_not_finite_ends_that_answer_alone(model, prompts):
    prompt, other = Prompt("0", (5, 6, 7), (), 8), prompts[4]
    (whole,) = together(model, [prompt])
    weight = model.module.model.embed_tokens.weight
    kept = weight[whole.tokens[2]].clone()
    with torch.no_grad():
        weight[whole.tokens[2]] = torch.nan
    try:
        broken, beside = together(model, [prompt, replace(other, tokens=(1, 2))])
    finally:
        with torch.no_grad():
            weight[whole.tokens[2]] = kept
    assert (broken.finite, broken.truncated) == (False, True)
    assert len(broken.tokens) <= 3
    assert beside.finite or whole.tokens[2] in beside.tokens


def test_batches_are_bounded_and_hold_every_prompt_once():
    prompts = [Prompt(str(i), (1,) * (1 + i % 90), (), 400) for i in range(150)]
    groups = batches(prompts, padding=True)
    assert sorted(i for group in groups for i in group) == list(range(150))
    assert max(map(len, groups)) <= ANSWERS_AT_ONCE
    for group in groups:
        assert len(group) * (max(len(prompts[i].tokens) for i in group) + 400) <= POSITIONS_AT_ONCE


def test_what_does_not_fit_is_refused(model):
    with pytest.raises(BenchmarkError, match=r"Item 7 does not fit(.|\n)*2000 \+ 49"):
        list(write_answers(model, [Prompt("7", (1,) * 2000, (), 49)], GREEDY))
    with pytest.raises(BenchmarkError, match="Item 3 cannot be continued"):
        Prompt("3", (), (), 5)


@pytest.mark.parametrize(
    ("model_type", "goes_on"),
    [
        ("rwkv", False),
        ("cpmant", False),
        ("xlnet", False),
        ("recurrent_gemma", True),
        ("jamba", True),
        ("mamba2", True),
    ],
)
def test_classes_with_caches_of_their_own_write_what_whole_passes_give(model_type, goes_on, tmp_path):
    script = architectures
    script.save_small(model_type, tmp_path)
    entry = stored(tmp_path)
    opened = open_model(entry, reference=entry, compute=load_params("smoke").compute)
    assert batched_writing.goes_on_from_cache(opened) is goes_on
    asked = [Prompt("a", (1, 40, 41, 42, 43, 44), (), 6), Prompt("b", (1, 50, 60, 70, 80, 90, 100, 110), (), 6)]
    assert [w.tokens for w in together(opened, asked)] == [by_whole_passes(opened, p) for p in asked]


def by_whole_passes(model, prompt):
    """The definition over the tokenizer's own rows of the head."""
    tokens = []
    while len(tokens) < prompt.max_tokens:
        states = model.hidden(torch.tensor([[*prompt.tokens, *tokens]]))[0, -1]
        tokens.append(int(model.head.logits(states).argmax()))
        if tokens[-1] == model.tokenizer.eos_token_id:
            break
    return tuple(tokens)
