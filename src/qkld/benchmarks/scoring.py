"""Items run by a model beside the reference's stored hidden states: log-probabilities and divergences of each item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qkld.benchmarks.harness import Answer
from qkld.benchmarks.items import PROMPT, Item
from qkld.benchmarks.packing import hidden_states
from qkld.divergence import HeadLogits, token_divergence
from qkld.models import OpenedModel
from qkld.models.head import Head


@dataclass(frozen=True)
class ItemScore:
    """What one forward pass gives for an item, in nats; None where a logit was not finite, or no token was scored.

    Attributes
    ----------
    answer : ln p of each choice under the model, and whether greedy decoding gives it
    kl_prompt : mean KL(reference ‖ model) over the prompt's tokens after the first
    nll_prompt, entropy_prompt : mean −ln p and entropy under the reference over the same tokens
    kl_choice : the same over the tokens of each choice
    nll_reference : mean −ln p under the reference over the tokens of each choice
    entropy_reference : mean entropy of the reference over the tokens of each choice
    """

    answer: Answer
    kl_prompt: float | None
    kl_choice: tuple[float | None, ...]
    nll_reference: tuple[float | None, ...]
    entropy_reference: tuple[float | None, ...]
    nll_prompt: float | None
    entropy_prompt: float | None

    def to_json(self) -> dict[str, object]:
        """As JSON values; floats come back bit for bit."""
        return {
            "loglikelihood": self.answer.loglikelihood,
            "greedy": self.answer.greedy,
            "kl_prompt": self.kl_prompt,
            "kl_choice": self.kl_choice,
            "nll_reference": self.nll_reference,
            "entropy_reference": self.entropy_reference,
            "nll_prompt": self.nll_prompt,
            "entropy_prompt": self.entropy_prompt,
        }

    @classmethod
    def from_json(cls, values: dict[str, object]) -> ItemScore:
        """The inverse of `to_json`."""
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(Answer(values.pop("loglikelihood"), values.pop("greedy")), **values)


def score_pack(
    model: OpenedModel, items: Sequence[Item], reference: Sequence[Tensor], reference_head: Head, *, tile: int
) -> list[ItemScore]:
    """Run items together and score them against the reference's hidden states; see `score_states`."""
    return score_states(items, hidden_states(model, items), model.head, reference, reference_head, tile=tile)


def score_states(
    items: Sequence[Item],
    hidden: Sequence[Tensor],
    head: Head,
    reference: Sequence[Tensor],
    reference_head: Head,
    *,
    tile: int,
) -> list[ItemScore]:
    """Scores of items from hidden states.

    Parameters
    ----------
    hidden, reference : one Tensor an item, shape (positions of the item, width)
        The model's and the reference's hidden states at `Item.positions`.
    head, reference_head : Head
        On one device; an engine that gives logits has a head that hands them on.
    tile : int
        Vocabulary rows taken at a time.
    """
    device = reference_head.weight.device
    rows = [torch.from_numpy(np.searchsorted(item.positions, item.rows.position)).to(device) for item in items]
    quantities = token_divergence(
        HeadLogits(_rows_of(reference, rows), reference_head),
        HeadLogits(_rows_of(hidden, rows), head),
        torch.from_numpy(np.concatenate([item.rows.target for item in items])).to(device),
        tile=tile,
    )
    columns = {name: values.numpy() for name, values in quantities.columns().items()}
    columns["greedy_quant"] = quantities.greedy_quant.cpu().numpy()
    ends = np.cumsum([len(item.rows.target) for item in items])[:-1]
    split = {name: np.split(values, ends) for name, values in columns.items()}
    return [_item_score(item, {name: parts[i] for name, parts in split.items()}) for i, item in enumerate(items)]


def _rows_of(states: Sequence[Tensor], rows: Sequence[Tensor]) -> Tensor:
    return torch.cat([state.to(row.device)[row] for state, row in zip(states, rows, strict=True)])


def _item_score(item: Item, columns: dict[str, np.ndarray]) -> ItemScore:
    choices = [item.rows.part == number for number in range(len(item.choices))]
    loglikelihood = tuple(_finite(-columns["nll_quant"][rows].sum()) for rows in choices)
    greedy = tuple(bool(columns["greedy_quant"][rows].all()) for rows in choices)
    means = {name: tuple(_mean(columns[name][rows]) for rows in choices) for name in _CHOICE_MEANS}
    prompt = item.rows.part == PROMPT
    return ItemScore(
        Answer(loglikelihood, greedy),
        kl_prompt=_mean(columns["kl"][prompt]),
        kl_choice=means["kl"],
        nll_reference=means["nll_reference"],
        entropy_reference=means["entropy_reference"],
        nll_prompt=_mean(columns["nll_reference"][prompt]),
        entropy_prompt=_mean(columns["entropy_reference"][prompt]),
    )


_CHOICE_MEANS = ("kl", "nll_reference", "entropy_reference")


def _mean(values: np.ndarray) -> float | None:
    return _finite(values.mean()) if values.size else None


def _finite(value: np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None
