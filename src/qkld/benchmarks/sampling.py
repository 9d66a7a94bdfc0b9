"""A few items of a study's benchmarks, run by the reference alone: what an item costs, and what is scored."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import torch

from qkld.benchmarks.harness_tasks import fetched_task, items_of
from qkld.benchmarks.item_table import item_table
from qkld.benchmarks.items import Item, distinct, scored_items
from qkld.benchmarks.packing import hidden_states, split_into_packs
from qkld.benchmarks.scoring import ItemScore, score_states
from qkld.models import OpenedModel, open_model
from qkld.study.params import Benchmark, Study
from qkld.study.samples import Sample


def sample_benchmark(params: Study, benchmark: Benchmark, model: OpenedModel, *, items: int) -> Sample:
    """Run the reference on some items of a benchmark of choices, and beside itself as a quant is run beside it.

    Raises
    ------
    BenchmarkError
        As `items_of`.
    """
    task = fetched_task(benchmark.model_copy(update={"limit": items}))
    own = scored_items(distinct(items_of(task, model.tokenizer)), params.benchmark_scores.item_kld)
    _score(params, model, own[:1])  # what is compiled or read at first use is no item's cost
    start = time.process_time()
    scores = _score(params, model, own)
    seconds = time.process_time() - start  # not of what else the machine does
    return _summary(own, item_table(model.label, task, model.tokenizer, scores), seconds)


def sample_study(params: Study, *, items: int) -> dict[str, Sample]:
    """Task → its sample, of every benchmark whose answers are chosen; on one thread, as a study's jobs are run.

    Raises
    ------
    QkldError
        If the reference cannot be opened or a benchmark not be loaded.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = open_model(params.reference, reference=params.reference, compute=params.compute)
        chosen = [b for b in params.benchmarks if b.answer_tokens is None]
        return {b.task: sample_benchmark(params, b, model, items=items) for b in chosen}
    finally:
        torch.set_num_threads(threads)


def _score(params: Study, model: OpenedModel, items: list[Item]) -> dict[str, ItemScore]:
    """Scores of the items by their request, pack by pack."""
    scores: dict[str, ItemScore] = {}
    pack_tokens = params.benchmark_scores.pack_tokens
    with torch.inference_mode():
        for pack in split_into_packs(items, pack_tokens=pack_tokens, packing=model.supports_packing):
            states = hidden_states(model, pack)
            tile = params.compute.vocabulary_tile
            fresh = score_states(pack, states, model.head, states, model.head, tile=tile)
            scores |= {item.request: score for item, score in zip(pack, fresh, strict=True)}
    return scores


def _summary(items: list[Item], table: pd.DataFrame, seconds: float) -> Sample:
    return Sample(
        items=len(items),
        tokens=float(np.mean([item.run.sum() for item in items])),
        head_tokens=float(np.mean([len(item.positions) for item in items])),
        seconds=seconds / len(items),
        score=float(table["correct"].mean()),
        probability=float(table["probability_right"].mean()),
    )
