"""Tasks of lm-evaluation-harness on local data files: which items, their prompts, and the harness's task object."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import datasets
import lm_eval.tasks
import lm_eval.utils
import numpy as np
import yaml
from lm_eval.evaluator import evaluate

from qkld.benchmarks.harness import HarnessModel
from qkld.benchmarks.items import Item
from qkld.benchmarks.judging import bfcl
from qkld.benchmarks.judging.checkers import Checker
from qkld.benchmarks.task_documents import documents
from qkld.benchmarks.writing import Prompt
from qkld.errors import BenchmarkError
from qkld.sources import fetch
from qkld.study.params import Benchmark
from qkld.study.task_metrics import published_metric
from qkld.study.texts import json_lines

TASK_FOLDER = Path(__file__).with_name("tasks")
HARNESS_TASKS = Path(lm_eval.tasks.__file__).parent

_LOCAL_FILE = {
    "dataset_name": None,
    "training_split": None,
    "validation_split": None,
    "test_split": "test",
    "fewshot_split": None,
    "fewshot_config": None,
}
"""What every task gets in place of its place on the hub: one local file of items, and no examples in the prompt."""

_DOCUMENTS = f"{documents.__module__}.{documents.__name__}"
"""What reads that file, as a YAML of the harness names a function."""


def prepare_ifeval() -> None:
    """Give nltk its sentence splitter from a pinned file, and language detection a seed.

    Without the first the harness's module of IFEval downloads it when it is imported; without the second the same
    answer may be of another language the next time (langdetect draws at random, in its own generator).
    """
    import langdetect
    import nltk

    folder = str(fetch("nltk-punkt_tab"))
    if folder not in nltk.data.path:
        nltk.data.path.insert(0, folder)
    langdetect.DetectorFactory.seed = 0


PREPARED: Mapping[str, Callable[[], None]] = {"ifeval": prepare_ifeval}
"""What has to be done before the harness's module of a task is imported."""

COMPLETED: Mapping[str, Callable[[Sequence[str]], list[str]]] = {"bfcl": bfcl.with_prompts}
"""What makes the lines that a task reads from the lines of its file."""


CHECKED_BY: Mapping[Checker, str] = {"code": "pass@1", "bfcl": "valid_call"}
"""Metric of answers that a checker judges: programs that pass their tests, calls that are the right ones."""


@dataclass(frozen=True)
class Judging:
    """What says whether a written answer is right: the harness's ``metric`` after its ``filter``, or a ``checker``.

    A checker is one of `judging.checkers.Checker`. It stands under ``judged`` in the task's YAML here.
    """

    metric: str = ""
    filter: str = "none"
    checker: Checker | None = None


@dataclass(frozen=True)
class LoadedTask:
    """A task of the harness over chosen items; ``items[i]`` is the line, from 0, of its document ``i`` in the file.

    ``judging`` is None for tasks of multiple choice.
    """

    benchmark: Benchmark
    task: Any
    items: tuple[int, ...]
    judging: Judging | None = None

    @property
    def metric(self) -> str:
        """What says that an answer is right: a metric of the harness, or of what checks the answer."""
        if self.judging is not None:
            return self.judging.metric or CHECKED_BY[self.judging.checker]
        return self.benchmark.metric or published_metric(self.name)

    @property
    def name(self) -> str:
        """The task's name."""
        return self.benchmark.task

    @property
    def in_chat(self) -> bool:
        """Whether prompts go through the model's chat template."""
        return self.benchmark.prompt == "chat"

    def asker(self, tokenizer: Any, **answers: Any) -> HarnessModel:
        """The harness's model for this task, with ``answer`` or ``write`` as `HarnessModel` takes them."""
        return HarnessModel(tokenizer, answer_tokens=self.benchmark.answer_tokens, **answers)

    def samples(self, asker: HarnessModel) -> list[dict[str, Any]]:
        """The harness's own results of the task, one a document and filter, from what ``asker`` answers."""
        found = evaluate(asker, {"tasks": {self.name: self.task}}, bootstrap_iters=0, apply_chat_template=self.in_chat)
        return found["samples"][self.name]

    def build(self, asker: HarnessModel) -> list[Any]:
        """The harness's requests, in order; each template is compiled once, and not for every item."""
        chat = {"chat_template": asker.apply_chat_template, "tokenizer_name": asker.tokenizer_name}
        with patch.object(lm_eval.utils.env, "from_string", cache(lm_eval.utils.env.from_string)):
            self.task.build_all_requests(apply_chat_template=self.in_chat, **(chat if self.in_chat else {}))
        return self.task.instances


def known_tasks() -> tuple[str, ...]:
    """Names of the tasks that have a YAML here."""
    return tuple(sorted(path.stem for path in TASK_FOLDER.glob("*.yaml")))


@contextmanager
def _quiet_reading() -> Iterator[None]:
    """No progress bars of `datasets`, and none of the harness's advice on what its command line gives to ``documents``.

    A file of items is read in a moment, and a notebook would show each bar and a warning a task.
    """
    logger, shown = logging.getLogger("lm_eval.api.task"), not datasets.utils.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    logger.addFilter(_is_no_advice)
    try:
        yield
    finally:
        logger.removeFilter(_is_no_advice)
        if shown:
            datasets.enable_progress_bars()


def _is_no_advice(record: logging.LogRecord) -> bool:
    return "Custom kwargs can be passed" not in record.getMessage()


