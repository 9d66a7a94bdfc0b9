"""Whether several texts may share one row of a batch: a block mask and position ids keep them apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qkld.models.opened import trunk_states

TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest difference of hidden states, relative to their largest value, that rounding may make."""


def supports_packing(module: nn.Module, dtype: torch.dtype) -> bool:
    """True if every layer attends in full and a probe of two packed texts gives what each gives alone.

    Layers with sliding or chunked windows, convolutions or recurrent states are never packed: a mask does not reach
    them, or would replace their own.
    """
    config = module.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"} or (_slides(config) and not hasattr(config, "layer_types")):
        return False
    first, second = torch.tensor([[1, 5, 17, 3]]), torch.tensor([[2, 9, 4, 11, 6]])
    positions = torch.cat([torch.arange(t.shape[1]) for t in (first, second)])[None]
    mask = block_mask([first.shape[1], second.shape[1]])
    try:
        together = trunk_states(
            module, torch.cat([first, second], dim=1), position_ids=positions, attention_mask=mask[None, None]
        )
    except (RuntimeError, ValueError, TypeError, IndexError):  # the architecture takes no 4-D mask or no position ids
        return False
    alone = torch.cat([trunk_states(module, t) for t in (first, second)], dim=1)
    difference = (together.float() - alone.float()).abs().max() / alone.float().abs().max()
    return bool(difference <= TOLERANCE[dtype])


def _slides(config: object) -> bool:
    return bool(getattr(config, "sliding_window", None)) and getattr(config, "use_sliding_window", True)


def block_mask(lengths: list[int]) -> Tensor:
    """True where a token may look: at itself and earlier tokens of its own text; shape (sum, sum)."""
    owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    return (owner[:, None] == owner[None, :]) & torch.ones(len(owner), len(owner), dtype=torch.bool).tril()
