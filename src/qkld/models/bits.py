"""Bits per weight, counted from what is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

Part = Literal["trunk", "embedding", "head"]


@dataclass(frozen=True)
class Tally:
    """Weights, the bits they are stored in (scales, zero points and code books included), and those left plain.

    Plain are weights stored as floating-point numbers of 16 bits or more, which no quantizer has touched.
    """

    weights: int = 0
    bits: int = 0
    plain: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.weights + other.weights, self.bits + other.bits, self.plain + other.plain)

    @property
    def bits_per_weight(self) -> float:
        """Mean; NaN for no weights."""
        return self.bits / self.weights if self.weights else float("nan")

    @property
    def plain_share(self) -> float:
        """Share of the weights that no quantizer has touched; NaN for no weights."""
        return self.plain / self.weights if self.weights else float("nan")


@dataclass(frozen=True)
class StoredBits:
    """What a model's weights take, in three parts; a head tied to the embeddings has no weights of its own.

    The trunk is everything but the embeddings and the head: norms and biases count too.
    """

    trunk: Tally
    embedding: Tally
    head: Tally

    @property
    def bits_per_weight(self) -> float:
        """Over all weights."""
        return (self.trunk + self.embedding + self.head).bits_per_weight

    @property
    def bits_per_trunk_weight(self) -> float:
        """Over the trunk."""
        return self.trunk.bits_per_weight

    @property
    def bits_per_embedding_weight(self) -> float:
        """Over the embeddings."""
        return self.embedding.bits_per_weight

    @property
    def bits_per_head_weight(self) -> float:
        """Over the head; the embeddings' where the head is tied to them."""
        return (self.head if self.head.weights else self.embedding).bits_per_weight

    @property
    def plain_trunk_share(self) -> float:
        """Share of the trunk's weights that no quantizer has touched."""
        return self.trunk.plain_share

    def as_json(self) -> dict[str, Any]:
        """For the file beside a converted model."""
        return {name: [t.weights, t.bits, t.plain] for name, t in vars(self).items()}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> StoredBits:
        """The inverse of `as_json`."""
        return StoredBits(**{name: Tally(*numbers) for name, numbers in value.items()})


def total(parts: Iterable[tuple[Part, Tally]]) -> StoredBits:
    """Sum of tallies, each with its part."""
    sums: dict[str, Tally] = {"trunk": Tally(), "embedding": Tally(), "head": Tally()}
    for part, tally in parts:
        sums[part] = sums[part] + tally
    return StoredBits(**sums)


def tensor_bits(*tensors: Tensor | None) -> int:
    """Bits that these tensors take as they lie in memory."""
    return sum(8 * t.numel() * t.element_size() for t in tensors if t is not None)


def part_names(module: nn.Module) -> dict[int, Part]:
    """``id`` of each embedding and head parameter → its part; all others are the trunk's."""
    parts: dict[int, Part] = {}
    head = module.get_output_embeddings()
    for parameter in () if head is None else head.parameters():
        parts[id(parameter)] = "head"
    for parameter in module.get_input_embeddings().parameters():
        parts[id(parameter)] = "embedding"
    return parts


def plain_bits(module: nn.Module) -> StoredBits:
    """Bits of a module whose parameters are all plain tensors, stored as they lie in memory."""
    parts = part_names(module)
    return total(
        (parts.get(id(p), "trunk"), Tally(p.numel(), tensor_bits(p), plain=p.numel())) for p in module.parameters()
    )