def fetched_task(benchmark: Benchmark) -> LoadedTask:
    """A study's benchmark over the items of its pinned file; notebooks 01 and 03 both load it here."""
    return load_task(benchmark, fetch(f"benchmark-{benchmark.task}"))


@_quiet_reading()
def load_task(benchmark: Benchmark, data: Path, items: tuple[int, ...] | None = None) -> LoadedTask:
    """The harness's task on the items that ``benchmark`` chooses from a file of JSON lines, or on these lines of it.

    Raises
    ------
    BenchmarkError
        If the task is unknown, or the file is missing, not JSON lines, or yields no item.
    """
    name = benchmark.task
    if name not in known_tasks():
        raise BenchmarkError(
            f"There is no task '{name}'.",
            expected=", ".join(known_tasks()),
            found=name,
            do=f"use one of these, or add {name}.yaml to qkld/benchmarks/tasks",
        )
    lines = _lines(name, data)
    if items is None:
        items = chosen_items(len(lines), benchmark.limit, seed=benchmark.seed)
    chosen = [lines[i] for i in items]
    PREPARED.get(name, lambda: None)()
    task, judging = _harness_task(name, COMPLETED.get(name, list)(chosen))
    _check_kind(benchmark, judging)
    if len(task.eval_docs) != len(items):
        raise BenchmarkError(
            f"Task '{name}' yields a different number of items than its file has lines.",
            expected=f"{len(items)} items from {len(items)} lines",
            found=f"{len(task.eval_docs)} items",
            do="prepare the file so that one line is one item; items are named by their line number",
        )
    return LoadedTask(benchmark, task, items, judging)


def items_of(task: LoadedTask, tokenizer: Any) -> list[Item]:
    """The items that the harness asks for in a task, in its order, named by their line in the benchmark's file.

    Raises
    ------
    BenchmarkError
        If an item has no prompt, fewer than two choices, a choice without tokens, or several prompts.
    """
    asker = task.asker(tokenizer)
    asked = [item for item, _ in asker.items(task.build(asker))]
    items = [replace(item, name=str(task.items[int(item.name)])) for item in asked]
    single = [item.name for item in items if len(item.choices) < 2]
    if single:
        raise BenchmarkError(
            f"Task '{task.name}' has items without wrong choices.",
            expected="at least two choices per item",
            found=f"one choice in items {', '.join(single[:5])}",
            do="use a multiple-choice task",
        )
    return items


def prompts_of(task: LoadedTask, tokenizer: Any) -> list[Prompt]:
    """The prompts that the harness asks a model to continue, in its order, named by their line in the file.

    Raises
    ------
    BenchmarkError
        If a prompt is empty, or asks in a chat and the model has no chat template.
    """
    asker = task.asker(tokenizer)
    return [asker.prompt(str(task.items[int(r.doc_id)]), *r.args) for r in task.build(asker)]


def chosen_items(available: int, limit: int | None, *, seed: int) -> tuple[int, ...]:
    """Indices of ``limit`` of ``available`` items, drawn without replacement, sorted; all without a limit.

    A larger limit adds items to those of a smaller one.
    """
    if limit is None or limit >= available:
        return tuple(range(available))
    drawn = np.random.default_rng(seed).permutation(available)[:limit]
    return tuple(sorted(int(i) for i in drawn))


def _check_kind(benchmark: Benchmark, judging: Judging | None) -> None:
    """Refuse keys of written answers where choices are compared, and a metric of choices where answers are written."""
    if judging is not None and benchmark.metric is not None:
        raise BenchmarkError(
            f"Task '{benchmark.task}' asks for a written answer.",
            expected="no metric, which is for multiple choice",
            found=f"metric {benchmark.metric}",
            do="remove it from the benchmark's entry",
        )
    if judging is None and benchmark.answer_tokens is not None:
        raise BenchmarkError(
            f"Task '{benchmark.task}' is multiple choice.",
            expected="no answer_tokens, temperature, repeats or sampling_seed",
            found=f"answer_tokens {benchmark.answer_tokens}",
            do="remove them from the benchmark's entry",
        )


def _lines(name: str, data: Path) -> list[str]:
    if not data.is_file():
        raise BenchmarkError(
            f"The items of '{name}' are missing.", expected=data, found="no such file", do="run `qkld fetch`"
        )
    read = json_lines(data, error=BenchmarkError, expected=f"the items of '{name}', one JSON object per line")
    lines = [line.text for line in read]
    if not lines:
        raise BenchmarkError(
            f"Benchmark '{name}' has no items.",
            expected="at least one line",
            found=f"{data} is empty",
            do="delete the file and fetch it again",
        )
    return lines


def _harness_task(name: str, lines: list[str]) -> tuple[Any, Judging | None]:
    """The harness's own loading of a task, from a YAML completed with the data's place; nothing of it stays on disk."""
    config = yaml.safe_load((TASK_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    judged = config.pop("judged", None)
    if "include" in config:
        config["include"] = str(HARNESS_TASKS / config["include"])
    with tempfile.TemporaryDirectory(prefix="qkld-task-") as folder:
        data, completed = Path(folder, "items.jsonl"), Path(folder, f"{name}.yaml")
        data.write_text("\n".join(lines) + "\n", encoding="utf-8")
        local = yaml.safe_dump({**config, **_LOCAL_FILE, "dataset_kwargs": {"file": str(data)}})
        completed.write_text(f"{local}custom_dataset: !function {_DOCUMENTS}\n", encoding="utf-8")
        manager = lm_eval.tasks.TaskManager(include_defaults=False)
        return manager.load([str(completed)])["tasks"][name], None if judged is None else Judging(**judged)
