"""Items run by a model beside the reference's stored hidden states: log-probabilities and divergences of each item.

Items are run pack by pack, and every finished pack is kept on disk, so that a killed run goes on with the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from qkld.benchmarks.harness import Answer
from qkld.benchmarks.items import PROMPT, Item
from qkld.benchmarks.packing import hidden_states, split_into_packs
from qkld.divergence import HeadLogits, token_divergence
from qkld.errors import BenchmarkError
from qkld.models import OpenedModel
from qkld.models.head import Head
from qkld.reference.store import ReferenceStore
from qkld.study.progress import steps
from qkld.study.sealing import read_sealed, write_sealed

AGAIN = "delete it and run notebooks/03_benchmark_scores.ipynb again"


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


def score_items(
    model: OpenedModel,
    items: Sequence[Item],
    store: ReferenceStore,
    folder: Path,
    *,
    pack_tokens: int,
    tile: int,
) -> dict[str, ItemScore]:
    """Request → score of the items that the store holds, in its order; finished packs are kept in the folder."""
    head = store.head.to(device=model.device)
    packs = split_into_packs(items, pack_tokens=pack_tokens, packing=model.supports_packing)
    scores: dict[str, ItemScore] = {}
    windows = iter(range(len(items)))
    with steps(f"{model.label} on {store.header.name}", len(items), unit="item") as progress:
        for number, pack in enumerate(packs):
            path, own = folder / f"{number:06d}.json", [next(windows) for _ in pack]
            if not path.exists():
                reference = [store.hidden(window) for window in own]
                fresh = score_pack(model, pack, reference, head, tile=tile)
                _save(path, pack, fresh)
            scores.update(_saved(path, pack))
            progress.advance(len(pack), tokens=sum(len(item.tokens) for item in pack))
    return scores


def _save(path: Path, pack: Sequence[Item], scores: Sequence[ItemScore]) -> None:
    write_sealed(path, {item.request: score.to_json() for item, score in zip(pack, scores, strict=True)})


def _saved(path: Path, pack: Sequence[Item]) -> dict[str, ItemScore]:
    values = read_sealed(path, do=AGAIN)
    try:
        return {item.request: ItemScore.from_json(values[item.request]) for item in pack}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BenchmarkError(
            f"{path} belongs to other items.",
            expected="the scores of this pack of items",
            found=f"{type(error).__name__}: {error}",
            do=AGAIN,
        ) from error


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
