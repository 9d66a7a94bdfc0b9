import numpy as np
import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from qkld.benchmarks.harness import Answer, HarnessModel
from qkld.benchmarks.items import distinct
from qkld.benchmarks.loading import items_of, load_task
from qkld.benchmarks.packing import hidden_states
from qkld.benchmarks.scoring import score_pack
from qkld.errors import BenchmarkError
from qkld.params import Benchmark


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


@pytest.mark.parametrize("kind", ["generate_until", "loglikelihood_rolling"])
def test_other_kinds_of_requests_are_refused(tokenizer, kind):
    with pytest.raises(BenchmarkError, match=kind):
        getattr(answering(tokenizer), kind)([])


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
