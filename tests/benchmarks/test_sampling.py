"""A sample of a benchmark costs what its items' tokens are, and scores as the reference's whole run of it does."""

from __future__ import annotations

import numpy as np
import pytest

from qkld.benchmarks.harness_tasks import fetched_task, items_of
from qkld.benchmarks.items import distinct, scored_items
from qkld.benchmarks.reference_items import record_benchmarks
from qkld.benchmarks.sampling import sample_benchmark
from qkld.benchmarks.stage import score_benchmarks

ARC = {"task": "arc_easy", "chance": 0.125}


@pytest.mark.parametrize("kld", ["prompts", "choices"])
def test_a_sample_of_all_items_scores_as_the_reference_does(study, tiny, kld):
    params = study(ARC)
    knobs = params.benchmark_scores.model_copy(update={"item_kld": kld})
    params = params.model_copy(update={"benchmark_scores": knobs})
    sample = sample_benchmark(params, params.benchmarks[0], tiny.reference, items=100)
    record_benchmarks(params, tiny.reference)
    table = score_benchmarks(params, tiny.reference)
    assert sample.score == pytest.approx(table["correct"].mean())
    assert sample.probability == pytest.approx(table["probability_right"].mean(), rel=1e-5)
    items = scored_items(distinct(items_of(fetched_task(params.benchmarks[0]), tiny.reference.tokenizer)), kld)
    assert sample.items == len(items)
    assert sample.tokens == np.mean([sum(item.run_lengths) for item in items])
    assert sample.head_tokens == np.mean([len(item.positions) for item in items])
    assert (sample.head_tokens < 0.8 * sample.tokens) == (kld == "choices")
    assert sample.seconds > 0


def test_a_sample_takes_as_many_items_as_asked(study, tiny):
    params = study(ARC)
    assert sample_benchmark(params, params.benchmarks[0], tiny.reference, items=3).items == 3
