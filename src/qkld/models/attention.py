"""Attention on CPUs: scores in float32, a few rows at a time, each against the keys that its mask lets it see.

Why not torch's own: its flash kernel on CPUs multiplies bfloat16 through a library that has no bfloat16 product on
every processor that does, and it visits all keys of every row, seen or not. Several benchmark items packed into one
sequence see about a tenth of it.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qkld.models.devices import multiplies_bfloat16

NAME = "qkld_in_blocks"
"""The name under which transformers knows it."""

ROWS = 64
"""Rows whose scores are held at once: for nine heads and 512 keys in float32, about a megabyte."""


def attend_in_blocks(module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Let a model on the CPU compute its attention here, where this is faster than torch's own.

    That is in float32, and in bfloat16 on a processor that multiplies it and has no AMX, which torch's own kernel uses;
    in other dtypes, on other devices, and for models that do not take their attention from transformers' registry, or
    do other things for another name there (DeepSeek V3.2 selects keys for torch's only), nothing changes.
    """
    if device.type == "cpu" and _is_faster(dtype) and _takes_another(module):
        _register()
        module.set_attn_implementation(NAME)


@contextmanager
def torchs_attention(module: nn.Module) -> Iterator[None]:
    """The model as transformers runs it by itself, with torch's attention, for as long as this lasts."""
    own = module.config._attn_implementation
    module.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        module.set_attn_implementation(own)


def _is_faster(dtype: torch.dtype) -> bool:
    has_amx = torch.cpu.get_capabilities().get("amx_bf16", False)
    return dtype == torch.float32 or (
        dtype == torch.bfloat16 and multiplies_bfloat16(torch.device("cpu")) and not has_amx
    )


def _takes_another(module: nn.Module) -> bool:
    is_torchs = module.config._attn_implementation == "sdpa" and module._can_set_attn_implementation()
    return is_torchs and not any(_asks_for_names(of) for of in {type(part).__module__ for part in module.modules()})


@cache
def _asks_for_names(python_module: str) -> bool:
    """Whether a file of transformers compares the name of the attention, and so may run otherwise under another one."""
    if not python_module.startswith("transformers.models."):
        return False
    return (
        re.search(r"_attn_implementation\s*(==|!=|in\b|not in\b)", inspect.getsource(sys.modules[python_module]))
        is not None
    )


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface; what `blockwise_attention` does not take goes to torch's attention.

    That is decoding with a cache, dropout, additive masks, masks that differ between heads, and position biases.
    """
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    is_taken = (
        query.shape[2] == key.shape[2]
        and dropout == 0.0
        and (causal if attention_mask is None else _is_shared(attention_mask))
        and all(more.get(name) is None for name in ("softcap", "s_aux", "position_bias", "cache"))
    )
    if not is_taken:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, is_causal=is_causal, **more
        )
    return blockwise_attention(query, key, value, seen=attention_mask, scale=scaling).transpose(1, 2), None


def _is_shared(mask: Tensor) -> bool:
    return mask.dtype == torch.bool and mask.dim() == 4 and mask.shape[1] == 1


def blockwise_attention(
    query: Tensor, key: Tensor, value: Tensor, *, seen: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """softmax(scale · query keyᵀ) value over the keys that each row sees.

    Scores and softmax are float32; the probabilities are rounded to the dtype of ``value`` for the second product, as
    torch's flash kernel does.

    Parameters
    ----------
    query : Tensor, shape (batch, heads, rows, width)
    key, value : Tensor, shape (batch, key heads, rows, width)
        Each key head serves ``heads / key heads`` neighbouring heads.
    seen : Tensor of bool, shape (batch or 1, 1, rows, rows), optional
        True where a row sees a key; by default each row sees itself and what stands before it. A row that sees nothing
        gets a mean of no meaning, not NaN.
    scale : float, optional
        ``width ** -0.5`` by default.

    Returns
    -------
    Tensor, shape (batch, heads, rows, width of value)
        In the dtype of ``query``; a view whose rows come before its heads in memory, as transformers hands it on.
    """
    batch, heads, rows, width = query.shape
    key_heads = key.shape[1]
    served, groups = heads // key_heads, batch * key_heads
    factor = width**-0.5 if scale is None else scale
    queries = _by_group(query, key_heads).to(torch.float32).mul(factor).reshape(groups, rows, served, width)
    keys = key.float().reshape(groups, rows, width).transpose(1, 2)
    values = value.reshape(groups, rows, -1)
    out = query.new_empty(groups, rows, served, values.shape[-1])
    for begin, end, first, last in _spans(seen, rows):
        scores = torch.bmm(queries[:, begin:end].flatten(1, 2), keys[:, :, first:last])
        _hide(scores.view(batch, key_heads, end - begin, served, -1), seen, begin, first)
        shares = torch.softmax(scores, dim=-1).to(values.dtype)
        out[:, begin:end] = torch.bmm(shares, values[:, first:last]).unflatten(1, (end - begin, served))
    by_row = out.view(batch, key_heads, rows, served, -1).transpose(1, 2).reshape(batch, rows, heads, -1)
    return by_row.contiguous().transpose(1, 2)


def _by_group(query: Tensor, key_heads: int) -> Tensor:
    """(batch, heads, rows, width) → (batch, key heads, rows, heads of a key head, width)."""
    return query.unflatten(1, (key_heads, -1)).transpose(2, 3)


def _hide(scores: Tensor, seen: Tensor | None, begin: int, first: int) -> None:
    """Set the scores of keys not seen to the lowest number; (batch, key heads, rows, heads of a key head, keys).

    Rows count from ``begin`` and keys from ``first``. Without a mask, the keys before the rows are seen by all of them.
    """
    rows, keys = scores.shape[2], scores.shape[4]
    if seen is None:
        scores, hidden = scores[..., -rows:], torch.ones(rows, rows, dtype=torch.bool, device=scores.device).triu(1)
    else:
        hidden = ~seen[:, :, begin : begin + rows, first : first + keys]
    scores.masked_fill_(hidden.unsqueeze(-2), torch.finfo(torch.float32).min)


def _spans(seen: Tensor | None, rows: int) -> Iterator[tuple[int, int, int, int]]:
    """Of every block of rows its begin and end, and those of the span of keys that any of its rows sees."""
    begins = range(0, rows, ROWS)
    ends = [min(begin + ROWS, rows) for begin in begins]
    if seen is None:
        return zip(begins, ends, [0] * len(ends), ends, strict=True)
    block = F.pad(seen.any(dim=0)[0], (0, 0, 0, -rows % ROWS)).view(len(ends), ROWS, rows).any(dim=1).byte()
    firsts, lasts = block.argmax(dim=1), rows - block.flip(1).argmax(dim=1)
    return zip(begins, ends, firsts.tolist(), lasts.tolist(), strict=True)
