"""The reference's own answers as items, and back from its store."""

import pytest

from qkld.benchmarks import harness_tasks
from qkld.benchmarks.harness_tasks import prompts_of
from qkld.benchmarks.reference_items import windows_of
from qkld.benchmarks.writing import Written
from qkld.benchmarks.writing.task_answers import answer_items, stored_items
from qkld.errors import BenchmarkError

SHORT = {"task": "gsm8k", "chance": 0.0, "answer_tokens": 9}


def test_items_come_back_from_the_store_s_windows(study, tiny):
    params = study(SHORT)
    prompts = prompts_of(harness_tasks.fetched_task(params.benchmarks[0]), tiny.reference.tokenizer)
    answers = {p.request: Written((5, int(p.name)), "", True) for p in prompts}
    items = answer_items(prompts, answers)
    windows = windows_of(items)
    assert list(stored_items("gsm8k", prompts, windows).values()) == items
    with pytest.raises(BenchmarkError, match="first at prompt 2"):
        stored_items("gsm8k", [*prompts[:2], prompts[3], prompts[2], *prompts[4:]], windows)
    with pytest.raises(BenchmarkError, match="first at prompt 5"):
        stored_items("gsm8k", prompts[:5], windows)


def test_a_reference_whose_answer_broke_off_is_refused(study, tiny):
    prompts = prompts_of(harness_tasks.fetched_task(study(SHORT).benchmarks[0]), tiny.reference.tokenizer)
    answers = {p.request: Written((5,), "", True, finite=p.name != "3") for p in prompts}
    with pytest.raises(BenchmarkError, match="none for items 3"):
        answer_items(prompts, answers)
