"""How fast a model runs here: tokens a second of a prompt, and of the text that is written behind it.

A file runs as its engine runs it: GGUF in llama.cpp, a checkpoint in torch with transformers' own attention and cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from statistics import median
from typing import Any, NamedTuple

import torch

from qkld.errors import ModelError
from qkld.models.attention import NAME, torchs_attention
from qkld.models.gguf.open_in_llamacpp import LlamaCppModel
from qkld.models.opened import OpenedModel
from qkld.models.spreading import running_device

PROMPTS = (128, 512)
"""Tokens of the prompts where the model's context has room for them."""

WRITTEN = 16
"""Tokens that are written behind a prompt."""

REPEATS = 3
"""Times that each is measured; the median is given. One more, whose time is not taken, goes before."""


class Speed(NamedTuple):
    """Tokens a second: of a prompt of so many tokens, and of `WRITTEN` tokens behind it, one at a time."""

    prompt: int
    prefill: float
    decoding: float


def prompts_within(context: float) -> tuple[int, int]:
    """`PROMPTS`, or shorter ones, a quarter and a whole, where a context has no room for them and what is written."""
    longest = int(min(PROMPTS[-1], context - WRITTEN))
    return longest * PROMPTS[0] // PROMPTS[-1], longest


def measured_speed(model: OpenedModel, text: Sequence[int]) -> tuple[Speed, ...]:
    """Speed at two lengths of prompt, which are the beginning of a text that is repeated where it is short.

    Raises
    ------
    ModelError
        If the model cannot go on behind a prompt, or its context is too short for one.
    """
    prompts = prompts_within(model.context_length)
    if prompts[0] < 1:
        raise ModelError(
            f"The context of '{model.label}' is too short to measure its speed.",
            expected=f"room for a prompt and {WRITTEN} generated tokens",
            found=f"{model.context_length:g} tokens",
            do="leave out --speed",
        )
    tokens = [text[i % len(text)] for i in range(prompts[-1] + WRITTEN)]
    with _as_deployed(model), torch.inference_mode():
        _seconds(model, tokens[: prompts[0] + WRITTEN])
        return tuple(_speed(model, tokens[: length + WRITTEN]) for length in prompts)


def _as_deployed(model: OpenedModel) -> AbstractContextManager[None]:
    """The attention that others run the model with, where it has this package's own."""
    own = not isinstance(model, LlamaCppModel) and model.module.config._attn_implementation == NAME
    return torchs_attention(model.module) if own else nullcontext()


def _speed(model: OpenedModel, tokens: Sequence[int]) -> Speed:
    prompt = len(tokens) - WRITTEN
    prefill, decoding = zip(*(_seconds(model, tokens) for _ in range(REPEATS)), strict=True)
    return Speed(prompt, prompt / median(prefill), WRITTEN / median(decoding))


def _seconds(model: OpenedModel, tokens: Sequence[int]) -> tuple[float, float]:
    """Seconds of the prompt, all but the last `WRITTEN` tokens, and of these behind it."""
    begin, go_on = writer(model, room=len(tokens))
    prompt = len(tokens) - WRITTEN
    started = time.perf_counter()
    begin(tokens[:prompt])
    between = time.perf_counter()
    for at, token in enumerate(tokens[prompt:], start=prompt):
        go_on(token, at)
    return between - started, time.perf_counter() - between


Begin = Callable[[Sequence[int]], Any]
GoOn = Callable[[int, int], Any]


def writer(model: OpenedModel, *, room: int) -> tuple[Begin, GoOn]:
    """What runs a prompt, and then one token more at its place; each gives the logits behind its last token.

    They return when the logits are there. ``room`` is the number of tokens of both together.
    """
    if isinstance(model, LlamaCppModel):
        return lambda prompt: model.module.begin(prompt, room=room), lambda token, at: model.module.go_on(token, at=at)
    return _in_torch(model)


def _in_torch(model: OpenedModel) -> tuple[Begin, GoOn]:
    device = running_device(model.module.get_input_embeddings())
    held: dict[str, Any] = {}

    def run(tokens: Sequence[int]) -> torch.Tensor:
        ids = torch.tensor([list(tokens)], device=device)
        made = model.module(input_ids=ids, past_key_values=held.get("cache"), use_cache=True, logits_to_keep=1)
        held["cache"] = made.past_key_values
        return made.logits[0, -1].cpu()

    return run, lambda token, _: run([token])
