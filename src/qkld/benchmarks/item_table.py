"""Rows of the item table: the harness's score of every item, its margin, and its divergence from the reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from qkld.benchmarks.choices import a_token, choice_columns, probability_columns
from qkld.benchmarks.harness import NO_CHOICE, HarnessModel
from qkld.benchmarks.harness_tasks import LoadedTask
from qkld.benchmarks.items import Item
from qkld.benchmarks.scoring import ItemScore
from qkld.benchmarks.writing import Prompt, Written
from qkld.errors import BenchmarkError
from qkld.statistics.items.probability import PROBABILITY


def item_table(label: str, task: LoadedTask, tokenizer: Any, scores: dict[str, ItemScore]) -> pd.DataFrame:
    """The harness's results on a task, one row an item, joined with the items' scores.

    The join starts from the harness's samples and looks each request up: items that ask the same share one score.
    An item with a choice that has no finite log-probability has no margin, `NO_CHOICE` as its answer, and is wrong.
    The harness would take the first such choice, so a broken model would be right wherever it is the right one.
    """
    asker = task.asker(tokenizer, answer=lambda items: [scores[item.request].answer for item in items])
    return pd.DataFrame(_rows(label, task, asker, task.samples(asker), scores))


def _rows(
    label: str, task: LoadedTask, asker: HarnessModel, samples: Sequence[dict[str, Any]], scores: dict[str, ItemScore]
) -> Iterator[dict[str, Any]]:
    for sample in samples:
        item = asker.item(str(task.items[sample["doc_id"]]), sample["arguments"])
        score = scores[item.request]
        right, correct = _checked(item, sample, task.task.doc_to_choice(sample["doc"]), task.metric)
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
            **probability_columns(loglikelihood, right, lengths),
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
            f"A choice of '{task.name}' is empty, so acc_norm cannot divide by its length.",
            expected="a text for every choice",
            found=list(task.task.doc_to_choice(document)),
            do="correct the item's line, or write `metric: acc` for the benchmark",
        )
    return lengths


def _checked(item: Item, sample: dict[str, Any], choices: Sequence[str], metric: str) -> tuple[int, int]:
    """(the right choice, the harness's metric) of a sample, or a BenchmarkError where the task states neither.

    A task names the right choice by its number, or by its text, as COPA and CommonsenseQA do.
    """
    right, correct = sample["target"], sample.get(metric)
    if isinstance(right, str) and choices.count(right) == 1:
        right = choices.index(right)
    if not isinstance(right, int) or not 0 <= right < len(item.choices) or correct not in (0, 1):
        raise BenchmarkError(
            f"Item {item.name} has no single right choice, or its task does not report '{metric}'.",
            expected=f"one right choice below {len(item.choices)}, and {metric} 0 or 1",
            found=f"right choice {right!r}, {metric} {correct!r}",
            do="use a multiple-choice task with one right choice that reports it, or name another metric",
        )
    return right, int(correct)


def written_rows(
    label: str,
    task: LoadedTask,
    prompts: Sequence[Prompt],
    items: Mapping[str, Item],
    scores: Mapping[str, ItemScore],
    answers: Mapping[str, Written],
    correct: Sequence[int],
    *,
    repeat: int,
) -> Iterator[dict[str, Any]]:
    """One row of schema ``items`` a prompt: what the model wrote, and its divergence on the reference's answer.

    A drawn answer's row is named by its item and repeat; the divergences are of the prompt and equal in all of them.
    The probability of the right answer is 1 or 0 in each, so that its mean over repeats is the share right.
    """
    for prompt, is_right in zip(prompts, correct, strict=True):
        item, answer = items[prompt.request], answers[prompt.request]
        score = scores[item.request]
        yield {
            "model": label,
            "benchmark": task.name,
            "item": prompt.name if task.benchmark.repeats == 1 else f"{prompt.name}#{repeat}",
            "request": item.request,
            "correct": is_right,
            PROBABILITY: float(is_right),
            "metric": task.metric,
            "answer": NO_CHOICE,
            "right": NO_CHOICE,
            "kl_prompt": score.kl_prompt,
            "prompt_tokens": len(prompt.tokens),
            "choice_tokens": 0,
            "nll_prompt": score.nll_prompt,
            "entropy_prompt": score.entropy_prompt,
            "kl_answer": score.kl_choice[0],
            "logp_reference_answer": a_token(score.answer.loglikelihood[0], len(item.choices[0])),
            "written": answer.text,
            "answer_tokens": len(answer.tokens),
            "truncated": answer.truncated,
            "cluster": prompt.name,
        }
