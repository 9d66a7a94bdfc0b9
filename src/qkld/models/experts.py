"""Fused experts: one parameter that holds the matrices of all experts of a layer, which is no linear layer."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Experts:
    """A parameter of all experts' matrices, (experts, out, in), or (experts, in, out) where it is transposed."""

    name: str
    parameter: nn.Parameter
    is_transposed: bool

    @property
    def width(self) -> int:
        """Inputs of each matrix."""
        return self.parameter.shape[1 if self.is_transposed else 2]


def fused_experts(module: nn.Module) -> list[Experts]:
    """Every parameter that holds all experts' matrices of a layer, each shared one once.

    Such are the three-dimensional parameters of modules called experts, by transformers' own convention.
    """
    found, seen = [], set()
    for name, layer in module.named_modules():
        if "Experts" not in type(layer).__name__:
            continue
        for key, parameter in layer.named_parameters(recurse=False):
            if parameter.ndim == 3 and id(parameter) not in seen:
                seen.add(id(parameter))
                found.append(Experts(f"{name}.{key}", parameter, _is_transposed(layer)))
    return found


def _is_transposed(layer: nn.Module) -> bool:
    """Whether a layer of experts multiplies inputs by its matrices as they lie (GPT-OSS, Aria, Llama 4).

    transformers says so of most; of Llama 4's, whose class says nothing, the shapes do: what goes in comes out again,
    so it is the outer width of the first and of the last product.
    """
    stated = getattr(layer, "is_transposed", None)
    if stated is not None:
        return stated
    first, last = getattr(layer, "gate_up_proj", None), getattr(layer, "down_proj", None)
    if first is None or last is None:
        return False
    return first.shape[2] != last.shape[1] and first.shape[1] == last.shape[2]
