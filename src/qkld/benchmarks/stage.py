"""Stage 03: one model on every benchmark of a study, a table of items a task.

A task is loaded (`harness_tasks`), held against the reference's store of the same items (`reference_items`), run pack
by pack (`packing`, `scoring`) and told in rows (`item_table`). Where the model writes, its answers are kept (`writing`)
and judged (`judging`) between the last two.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from qkld.benchmarks.harness import NO_CHOICE
from qkld.benchmarks.harness_tasks import LoadedTask, fetched_task, items_of, prompts_of
from qkld.benchmarks.item_table import item_table, written_rows
from qkld.benchmarks.items import Item, distinct, scored_items
from qkld.benchmarks.judging.correctness import judged
from qkld.benchmarks.packing import layout_name
from qkld.benchmarks.reference_items import open_benchmark, open_written
from qkld.benchmarks.scoring import ItemScore, score_items
from qkld.benchmarks.writing.task_answers import model_answers, stored_items
from qkld.divergence.floors import packed_tokens
from qkld.divergence.measuring import check_comparable, partial_key
from qkld.errors import BenchmarkError
from qkld.models import OpenedModel
from qkld.reference.store import ReferenceStore
from qkld.study.locks import LOCK_PATIENCE, locked
from qkld.study.params import Study
from qkld.study.paths import StudyPaths
from qkld.study.precision import rounded_table
from qkld.study.schemas import ITEMS


def score_benchmarks(params: Study, model: OpenedModel) -> pd.DataFrame:
    """Score a model on every benchmark of the study: a table of schema ``items``.

    Every finished pack of items is kept below `StudyPaths.partial`: a killed run goes on where it was, and a task
    that is added later leaves the others as they are.

    Raises
    ------
    BenchmarkError
        If a task is unknown or has no items, the items are not the reference's, or the model answers none of a task's.
    StageError
        If notebook 01 has not run the reference on a task.
    """
    table = pd.concat([_task_table(params, fetched_task(benchmark), model) for benchmark in params.benchmarks])
    if all(benchmark.repeats == 1 for benchmark in params.benchmarks):
        table = table.drop(columns="cluster", errors="ignore")  # every item is drawn by itself
    elif "cluster" in table:
        table["cluster"] = table["cluster"].fillna(table["item"])
    required = {name for name, column in ITEMS.columns.items() if not column.optional}
    table = table.reindex(columns=[c for c in ITEMS.columns if c in {*table, *required}])
    return rounded_table(ITEMS.checked(table), params.significant_bits)


def _task_table(params: Study, task: LoadedTask, model: OpenedModel) -> pd.DataFrame:
    told = _chosen_table if task.judging is None else _written_table
    return told(params, task, layout_name(model, params.benchmark_scores), model)


def _chosen_table(params: Study, task: LoadedTask, layout: str, model: OpenedModel) -> pd.DataFrame:
    """Rows of a task of multiple choice: the harness's results beside the divergence on prompt and choices."""
    items = scored_items(distinct(items_of(task, model.tokenizer)), params.benchmark_scores.item_kld)
    scores = _kept_scores(params, items, open_benchmark(params, task.name, layout, items), model, task.name)
    _report_unanswered(model.label, task.name, scores)
    return item_table(model.label, task, model.tokenizer, scores)


def _written_table(params: Study, task: LoadedTask, layout: str, model: OpenedModel) -> pd.DataFrame:
    """Rows of a task in which the model writes: its answers judged, beside its divergence on the reference's."""
    prompts = prompts_of(task, model.tokenizer)
    store = open_written(params, task, layout, prompts)
    items = stored_items(task.name, prompts, store.header.windows)
    asked = scored_items(items.values(), params.benchmark_scores.item_kld)
    scores = _kept_scores(params, asked, store, model, task.name)
    rows = []
    for repeat in range(task.benchmark.repeats):
        answers = model_answers(params.study, task.benchmark, prompts, model, repeat=repeat)
        correct = judged(task, model.tokenizer, prompts, answers)
        rows += written_rows(model.label, task, prompts, items, scores, answers, correct, repeat=repeat)
    return pd.DataFrame(rows)


def _kept_scores(
    params: Study, items: Sequence[Item], store: ReferenceStore, model: OpenedModel, task: str
) -> dict[str, ItemScore]:
    """Scores of the items that a store holds; finished packs are kept below `StudyPaths.partial`."""
    check_comparable(store, model)
    key = partial_key(store, model, prompt_statistics=1)
    folder = StudyPaths(params.study).partial / "items" / model.label / f"{task}-{key}"
    pack_tokens, tile = packed_tokens(params, model.label), params.compute.vocabulary_tile
    with locked(folder / ".lock", patience=LOCK_PATIENCE):
        return score_items(model, items, store, folder, pack_tokens=pack_tokens, tile=tile)


def _report_unanswered(label: str, task: str, scores: dict[str, ItemScore]) -> None:
    """Print how many items the model has no answer to; refuse a model that answers none, because that is no score."""
    unanswered = sum(score.answer.choice == NO_CHOICE for score in scores.values())
    if unanswered == len(scores):
        raise BenchmarkError(
            f"'{label}' has no valid answer to any item of '{task}'.",
            expected="finite log-probabilities of an item's choices",
            found=f"{unanswered} of {len(scores)} items with a logit that is not finite",
            do="run the model in compute_dtype float32, or leave it out of the study",
        )
    if unanswered:
        print(f"{label} on {task}: {unanswered} of {len(scores)} items have a logit that is not finite; counted wrong")
