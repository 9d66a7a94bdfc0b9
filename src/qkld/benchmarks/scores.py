"""A model's item table: the harness's score of every item, its margin, and its divergence from the reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lm_eval.evaluator import evaluate

from qkld.benchmarks.choices import choice_columns
from qkld.benchmarks.harness import NO_CHOICE, HarnessModel
from qkld.benchmarks.items import Item, distinct
from qkld.benchmarks.loading import LoadedTask, items_of, prompts_of
from qkld.benchmarks.packing import layout_name, split_into_packs
from qkld.benchmarks.reference_items import fetched_task, open_benchmark, open_written
from qkld.benchmarks.scoring import ItemScore, score_pack
from qkld.benchmarks.written import judged, model_answers, stored_items, written_rows
from qkld.divergence.floors import packed_tokens
from qkld.divergence.measuring import check_comparable, partial_key
from qkld.errors import BenchmarkError
from qkld.models import OpenedModel
from qkld.reference.store import LOCK_PATIENCE, ReferenceStore
from qkld.study.locks import locked
from qkld.study.params import Benchmark, Study
from qkld.study.paths import StudyPaths
from qkld.study.progress import steps
from qkld.study.schemas import ITEMS
from qkld.study.sealing import read_sealed, write_sealed

AGAIN = "delete it and run notebooks/03_benchmark_scores.ipynb again"


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
    table = pd.concat([_task_table(params, benchmark, model) for benchmark in params.benchmarks])
    if all(benchmark.repeats == 1 for benchmark in params.benchmarks):
        table = table.drop(columns="cluster", errors="ignore")  # every item is drawn by itself
    elif "cluster" in table:
        table["cluster"] = table["cluster"].fillna(table["item"])
    return ITEMS.checked(table.reindex(columns=[c for c in ITEMS.columns if c in {*table, *_REQUIRED}]))


_REQUIRED = tuple(name for name, column in ITEMS.columns.items() if not column.optional)


def _task_table(params: Study, benchmark: Benchmark, model: OpenedModel) -> pd.DataFrame:
    task = fetched_task(benchmark)
    layout = layout_name(model, params.benchmark_scores.pack_tokens)
    if task.judging is not None:
        return _written_table(params, task, layout, model)
    items = distinct(items_of(task, model.tokenizer))
    scores = _kept_scores(params, items, open_benchmark(params, task.name, layout, items), model, task.name)
    _report_unanswered(model.label, task.name, scores)
    return item_table(model.label, task, model.tokenizer, scores)


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


def _written_table(params: Study, task: LoadedTask, layout: str, model: OpenedModel) -> pd.DataFrame:
    """Rows of a task in which the model writes: its answers judged, beside its divergence on the reference's."""
    prompts = prompts_of(task, model.tokenizer)
    store = open_written(params, task, layout, prompts)
    items = stored_items(task.name, prompts, store.header.windows)
    scores = _kept_scores(params, list(items.values()), store, model, task.name)
    rows: list[dict[str, Any]] = []
    for repeat in range(task.benchmark.repeats):
        answers = model_answers(params.study, task.benchmark, prompts, model, repeat=repeat)
        correct = judged(task, model.tokenizer, prompts, answers)
        rows += written_rows(model.label, task, prompts, items, scores, answers, correct, repeat=repeat)
    return pd.DataFrame(rows)


def _report_unanswered(label: str, task: str, scores: dict[str, ItemScore]) -> None:
    """Print how many items the model has no answer to; refuse a model that answers none, because that is no score."""
    unanswered = sum(score.answer.choice == NO_CHOICE for score in scores.values())
    if unanswered == len(scores):
        raise BenchmarkError(
            f"'{label}' has no answer to any item of '{task}'.",
            expected="finite log-probabilities of an item's choices",
            found=f"{unanswered} of {len(scores)} items with a logit that is not finite",
            do="run the model in compute_dtype float32, or leave it out of the study",
        )
    if unanswered:
        print(f"{label} on {task}: {unanswered} of {len(scores)} items have a logit that is not finite; counted wrong")


def score_items(
    model: OpenedModel,
    items: Sequence[Item],
    store: ReferenceStore,
    folder: Path,
    *,
    pack_tokens: int,
    tile: int,
) -> dict[str, ItemScore]:
    """Request → score of the items that the store holds, in its order; finished packs are kept in the folder."""
    head = store.head.to(device=model.device)
    packs = split_into_packs(items, pack_tokens=pack_tokens, packing=model.supports_packing)
    scores: dict[str, ItemScore] = {}
    windows = iter(range(len(items)))
    with steps(f"{model.label} on {store.header.name}", len(items), unit="item") as progress:
        for number, pack in enumerate(packs):
            path, own = folder / f"{number:06d}.json", [next(windows) for _ in pack]
            if not path.exists():
                reference = [store.hidden(window) for window in own]
                fresh = score_pack(model, pack, reference, head, tile=tile)
                _save(path, pack, fresh)
            scores.update(_saved(path, pack))
            progress.advance(len(pack), tokens=sum(len(item.tokens) for item in pack))
    return scores


