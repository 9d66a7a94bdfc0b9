"""Batched writing with answers that no batch changes.

A batch rounds otherwise than one prompt alone, and where two tokens are nearly as likely as each other that decides the
rest of an answer. So each step is taken from the batch only where its best token leads by more than rounding can make
up; otherwise the step is decided by one forward pass over the row's own tokens, alone and without a cache. Either way
the token is the one that the row alone gives, as long as two passes differ by less than half of `LEAD`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from qkld.benchmarks.writing.prompts import Prompt, Sampling, Written, as_written, cut, end_tokens, text_of
from qkld.errors import BenchmarkError
from qkld.models import OpenedModel
from qkld.models.head_discovery import PROBE_IDS
from qkld.models.head_input import head_input
from qkld.models.spreading import running_device
from qkld.models.transformers_library import transformers_library
from qkld.sources.windows import ANSWERS_AT_ONCE

if TYPE_CHECKING:
    from transformers import Cache

LEAD = {torch.float64: 1e-6, torch.float32: 5e-3, torch.float16: 0.25, torch.bfloat16: 1.0}
"""Logits by which a step's best token has to lead its second to be taken from a batch, by the compute dtype.

Ten times and more what batching changes in SmolLM2's logits in float32, which the tests measure; in 16 bits, at least
eight units in the last place of a logit of 30.
"""

POSITIONS_AT_ONCE = 16_384
"""Token positions, answers included, whose keys and values one batch may keep."""


@dataclass
class _Row:
    """One answer in the making; ``place`` is its number among the prompts."""

    place: int
    prompt: Prompt
    noise: np.random.Generator | None
    tokens: list[int] = field(default_factory=list)
    finite: bool = True
    ended: bool = False


def write_answers(model: OpenedModel, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, Written]]:
    """(number of the prompt, its answer), each as soon as it has ended; the order is that of ending.

    Raises
    ------
    BenchmarkError
        If a prompt with its longest answer is longer than the model's context.
    """
    for prompt in prompts:
        _check_context(model, prompt)
    cached = isinstance(model.module, nn.Module) and goes_on_from_cache(model)
    for batch in batches(prompts, padding=model.supports_packing):
        rows = [_Row(p, prompts[p], sampling.stream(prompts[p]) if sampling.temperature else None) for p in batch]
        yield from (_write_together if cached else _write_alone)(model, rows, sampling.temperature)


def batches(prompts: Sequence[Prompt], *, padding: bool) -> list[list[int]]:
    """Numbers of prompts that are run together, shorter ones first.

    At most `ANSWERS_AT_ONCE` rows and `POSITIONS_AT_ONCE` positions; without ``padding``, for architectures in which a
    mask does not reach every layer, of one length.
    """
    groups: list[list[int]] = []
    for number in sorted(range(len(prompts)), key=lambda i: (len(prompts[i].tokens), i)):
        grown = [*groups[-1], number] if groups else [number]
        longest = len(prompts[number].tokens) + max(prompts[i].max_tokens for i in grown)
        fits = len(grown) <= ANSWERS_AT_ONCE and len(grown) * longest <= POSITIONS_AT_ONCE
        alike = padding or len(prompts[grown[0]].tokens) == len(prompts[number].tokens)
        if groups and fits and alike:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


@torch.inference_mode()
def _write_together(model: OpenedModel, rows: list[_Row], temperature: float) -> Iterator[tuple[int, Written]]:
    """All rows step by step; rows that have ended leave the batch where the cache can be cut (see `batches`)."""
    ends = end_tokens(model.tokenizer, model.module)
    ids, seen = _left_padded([row.prompt.tokens for row in rows], pad=min(ends, default=0))
    cache = transformers_library().DynamicCache(config=model.module.config.get_text_config())
    while rows:
        for row, token in zip(
            rows, _next_tokens(model, rows, _last_hidden(model, ids, seen, cache), temperature), strict=True
        ):
            if not row.ended:
                _take(row, token, model, ends)
                if row.ended:
                    written = as_written(row.prompt, row.tokens, model.tokenizer, ends, finite=row.finite)
                    yield row.place, written
        going = [i for i, row in enumerate(rows) if not row.ended]
        if not going:
            return
        if model.supports_packing and len(going) < len(rows):
            cache.batch_select_indices(torch.tensor(going, device=model.device))
            seen, rows = seen[going], [rows[i] for i in going]
        ids = torch.tensor([[row.tokens[-1] if row.tokens else 0] for row in rows])
        seen = torch.cat([seen, torch.ones(len(rows), 1, dtype=seen.dtype)], dim=1)


def _write_alone(model: OpenedModel, rows: list[_Row], temperature: float) -> Iterator[tuple[int, Written]]:
    """Row after row, every step by a whole pass: for engines and classes that take no cache from here."""
    ends = end_tokens(model.tokenizer, model.module)
    for row in rows:
        while not row.ended:
            noise = None if row.noise is None else row.noise.gumbel(size=model.head.vocabulary)
            _take(row, _decided_alone(model, row, temperature, noise), model, ends)
        yield row.place, as_written(row.prompt, row.tokens, model.tokenizer, ends, finite=row.finite)


def goes_on_from_cache(model: OpenedModel) -> bool:
    """Whether a class goes on from transformers' usual cache as from the tokens themselves.

    Some keep states of another kind, and some ignore what they are given without a word: the last token is then run
    as if it stood alone, or at another place. Tried on a few tokens; either is ten times further from a whole pass over
    them than rounding is.
    """
    ids = torch.tensor([[i % model.vocabulary for i in PROBE_IDS]])
    whole, alone = (model.hidden(tokens)[0, -1].double() for tokens in (ids, ids[:, -1:]))
    try:
        cache = transformers_library().DynamicCache(config=model.module.config.get_text_config())
        for begin, end in ((0, -2), (-2, -1), (-1, None)):
            part = ids[:, begin:end]
            seen = torch.ones_like(ids[:, :end])
            last = _last_hidden(model, part, seen, cache)[0].double()
    except Exception:  # a class that takes no such cache raises whatever it is that it misses
        return False
    return bool((last - whole).norm() < 0.1 * (alone - whole).norm())


def _left_padded(prompts: Sequence[Sequence[int]], *, pad: int) -> tuple[Tensor, Tensor]:
    """Token ids and mask, each (rows, longest): padding first, so that every row's last token is in the last column."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[pad] * (longest - len(p)) + list(p) for p in prompts])
    seen = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    return ids, seen


