"""A model that computes in float64 throughout, to hold changes against that should not alter its function."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def in_float64(module: nn.Module) -> nn.Module:
    """A float64 copy of a Llama-type model, its norms replaced: transformers' own compute in float32 whatever comes.

    Sines and cosines of the positions stay as transformers makes them, in float32: they depend on no weight, so two
    models of equal heads share them bit by bit.
    """
    exact = copy.deepcopy(module).double()
    exact.model.rotary_emb = copy.deepcopy(module.model.rotary_emb)
    for name, norm in list(exact.named_modules()):
        if hasattr(norm, "variance_epsilon"):
            plain = nn.RMSNorm(norm.weight.shape[0], eps=norm.variance_epsilon, dtype=torch.float64)
            plain.weight = norm.weight
            exact.set_submodule(name, plain)
    return exact.eval().requires_grad_(False)


@torch.inference_mode()
def largest_logit_difference(one: nn.Module, other: nn.Module, ids: Tensor) -> float:
    """Largest absolute difference of two models' logits in float64; ids (batch, tokens)."""
    logits = [in_float64(module)(input_ids=ids, use_cache=False).logits for module in (one, other)]
    return (logits[0] - logits[1]).abs().max().item()
