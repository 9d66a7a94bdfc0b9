"""Items in rounds: the reference and the files that are still open answer the next items, until all are decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from qkld.benchmarks.harness_tasks import LoadedTask, items_of, load_task
from qkld.benchmarks.item_table import item_table
from qkld.benchmarks.items import Item, distinct, scored_items
from qkld.benchmarks.packing import layout_name
from qkld.benchmarks.reference_items import items_header, record_items
from qkld.benchmarks.scoring import score_items
from qkld.divergence.measuring import check_comparable, partial_key
from qkld.divergence.per_token import TILE
from qkld.models import OpenedModel
from qkld.reference.store import ReferenceStore
from qkld.sources import fetch
from qkld.statistics.flips.direction import differences, flip_counts
from qkld.statistics.items.paired_means import Moved
from qkld.statistics.items.probability import PROBABILITY, Score, probability_differences
from qkld.statistics.items.scores import correct_matrix
from qkld.statistics.rounds.deciding import CHOSEN
from qkld.statistics.rounds.looks import Look, accuracy_look, mean_look
from qkld.statistics.rounds.spending import SpendingRule
from qkld.study.params import Benchmark, BenchmarkScores
from qkld.study.parquet import read_parquet, write_parquet
from qkld.study.texts import json_lines

REFERENCE = "reference"
LAYOUT = BenchmarkScores(pack_tokens=512, item_kld="choices")
"""How items are run: KLD comes from the text, so prompts are not scored."""

KEPT = ("model", "benchmark", "item", "correct", PROBABILITY)
"""Columns that are kept of an item's row."""


LEAST_ITEMS = 200
"""Items of the first round, as simulated: with heavy-tailed changes, tests of ten or twenty are wrong too often."""


class Round(NamedTuple):
    """One round: its number from 0, and the lines of each task's file that are new in it."""

    number: int
    lines: Mapping[str, tuple[int, ...]]

    @property
    def items(self) -> int:
        return sum(map(len, self.lines.values()))


def rule_of(items: int) -> SpendingRule:
    """`CHOSEN` for so many items in all: its rounds from the first one on that ends with `LEAST_ITEMS`."""
    shares = tuple(share for share in CHOSEN.shares if share * items >= LEAST_ITEMS)
    return SpendingRule(CHOSEN.name, shares or (1.0,), CHOSEN.spending)


def planned_rounds(sizes: Mapping[str, int], *, seed: int) -> tuple[Round, ...]:
    """Rounds over tasks with so many items each: every task gives the same share of its items, in a drawn order.

    The order depends on the seed and the task's size alone, so that a later run has the same rounds.
    """
    orders = {task: np.random.default_rng(seed).permutation(size) for task, size in sizes.items()}
    shares = rule_of(sum(sizes.values())).shares
    ends = [{task: round(share * size) for task, size in sizes.items()} for share in shares]
    begins = [dict.fromkeys(sizes, 0), *ends[:-1]]
    return tuple(
        Round(n, {task: tuple(sorted(map(int, order[begin[task] : end[task]]))) for task, order in orders.items()})
        for n, (begin, end) in enumerate(zip(begins, ends, strict=True))
    )


def items_there(tasks: Sequence[str], limit: int | None) -> dict[str, int]:
    """Items of each task's file, at most ``limit``."""
    found = {}
    for task in tasks:
        lines = sum(1 for _ in json_lines(fetch(f"benchmark-{task}"), error=ValueError, expected="JSON lines"))
        found[task] = min(lines, limit or lines)
    return found


