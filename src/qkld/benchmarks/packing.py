"""How items are run: several in one sequence under a block mask, or each prompt with each choice as a row of a batch.

The layout depends on the items alone, so that the reference and every quant run identical shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qkld.benchmarks.items import Item
from qkld.errors import BenchmarkError
from qkld.models import OpenedModel
from qkld.study.params import BenchmarkScores


@dataclass(frozen=True)
class Pack:
    """One forward pass.

    Attributes
    ----------
    input_ids : Tensor, shape (rows, tokens)
    position_ids : Tensor, shape (rows, tokens), or None for 0, 1, 2, …
        Each item counts from 0, and each of its choices from the prompt's length.
    attention_mask : Tensor of bool, shape (1, 1, tokens, tokens) where True means seen, or (rows, tokens)
    places : one Tensor an item, shape (positions of the item,)
        Where the hidden states of `Item.positions` are, counted through rows and tokens.
    """

    input_ids: Tensor
    position_ids: Tensor | None
    attention_mask: Tensor
    places: tuple[Tensor, ...]


def split_into_packs(items: Sequence[Item], *, pack_tokens: int, packing: bool) -> list[list[Item]]:
    """Neighbouring items that are run together: at most ``pack_tokens`` token positions, at least one item."""
    packs: list[list[Item]] = []
    for item in items:
        if packs and _positions([*packs[-1], item], packing=packing) <= pack_tokens:
            packs[-1].append(item)
        else:
            packs.append([item])
    return packs


def _positions(items: Sequence[Item], *, packing: bool) -> int:
    if packing:
        return sum(sum(item.run_lengths) for item in items)
    return sum(len(item.choices) for item in items) * max(map(_longest_run, items))


def _longest_run(item: Item) -> int:
    prompt, *choices = item.run_lengths
    return prompt + max(choices)


def _places(item: Item) -> np.ndarray:
    """Where the hidden states of `Item.positions` are among the tokens that are run."""
    return np.cumsum(item.run)[list(item.positions)] - 1


def packed(items: Sequence[Item]) -> Pack:
    """All items in one sequence; a choice sees its own prompt and itself, a prompt sees itself."""
    item_of, part_of, position, places, offset = [], [], [], [], 0
    for number, item in enumerate(items):
        lengths = item.run_lengths
        item_of.append(np.full(sum(lengths), number))
        part_of.append(np.repeat(np.arange(len(lengths)), lengths))
        begins = [0, *(len(item.prompt) for _ in item.choices)]
        position.append(np.concatenate([np.arange(b, b + n) for b, n in zip(begins, lengths, strict=True)]))
        places.append(torch.from_numpy(_places(item)) + offset)
        offset += sum(lengths)
    ids = torch.tensor([token for item in items for token in np.array(item.tokens)[item.run]])
    item_at, part_at, at = (torch.from_numpy(np.concatenate(x)) for x in (item_of, part_of, position))
    seen = (item_at[:, None] == item_at) & ((part_at == 0) | (part_at[:, None] == part_at)) & (at[:, None] >= at)
    return Pack(ids[None], at[None], seen[None, None], tuple(places))


def whole_sequences(items: Sequence[Item]) -> Pack:
    """One row a choice, prompt and choice, padded at the end; for architectures that take no block mask."""
    longest = max(map(_longest_run, items))
    rows = [item.prompt + choice for item in items for choice in _run_choices(item)]
    ids, mask = torch.zeros(len(rows), longest, dtype=torch.int64), torch.zeros(len(rows), longest, dtype=torch.bool)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = True
    places, first = [], 0
    for item in items:
        place = np.arange(len(item.tokens)) + first * longest
        for number, (start, choice) in enumerate(zip(item.starts, _run_choices(item), strict=True)):
            begin = (first + number) * longest + len(item.prompt)
            place[start : start + len(choice)] = np.arange(begin, begin + len(choice))
        places.append(torch.from_numpy(place[list(item.positions)]))
        first += len(item.choices)
    return Pack(ids, None, mask, tuple(places))


def _run_choices(item: Item) -> list[tuple[int, ...]]:
    """The tokens of each choice that are run."""
    return [choice[:length] for choice, length in zip(item.choices, item.run_lengths[1:], strict=True)]


def hidden_states(model: OpenedModel, items: Sequence[Item]) -> list[Tensor]:
    """Hidden states after the last norm at each item's `Item.positions`, shape (positions, width), one forward pass.

    Raises
    ------
    BenchmarkError
        If an item is longer than the model's context; the harness would cut its beginning off.
    """
    _check_context(model, items)
    pack = packed(items) if model.supports_packing else whole_sequences(items)
    hidden = model.hidden(
        pack.input_ids.to(model.device),
        position_ids=None if pack.position_ids is None else pack.position_ids.to(model.device),
        attention_mask=pack.attention_mask.to(model.device),
    )
    states = hidden.flatten(0, 1)
    return [states[place.to(states.device)] for place in pack.places]


def layout_name(model: OpenedModel, knobs: BenchmarkScores) -> str:
    """Names the layout in keys: numbers in bfloat16 differ between layouts."""
    layout = f"{'packed' if model.supports_packing else 'rows'}-{knobs.pack_tokens}"
    return layout if knobs.item_kld == "prompts" else f"{layout}-{knobs.item_kld}"


def _check_context(model: OpenedModel, items: Sequence[Item]) -> None:
    longest = max(items, key=lambda item: item.longest)
    if longest.longest > model.context_length:
        raise BenchmarkError(
            f"Item {longest.name} does not fit into the context of '{model.label}'.",
            expected=f"at most {model.context_length} tokens of prompt and choice",
            found=longest.longest,
            do="leave the item out of the benchmark's file",
        )