def _save(path: Path, pack: Sequence[Item], scores: Sequence[ItemScore]) -> None:
    write_sealed(path, {item.request: score.to_json() for item, score in zip(pack, scores, strict=True)})


def _saved(path: Path, pack: Sequence[Item]) -> dict[str, ItemScore]:
    values = read_sealed(path, do=AGAIN)
    try:
        return {item.request: ItemScore.from_json(values[item.request]) for item in pack}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BenchmarkError(
            f"{path} belongs to other items.",
            expected="the scores of this pack of items",
            found=f"{type(error).__name__}: {error}",
            do=AGAIN,
        ) from error


def item_table(label: str, task: LoadedTask, tokenizer: Any, scores: dict[str, ItemScore]) -> pd.DataFrame:
    """The harness's results on a task, one row an item, joined with the items' scores.

    The join starts from the harness's samples and looks each request up: items that ask the same share one score.
    An item with a choice that has no finite log-probability has no margin, `NO_CHOICE` as its answer, and is wrong.
    The harness would take the first such choice, so a broken model would be right wherever it is the right one.
    """
    asker = HarnessModel(tokenizer, lambda items: [scores[item.request].answer for item in items])
    found = evaluate(asker, {"tasks": {task.name: task.task}}, bootstrap_iters=0, apply_chat_template=task.in_chat)
    samples = found["samples"][task.name]
    return pd.DataFrame(_rows(label, task, asker, samples, scores))


def _rows(
    label: str, task: LoadedTask, asker: HarnessModel, samples: Sequence[dict[str, Any]], scores: dict[str, ItemScore]
) -> Iterator[dict[str, Any]]:
    for sample in samples:
        item = asker.item(str(task.items[sample["doc_id"]]), sample["arguments"])
        score = scores[item.request]
        right, correct = _checked(item, sample, task.metric)
        lengths = _lengths(task, sample["doc"])
        loglikelihood = np.array(score.answer.told)
        compared = loglikelihood if lengths is None else loglikelihood / lengths
        choice = NO_CHOICE if score.answer.choice == NO_CHOICE else int(np.argmax(compared))
        whole = None not in score.kl_choice
        yield {
            "model": label,
            "benchmark": task.name,
            "item": item.name,
            "request": item.request,
            "correct": 0 if choice == NO_CHOICE else correct,
            "metric": task.metric,
            "answer": choice,
            "right": right,
            "margin": compared[right] - np.delete(compared, right).max(),
            "kl_prompt": score.kl_prompt,
            "kl_choice_right": score.kl_choice[right],
            "kl_choice_mean": float(np.mean(score.kl_choice)) if whole else None,
            "prompt_tokens": len(item.prompt),
            "choice_tokens": len(item.tokens) - len(item.prompt),
            "nll_reference": score.nll_reference[right],
            "entropy_reference": score.entropy_reference[right],
            "nll_prompt": score.nll_prompt,
            "entropy_prompt": score.entropy_prompt,
            **choice_columns(
                loglikelihood, score.nll_reference, score.kl_choice, [len(c) for c in item.choices], right, lengths
            ),
        }


def _lengths(task: LoadedTask, document: dict[str, Any]) -> np.ndarray | None:
    """Characters of each choice, by which ``acc_norm`` divides as the harness counts them; None for ``acc``."""
    if task.metric != "acc_norm":
        return None
    lengths = np.array([float(len(choice)) for choice in task.task.doc_to_choice(document)])
    if not lengths.all():
        raise BenchmarkError(
            f"A choice of '{task.name}' is empty, so that acc_norm can not divide by its characters.",
            expected="a text for every choice",
            found=list(task.task.doc_to_choice(document)),
            do="mend the item's line, or write `metric: acc` for the benchmark",
        )
    return lengths


def _checked(item: Item, sample: dict[str, Any], metric: str) -> tuple[int, int]:
    """(the right choice, the harness's metric) of a sample, or a BenchmarkError where the task states neither."""
    right, correct = sample["target"], sample.get(metric)
    if not isinstance(right, int) or not 0 <= right < len(item.choices) or correct not in (0, 1):
        raise BenchmarkError(
            f"Item {item.name} has no single right choice, or its task reports no '{metric}'.",
            expected=f"one right choice below {len(item.choices)}, and {metric} 0 or 1",
            found=f"right choice {right!r}, {metric} {correct!r}",
            do="use a multiple-choice task with one right choice that reports it, or name another metric",
        )
    return right, int(correct)