def _last_hidden(model: OpenedModel, ids: Tensor, seen: Tensor, cache: Cache) -> Tensor:
    """Hidden states of the last column, (rows, width); each row counts its positions from its own first token."""
    device = running_device(model.module.get_input_embeddings())
    positions = (seen.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    inputs = {"input_ids": ids, "attention_mask": seen, "position_ids": positions}
    if not model.supports_packing:  # rows of one length need neither, and the architecture may take none
        inputs = {"input_ids": ids}
    inputs = {name: value.to(device) for name, value in inputs.items()}
    takes = inspect.signature(model.module.forward).parameters
    inputs["cache_params" if "cache_params" in takes else "past_key_values"] = cache  # state-space models say the first
    return head_input(model.module, **inputs, use_cache=True)[:, -1].to(model.device)


def _next_tokens(model: OpenedModel, rows: list[_Row], hidden: Tensor, temperature: float) -> list[int | None]:
    """The next token of each row; None where its logits are not finite."""
    noise = [None if row.noise is None else row.noise.gumbel(size=model.head.vocabulary) for row in rows]
    scores = [_scores(logits, temperature, n) for logits, n in zip(model.head.logits(hidden), noise, strict=True)]
    lead = LEAD[model.compute_dtype] / (temperature or 1.0)
    chosen: list[int | None] = []
    for row, score, own_noise in zip(rows, scores, noise, strict=True):
        best, second = score.topk(2).values.tolist()
        if row.ended or (np.isfinite(best) and best - second > lead):
            chosen.append(int(score.argmax()))
        else:
            chosen.append(_decided_alone(model, row, temperature, own_noise))
    return chosen


def _scores(logits: Tensor, temperature: float, noise: np.ndarray | None) -> Tensor:
    """What the next token is the argmax of, (vocab,): logits, or logits / temperature + Gumbel noise, in float64.

    The argmax of the second is a draw from softmax(logits / temperature): the Gumbel-max trick (Maddison, Tarlow &
    Minka 2014, section 2). So drawing, like taking the most likely, is a matter of which score leads, and by how much.
    """
    logits = logits.double()
    return logits if noise is None else logits / temperature + torch.from_numpy(noise).to(logits.device)


def _decided_alone(model: OpenedModel, row: _Row, temperature: float, noise: np.ndarray | None) -> int | None:
    """The next token by one pass over the row's own tokens, the first of equal ones; None if logits are not finite."""
    ids = torch.tensor([[*row.prompt.tokens, *row.tokens]], device=model.device)
    scores = _scores(model.head.logits(model.hidden(ids)[0, -1]), temperature, noise)
    return int(np.argmax(scores.cpu().numpy())) if bool(torch.isfinite(scores).all()) else None


def _take(row: _Row, token: int | None, model: OpenedModel, ends: frozenset[int]) -> None:
    """Add a token to a row, and see whether the answer ends with it."""
    if token is None:
        row.finite, row.ended = False, True
        return
    row.tokens.append(token)
    text = text_of(row.tokens, model.tokenizer) if row.prompt.stop else ""
    stopped = len(cut(text, row.prompt.stop)) < len(text)
    row.ended = token in ends or stopped or len(row.tokens) == row.prompt.max_tokens


def _check_context(model: OpenedModel, prompt: Prompt) -> None:
    needed = len(prompt.tokens) + prompt.max_tokens
    if needed > model.context_length:
        raise BenchmarkError(
            f"Item {prompt.name} does not fit into the context of '{model.label}'.",
            expected=f"at most {model.context_length} tokens of prompt and answer",
            found=f"{len(prompt.tokens)} + {prompt.max_tokens}",
            do="lower the benchmark's answer_tokens, or leave the item out of its file",
        )
