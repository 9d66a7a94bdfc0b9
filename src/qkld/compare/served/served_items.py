"""Items answered by a served model: the log-probability of every choice's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from qkld.benchmarks.harness import Answer
from qkld.benchmarks.harness_tasks import fetched_task, items_of
from qkld.benchmarks.item_table import item_table
from qkld.benchmarks.items import Item, distinct
from qkld.benchmarks.scoring import ItemScore
from qkld.compare.served.answered import FINGERPRINT, check_same_model
from qkld.compare.served.asking import Asker
from qkld.errors import BenchmarkError, ServerError
from qkld.study.params import Benchmark
from qkld.study.provenance import key_of
from qkld.study.schemas import ITEMS
from qkld.study.sealing import read_sealed, write_sealed


def score_served(asker: Asker, benchmarks: Sequence[Benchmark], partial: Path) -> pd.DataFrame:
    """Answers of a served model to tasks of multiple choice: a table of schema ``items``, without divergences.

    Every finished item is kept below ``partial``: after a server's end the same call goes on where it was. Tasks in
    which a model writes are left out, with a line that says so.

    Raises
    ------
    ServerError
        If the server does not answer, or gives no log-probability of a choice's own token.
    BenchmarkError
        If none of the tasks is one of multiple choice.
    """
    tables = []
    for benchmark in benchmarks:
        task = fetched_task(benchmark)
        if task.judging is not None:
            print(f"{asker.model.label}: '{task.name}' is left out, since the model has to write its answers")
            continue
        items = distinct(items_of(task, asker.tokenizer))
        scores = _scores(asker, items, partial / f"{task.name}-{key_of([asker.facts, asker.model.top_k])}")
        tables.append(item_table(asker.model.label, task, asker.tokenizer, scores))
    if not tables:
        raise BenchmarkError(
            "The study has no multiple-choice task for a served model.",
            expected="a task of multiple choice",
            found=", ".join(b.task for b in benchmarks),
            do="use another study",
        )
    table = pd.concat(tables)
    empty = [c for c in table if c in ITEMS.columns and ITEMS.columns[c].optional and table[c].isna().all()]
    return ITEMS.checked(table.drop(columns=empty))


def _scores(asker: Asker, items: Sequence[Item], folder: Path) -> dict[str, ItemScore]:
    """Request → score; finished items are kept in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    first = items[0]
    check_same_model(folder / FINGERPRINT, asker, first.prompt + first.choices[0], len(first.prompt) - 1)
    scores = {}
    for item in tqdm(items, desc=f"{asker.model.label}, served", unit="item"):
        path = folder / f"{item.request}.json"
        if not path.exists():
            write_sealed(path, {"score": score_item(asker, item).to_json()})
        kept = read_sealed(path, do="delete it and give the same command again")
        scores[item.request] = ItemScore.from_json(kept["score"])
    return scores


def score_item(asker: Asker, item: Item) -> ItemScore:
    """ln p of each choice given the prompt, nats; divergences and what the reference says are None.

    Raises
    ------
    ServerError
        If the server does not list a choice's own token.
    """
    found = [_choice(asker, item, choice) for choice in item.choices]
    nothing: tuple[Any, ...] = (None,) * len(item.choices)
    answer = Answer(tuple(value for value, _ in found), tuple(greedy for _, greedy in found))
    return ItemScore(answer, None, nothing, nothing, nothing, None, None)


def _choice(asker: Asker, item: Item, choice: Sequence[int]) -> tuple[float, bool]:
    """ln p of one choice, and whether each of its tokens is the most likely one listed."""
    start = len(item.prompt)
    listed = asker.lists(item.prompt + tuple(choice), range(start - 1, start - 1 + len(choice)))
    lacking = [token for token, own in zip(choice, listed, strict=True) if token not in own.values]
    if lacking:
        raise ServerError(
            f"The server of '{asker.model.label}' returns too few log-probabilities to score item {item.name}.",
            expected=f"that of every token of a choice, besides the {asker.model.top_k} most likely",
            found=f"none of token {lacking[0]}",
            do="ask for more with #model,top_k=N, or use a server that gives the prompt's own tokens (vLLM)",
        )
    values = [(own.values[token], max(own.values.values())) for token, own in zip(choice, listed, strict=True)]
    return sum(value for value, _ in values), all(value == most for value, most in values)
