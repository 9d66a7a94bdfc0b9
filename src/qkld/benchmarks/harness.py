"""The package as a model of lm-evaluation-harness: the harness asks, items are answered whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM

from qkld.benchmarks.items import Item, item_from_pairs
from qkld.benchmarks.writing import Prompt
from qkld.errors import BenchmarkError
from qkld.sources.tokenizer import start_of_text

NO_CHOICE = -1
"""The choice of a model that has no answer to an item: with a NaN among them, its choices have no order."""

RECENT = 16
"""Texts whose tokens are kept, to be asked for again."""


@dataclass(frozen=True)
class Answer:
    """What the harness asks of an item: ln p of each choice given the prompt, and whether greedy decoding gives it.

    A log-likelihood is None where a logit of the choice was not finite; the harness is then told NaN.
    """

    loglikelihood: tuple[float | None, ...]
    greedy: tuple[bool, ...]

    @property
    def choice(self) -> int:
        """The most likely choice, the first of equal ones as the harness has it; `NO_CHOICE` where one is None."""
        return NO_CHOICE if None in self.loglikelihood else int(np.argmax(self.loglikelihood))

    @property
    def told(self) -> tuple[float, ...]:
        """The log-likelihoods as numbers, NaN for None."""
        return tuple(math.nan if value is None else value for value in self.loglikelihood)


def asks_only(items: list[Item]) -> Sequence[Answer]:
    """For a model that only turns requests into items.

    Raises
    ------
    BenchmarkError
        Always.
    """
    raise BenchmarkError(
        "This harness model can read items but not answer them.",
        expected="a HarnessModel with an `answer` function",
        found=f"{len(items)} items to answer",
        do="score the items first, as notebooks/03_benchmark_scores.ipynb does",
    )


def writes_nothing(prompts: list[Prompt]) -> Sequence[str]:
    """For a model that only turns requests into prompts: no text for each."""
    return [""] * len(prompts)


ANSWER_TOKENS = 256
"""Longest written answer where neither the study nor the task says one; the harness's own ``hf`` model has the same."""


class HarnessModel(TemplateLM):
    """Answers the harness's log-likelihood requests item by item, and its requests to write prompt by prompt.

    Text becomes tokens as in the harness's own ``hf`` model, so that scores are comparable. How items are run and what
    is kept of them is up to ``answer``: items → one `Answer` each, in order; and to ``write``: prompts → texts, in
    order. ``answer_tokens`` is the longest written answer, where the task's own is not meant.
    """

    def __init__(
        self,
        tokenizer: Any,
        answer: Callable[[list[Item]], Sequence[Answer]] = asks_only,
        write: Callable[[list[Prompt]], Sequence[str]] = writes_nothing,
        *,
        answer_tokens: int | None = None,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self._answer, self._write, self._answer_tokens = answer, write, answer_tokens

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        begin = self.tokenizer.bos_token_id
        return self.eot_token_id if begin is None else begin

    @cached_property
    def _start(self) -> list[int]:
        return start_of_text(self.tokenizer)

    @cached_property
    def _beginnings(self) -> tuple[str, ...]:
        """Texts of what the tokenizer puts before a text, and of the prefix token."""
        prefix = [] if self.prefix_token_id is None else [self.prefix_token_id]
        return tuple(text for ids in (self._start, prefix) if (text := self.tokenizer.decode(ids)))

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """The tokens of a text behind what the tokenizer puts before one; nothing is put behind it.

        A text that begins so itself, as a chat does, or with the prefix token, is given nothing once more.
        """
        if add_special_tokens is None:
            add_special_tokens = not any(string.startswith(text) for text in self._beginnings)
        return [*(self._start if add_special_tokens else []), *self._own_tokens(string)]

    @cached_property
    def _own_tokens(self) -> Callable[[str], Sequence[int]]:
        """The tokens of a text alone; an item's context is asked for once a choice and tokenized once."""
        return lru_cache(RECENT)(partial(self.tokenizer.encode, add_special_tokens=False))

    @property
    def tokenizer_name(self) -> str:
        return str(getattr(self.tokenizer, "name_or_path", "")) or type(self.tokenizer).__name__

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The chat as the model's own template writes it; its control texts become control tokens in `tok_encode`.

        Raises
        ------
        BenchmarkError
            If the model has no chat template.
        """
        if not getattr(self.tokenizer, "chat_template", None):
            raise BenchmarkError(
                "A benchmark uses a chat template, but the model has none.",
                expected="tokenizer.chat_template",
                found="none",
                do="write `prompt: plain` for the benchmark, or use a chat model",
            )
        return self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )

    def prompt(self, name: str, context: str, settings: dict[str, Any]) -> Prompt:
        """The prompt that a context and the harness's generation settings ask for; how to choose is the study's."""
        stop = settings.get("until") or ()
        longest = self._answer_tokens or settings.get("max_gen_toks") or ANSWER_TOKENS
        texts = (stop,) if isinstance(stop, str) else tuple(stop)
        return Prompt(name, tuple(self.tok_encode(context)), texts, longest)

    def item(self, name: str, arguments: Sequence[tuple[str, str]]) -> Item:
        """The item that (context, continuation) texts ask for, one pair a choice."""
        return item_from_pairs(name, [self._tokens(context, continuation) for context, continuation in arguments])

    def items(self, requests: Sequence[Instance]) -> list[tuple[Item, list[int]]]:
        """The items that requests belong to, in order, each with the places of its choices among the requests."""
        places: dict[tuple[str | None, int | None], list[int]] = {}
        for place, request in enumerate(requests):
            places.setdefault((request.task_name, request.doc_id), []).append(place)
        return [
            (self.item(str(document), [requests[place].args for place in where]), where)
            for (_, document), where in places.items()
        ]

    def loglikelihood(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(ln p of the continuation, whether greedy decoding gives it) for each request, in order."""
        items = self.items(requests)
        answers = self._answer([item for item, _ in items])
        answered: dict[int, tuple[float, bool]] = {}
        for (_, where), answer in zip(items, answers, strict=True):
            answered.update(zip(where, zip(answer.told, answer.greedy, strict=True), strict=True))
        return [answered[place] for place in range(len(requests))]

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        raise _not_answered("loglikelihood_rolling")

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """The text written for each request, in order."""
        return list(self._write([self.prompt(str(request.doc_id), *request.args) for request in requests]))

    def _loglikelihood_tokens(self, requests: Sequence[Any], **_: Any) -> list[tuple[float, bool]]:
        items = [item_from_pairs(str(i), [(context, ending)]) for i, (_, context, ending) in enumerate(requests)]
        return [(answer.told[0], answer.greedy[0]) for answer in self._answer(items)]

    def _tokens(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        if context:
            return self._encode_pair(context, continuation)
        ending = self.tok_encode(continuation, add_special_tokens=False)
        begins = ending[:1] == [self.prefix_token_id]
        return (ending[:1], ending[1:]) if begins else ([self.prefix_token_id], ending)


def _not_answered(kind: str) -> BenchmarkError:
    return BenchmarkError(
        f"Requests of kind '{kind}' are not supported.",
        expected="tasks that ask for log-likelihoods of continuations, or for written answers",
        found=f"a task that asks for {kind}",
        do="leave the task out of the study's benchmarks",
    )