@dataclass
class ItemRun:
    """Answers of models to the items of rounds, kept below ``folder``: what was answered is read and not run again."""

    folder: Path
    rounds: tuple[Round, ...]
    tasks: dict[tuple[int, str], LoadedTask] = field(default_factory=dict)

    @property
    def rule(self) -> SpendingRule:
        """The rule of these rounds."""
        return rule_of(sum(own.items for own in self.rounds))

    def kept(self, number: int, label: str) -> Path:
        return self.folder / "items" / f"{number}" / f"{label}.parquet"

    def is_done(self, number: int, label: str) -> bool:
        return self.kept(number, label).exists()

    def answers(self, number: int, label: str) -> pd.DataFrame:
        """Rows of one model in one round, `KEPT`."""
        return read_parquet(self.kept(number, label))[0].to_pandas()

    def up_to(self, number: int, labels: Sequence[str]) -> pd.DataFrame:
        """Rows of these models over all rounds up to this one."""
        return pd.concat([self.answers(n, label) for n in range(number + 1) for label in labels], ignore_index=True)

    def answer(self, number: int, label: str, model: OpenedModel, stores: Mapping[str, ReferenceStore]) -> None:
        """Run a model on a round's items beside the reference's stored states, and keep its rows."""
        import pyarrow as pa

        rows = []
        for name, store in stores.items():
            task = self.task(number, name)
            check_comparable(store, model)
            partial = (
                self.folder / "partial" / "items" / label / f"{name}-{partial_key(store, model, prompt_statistics=1)}"
            )
            items = asked(task, model.tokenizer)
            scores = score_items(model, items, store, partial, pack_tokens=LAYOUT.pack_tokens, tile=TILE)
            rows.append(item_table(label, task, model.tokenizer, scores)[list(KEPT)])
        table = pa.Table.from_pandas(pd.concat(rows), preserve_index=False)
        write_parquet(self.kept(number, label), table, {"model": label, "round": number})

    def stores(self, number: int, reference: OpenedModel) -> dict[str, ReferenceStore]:
        """The reference's states on a round's items, recorded where they are not there."""
        root, found = self.folder / "reference-items", {}
        for name in self.rounds[number].lines:
            items = asked(self.task(number, name), reference.tokenizer)
            layout = f"{layout_name(reference, LAYOUT)}-{number}"
            header = items_header(name, items, reference, layout=layout)
            record_items(root, header, items, reference, pack_tokens=LAYOUT.pack_tokens)
            found[name] = ReferenceStore.open(header.folder(root), expected_key=header.key)
        return found

    def tokens(self, number: int, tokenizer: Any) -> int:
        """Tokens of a round's items: of their prompts and choices."""
        tasks = [self.task(number, name) for name in self.rounds[number].lines]
        return sum(len(item.tokens) for task in tasks for item in asked(task, tokenizer))

    def task(self, number: int, name: str) -> LoadedTask:
        """A task of the harness on the items of a round."""
        if (number, name) not in self.tasks:
            benchmark = Benchmark(task=name, chance=0.0)
            lines = self.rounds[number].lines[name]
            self.tasks[number, name] = load_task(benchmark, fetch(f"benchmark-{name}"), lines)
        return self.tasks[number, name]


def asked(task: LoadedTask, tokenizer: Any) -> list[Item]:
    """The items that a model is run on, each request once."""
    return scored_items(distinct(items_of(task, tokenizer)), LAYOUT.item_kld)


@dataclass(frozen=True)
class Answered:
    """What the reference and some files answered to the same items."""

    items: pd.DataFrame
    labels: tuple[str, ...]

    @cached_property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(self.items["benchmark"]))

    @cached_property
    def flips(self) -> dict[str, np.ndarray]:
        """Task → changes of right answers, (items, files)."""
        return differences(self.items, reference=REFERENCE, tasks=self.tasks, labels=self.labels)

    @cached_property
    def changes(self) -> Moved:
        """Task → changes of the probability of the right choice, (items, files)."""
        matrices = {task: correct_matrix(self.items, task, PROBABILITY) for task in self.tasks}
        return {task: probability_differences(matrix, REFERENCE, self.labels) for task, matrix in matrices.items()}

    def look(self, score: Score, margin: float, among: Sequence[str]) -> Look:
        """One round's look at the files ``among``; NaN for those that did not answer."""
        if score == "probability":
            own = mean_look(self.changes, margin)
        else:
            own = accuracy_look(*(counts.astype(float) for counts in flip_counts(self.flips)), margin)
        places = [self.labels.index(label) if label in self.labels else -1 for label in among]
        return Look(*(np.where(np.array(places) < 0, np.nan, values[places]) for values in own))
