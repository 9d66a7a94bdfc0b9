"""What is asked of a model that writes, and what it wrote: tokens, the text they stand for, and how they ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from qkld.errors import BenchmarkError
from qkld.study.provenance import key_of


@dataclass(frozen=True)
class Prompt:
    """Token ids to continue.

    Attributes
    ----------
    name : str
        Number of the item in its benchmark's file; for messages.
    tokens : tuple of int
        Control tokens of a chat template included.
    stop : tuple of str
        Texts at which an answer ends; the first one that appears, and what follows it, is no part of the answer.
    max_tokens : int
        Longest answer in tokens, its end token included.
    """

    name: str
    tokens: tuple[int, ...]
    stop: tuple[str, ...]
    max_tokens: int

    def __post_init__(self) -> None:
        if not self.tokens or self.max_tokens < 1:
            raise BenchmarkError(
                f"Item {self.name} cannot be continued.",
                expected="a prompt and an answer of at least one token each",
                found=f"{len(self.tokens)} prompt tokens, answers of at most {self.max_tokens} tokens",
                do="correct the item's line or the task's doc_to_text, or raise answer_tokens",
            )

    @cached_property
    def request(self) -> str:
        """Hash of the token ids and of where answers end; equal for items that ask the same."""
        return key_of({"tokens": self.tokens, "stop": self.stop, "max_tokens": self.max_tokens})


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: the most likely one at temperature 0, else one drawn from p^(1/temperature).

    ``seed`` and ``repeat`` number the streams of random numbers; every prompt has its own, so an answer depends neither
    on the prompts beside it nor on where an earlier run was killed.
    """

    temperature: float = 0.0
    seed: int = 0
    repeat: int = 0

    def stream(self, prompt: Prompt) -> np.random.Generator:
        """The random numbers of one answer to one prompt."""
        return np.random.default_rng([self.seed, self.repeat, int(prompt.request, 16)])

    def key(self) -> dict[str, float]:
        """What decides an answer, as JSON; greedy answers know neither seed nor repeat."""
        if self.temperature == 0.0:
            return {"temperature": 0.0}
        return {"temperature": self.temperature, "seed": self.seed, "repeat": self.repeat}


@dataclass(frozen=True)
class Written:
    """One answer.

    Attributes
    ----------
    tokens : tuple of int
        As chosen one after the other, the end token and the tokens of a stop text included.
    text : str
        Without control tokens, cut before the first stop text.
    truncated : bool
        The longest length was reached, or a logit was not finite, before the answer ended by itself.
    finite : bool
        False where a logit was not finite; the answer ends there.
    """

    tokens: tuple[int, ...]
    text: str
    truncated: bool
    finite: bool = True


def end_tokens(tokenizer: Any, module: Any) -> frozenset[int]:
    """Tokens that end an answer: the tokenizer's end, and those of the model's generation config, as chat models have.

    Both are read because Llama 3's chats end with a token that is not the tokenizer's.
    """
    configured = getattr(getattr(module, "generation_config", None), "eos_token_id", None)
    several = configured if isinstance(configured, Sequence) else [configured]
    return frozenset(int(t) for t in [tokenizer.eos_token_id, *several] if t is not None)


def cut(text: str, stop: Sequence[str]) -> str:
    """The text before the first of the stop texts, as the harness cuts it; the whole text where there is none."""
    for term in stop:
        if term:
            text = text.split(term)[0]
    return text


def text_of(tokens: Sequence[int], tokenizer: Any) -> str:
    """The text of an answer's tokens without control tokens."""
    return tokenizer.decode(list(tokens), skip_special_tokens=True)


def as_written(prompt: Prompt, tokens: Sequence[int], tokenizer: Any, ends: frozenset[int], *, finite: bool) -> Written:
    """The answer that these tokens are."""
    whole = text_of(tokens, tokenizer)
    text = cut(whole, prompt.stop)
    ended = bool(tokens) and tokens[-1] in ends
    return Written(tuple(tokens), text, truncated=not ended and len(text) == len(whole), finite=finite)
