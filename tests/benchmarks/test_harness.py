import numpy as np
import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from qkld.benchmarks.harness import Answer, HarnessModel
from qkld.benchmarks.harness_tasks import items_of, load_task
from qkld.benchmarks.items import distinct
from qkld.benchmarks.packing import hidden_states
from qkld.benchmarks.scoring import score_pack
from qkld.benchmarks.writing import Sampling, write_answers
from qkld.errors import BenchmarkError
from qkld.study.params import Benchmark


def requests(pairs, document=0):
    return [
        Instance("loglikelihood", {}, pair, number, metadata=("task", document, 1)) for number, pair in enumerate(pairs)
    ]


def answering(tokenizer):
    """A model whose answer to a choice is its number of tokens."""
    return HarnessModel(
        tokenizer,
        lambda items: [Answer(tuple(float(len(c)) for c in i.choices), (True,) * len(i.choices)) for i in items],
    )


def test_answers_come_back_in_the_order_of_the_requests(tokenizer):
    first, second = requests([("A", " b"), ("A", " bcd")], 0), requests([("C", " bc"), ("C", " bcde")], 1)
    mixed = [first[0], second[0], second[1], first[1]]
    assert [value for value, _ in answering(tokenizer).loglikelihood(mixed)] == [2.0, 3.0, 5.0, 4.0]


def test_an_empty_context_is_the_first_token_of_a_text(tokenizer):
    item = HarnessModel(tokenizer).item("0", [("", "ab"), ("", "c")])
    assert item.prompt == (tokenizer.bos_token_id,)
    assert [tokenizer.decode(c) for c in item.choices] == ["ab", "c"]


def test_spaces_at_the_end_of_a_context_go_to_the_choice(tokenizer):
    item = HarnessModel(tokenizer).item("0", [("So: ", "yes"), ("So: ", "no")])
    assert tokenizer.decode(item.prompt) == "So:"
    assert [tokenizer.decode(c) for c in item.choices] == [" yes", " no"]


def test_other_kinds_of_requests_are_refused(tokenizer):
    with pytest.raises(BenchmarkError, match="loglikelihood_rolling"):
        answering(tokenizer).loglikelihood_rolling([])


def writing_requests(contexts, **settings):
    return [
        Instance("generate_until", {}, (context, settings), 0, metadata=("task", number, 1))
        for number, context in enumerate(contexts)
    ]


def test_requests_to_write_become_prompts_and_texts_in_order(tokenizer):
    seen = []
    model = HarnessModel(tokenizer, write=lambda prompts: seen.extend(prompts) or [f"{len(p.tokens)}" for p in prompts])
    assert model.generate_until(writing_requests(["abc", "de"], until="x", max_gen_toks=9)) == ["3", "2"]
    assert [(p.name, p.stop, p.max_tokens) for p in seen] == [("0", ("x",), 9), ("1", ("x",), 9)]
    assert model.generate_until(writing_requests(["abc"], until=["x", "y"])) == ["3"]
    assert (seen[-1].stop, seen[-1].max_tokens) == (("x", "y"), 256)


def test_answers_equal_the_harness_own_model(tiny, tokenizer):
    asked = writing_requests(["abc", "Q: who?\nA:", "1 + 1 ="], until=["e", "Z"], max_gen_toks=20, do_sample=False)

    def write(prompts):
        answers = dict(write_answers(tiny.quant, prompts, Sampling()))
        return [answers[i].text for i in range(len(prompts))]

    theirs = HFLM(pretrained=tiny.quant.module, tokenizer=tokenizer, softmax_dtype="float32", batch_size=1)
    assert HarnessModel(tokenizer, write=write).generate_until(asked) == theirs.generate_until(asked, disable_tqdm=True)


def test_a_model_made_to_read_does_not_answer(tokenizer):
    with pytest.raises(BenchmarkError, match="read items"):
        HarnessModel(tokenizer).loglikelihood(requests([("A", " b")]))


def test_log_likelihoods_equal_the_harness_own_model(tiny, tokenizer, write_lines, arc_rows):
    task = load_task(Benchmark(task="arc_easy", chance=0.125), write_lines(arc_rows))
    items = distinct(items_of(task, tokenizer))
    scores = score_pack(tiny.quant, items, hidden_states(tiny.reference, items), tiny.reference.head, tile=100)
    answers = {item.request: score.answer for item, score in zip(items, scores, strict=True)}
    ours = HarnessModel(tokenizer, lambda asked: [answers[i.request] for i in asked])
    theirs = HFLM(pretrained=tiny.quant.module, tokenizer=tokenizer, softmax_dtype="float32", batch_size=8)
    mine, harness = ours.loglikelihood(task.task.instances), theirs.loglikelihood(task.task.instances)
    np.testing.assert_allclose([v for v, _ in mine], [v for v, _ in harness], atol=1e-3)
    assert [g for _, g in mine] == [g for _, g in harness]
