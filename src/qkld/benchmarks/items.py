"""Benchmark items as tokens: one prompt, several choices, and the rows of logits that score them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from qkld.errors import BenchmarkError
from qkld.study.provenance import key_of

PROMPT = -1
"""Part of a row that predicts a prompt token; parts from 0 on are choices."""


@dataclass(frozen=True)
class Rows:
    """What is predicted in an item, one entry a predicted token: which hidden state predicts which token of what part.

    Attributes
    ----------
    position : position, in the item's tokens, of the hidden state that predicts; equal ones share that state
    target : id of the predicted token
    part : `PROMPT`, or the number of the choice the predicted token belongs to
    """

    position: np.ndarray
    target: np.ndarray
    part: np.ndarray


@dataclass(frozen=True)
class Item:
    """A multiple-choice item as token ids. ``name`` is its number in the benchmark's file.

    Each choice follows the prompt directly and sees nothing of the other choices. Where ``prompt_scored`` is false, the
    tokens of choices alone are predicted, and only tokens that predict one, or come before one that does, are run.
    """

    name: str
    prompt: tuple[int, ...]
    choices: tuple[tuple[int, ...], ...]
    prompt_scored: bool = True

    def __post_init__(self) -> None:
        if not self.prompt or not self.choices or not all(self.choices):
            raise BenchmarkError(
                f"Item {self.name} cannot be scored.",
                expected="a prompt and choices of at least one token each",
                found=f"{len(self.prompt)} prompt tokens, choices of {[len(c) for c in self.choices]} tokens",
                do="correct the item's line, or the task's doc_to_text and doc_to_choice",
            )

    @cached_property
    def request(self) -> str:
        """Hash of the token ids and of where each choice begins; equal for items that ask the same."""
        return key_of({"prompt": self.prompt, "choices": self.choices})

    @property
    def tokens(self) -> tuple[int, ...]:
        """Prompt and choices, one after the other."""
        return self.prompt + tuple(token for choice in self.choices for token in choice)

    @property
    def starts(self) -> tuple[int, ...]:
        """Where each choice begins in `tokens`."""
        ends = np.cumsum([len(self.prompt), *(len(c) for c in self.choices)])
        return tuple(int(e) for e in ends[:-1])

    @cached_property
    def run(self) -> np.ndarray:
        """Which of `tokens` a model is run on: all, or all but the last of each choice, after which nothing comes."""
        run = np.ones(len(self.tokens), dtype=bool)
        if not self.prompt_scored:
            run[[start + len(choice) - 1 for start, choice in zip(self.starts, self.choices, strict=True)]] = False
        return run

    @property
    def run_lengths(self) -> tuple[int, ...]:
        """Tokens of the prompt and of each choice that are run."""
        fewer = 0 if self.prompt_scored else 1
        return (len(self.prompt), *(len(choice) - fewer for choice in self.choices))

    @property
    def longest(self) -> int:
        """Tokens of the prompt with its longest choice: the context a model needs."""
        return len(self.prompt) + max(len(c) for c in self.choices)

    @cached_property
    def rows(self) -> Rows:
        """Every predicted token: the prompt's after its first where it is scored, then each choice's."""
        last = len(self.prompt) - 1
        begun = last if self.prompt_scored else 0
        position, part = [np.arange(begun)], [np.full(begun, PROMPT)]
        for number, (start, choice) in enumerate(zip(self.starts, self.choices, strict=True)):
            position.append(np.concatenate([[last], np.arange(start, start + len(choice) - 1)]))
            part.append(np.full(len(choice), number))
        target = self.prompt[1 : 1 + begun] + self.tokens[len(self.prompt) :]
        return Rows(np.concatenate(position), np.array(target), np.concatenate(part))

    @property
    def positions(self) -> tuple[int, ...]:
        """Positions whose hidden state predicts something, rising: all but the last token of each choice."""
        return tuple(int(p) for p in np.unique(self.rows.position))


def item_from_pairs(name: str, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Item:
    """An item from (context, continuation) token ids, one pair a choice.

    Raises
    ------
    BenchmarkError
        If the contexts differ: such an item has no common prompt.
    """
    contexts = {tuple(context) for context, _ in pairs}
    if len(contexts) != 1:
        raise BenchmarkError(
            f"The choices of item {name} have different contexts.",
            expected="one context for all choices of an item",
            found=f"{len(contexts)} contexts",
            do="use a task whose choices are continuations of one prompt",
        )
    return Item(name, contexts.pop(), tuple(tuple(continuation) for _, continuation in pairs))


def scored_items(items: Iterable[Item], item_kld: str) -> list[Item]:
    """The items with what is predicted of them: prompt and choices (``prompts``), or choices alone (``choices``)."""
    return [replace(item, prompt_scored=item_kld == "prompts") for item in items]


def distinct(items: Iterable[Item]) -> list[Item]:
    """The first item of each request, in order: benchmarks hold the same question twice, and it is run once."""
    first: dict[str, Item] = {}
    for item in items:
        first.setdefault(item.request, item)
    return list(first.values())
