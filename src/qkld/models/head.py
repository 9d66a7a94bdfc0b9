"""The output head of a language model: hidden states after the last norm → logits, all or a tile of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from qkld.models.tensors import tensor_bytes

Product: TypeAlias = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""hidden · weightᵀ + bias."""


@dataclass(frozen=True)
class Head:
    """logits = softcap · tanh(scale · (hidden · weightᵀ + bias) / softcap), without the parts that are None.

    Attributes
    ----------
    weight : Tensor, shape (vocab, width)
        In the dtype the product is computed in; rows beyond the tokenizer are already cut off.
    bias : Tensor, shape (vocab,), or None
    scale : float
        Factor on the product (Cohere's ``logit_scale``, the inverse of Granite's ``logits_scaling``).
    softcap : float or None
        Gemma 2's ``final_logit_softcapping``.
    wide : bool
        Whether a 16-bit product is made float32 before it is scaled and capped, as the model's own is.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None
    wide: bool = False

    @property
    def vocabulary(self) -> int:
        """Rows of the head."""
        return self.weight.shape[0]

    @property
    def width(self) -> int:
        """Width of the hidden states it takes."""
        return self.weight.shape[1]

    @property
    def is_changed(self) -> bool:
        """Whether the product is scaled or capped."""
        return self.scale != 1.0 or self.softcap is not None

    def logits(self, hidden: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Logits of vocabulary rows ``start:stop``, in the head's dtype; (tokens, width) → (tokens, stop − start)."""
        return self._logits(hidden, start, stop, torch.nn.functional.linear)

    def tile(self, hidden: Tensor, start: int, stop: int) -> Tensor:
        """As `logits`, by the fastest product: in float32 on a CPU it sums in another order than the model's does."""
        return self._logits(hidden, start, stop, fast_product)

    def _logits(self, hidden: Tensor, start: int, stop: int | None, product: Product) -> Tensor:
        bias = None if self.bias is None else self.bias[start:stop]
        out = product(hidden.to(self.weight.dtype), self.weight[start:stop], bias)
        if self.wide:
            out = out.to(torch.promote_types(out.dtype, torch.float32))
        if self.scale != 1.0:
            out = out * self.scale
        if self.softcap is not None:
            out = torch.tanh(out / self.softcap) * self.softcap
        return out

    def to(self, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Head:
        """The same head in another dtype or on another device."""
        bias = None if self.bias is None else self.bias.to(dtype=dtype, device=device)
        return replace(self, weight=self.weight.to(dtype=dtype, device=device), bias=bias)

    def cut(self, vocabulary: int) -> Head:
        """The first ``vocabulary`` rows: what is left without the padding rows."""
        bias = None if self.bias is None else self.bias[:vocabulary]
        return replace(self, weight=self.weight[:vocabulary], bias=bias)

    def sha256(self) -> str:
        """Content hash over weight, bias, scale and soft cap."""
        form = f"{self.weight.dtype}{tuple(self.weight.shape)}{self.scale}{self.softcap}{'wide' if self.wide else ''}"
        digest = hashlib.sha256(form.encode())
        for tensor in (self.weight, self.bias):
            if tensor is not None:
                digest.update(tensor_bytes(tensor))
        return digest.hexdigest()


def fast_product(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """hidden · weightᵀ + bias, in their dtype; float32 on a CPU by oneDNN, which torch itself asks for 16 bits only.

    There oneDNN multiplies a float32 tile faster than MKL on processors of AMD; both err by roundings of float32.
    """
    on_cpu = hidden.device.type == "cpu" and torch.backends.mkldnn.is_available()
    fits = hidden.dtype == weight.dtype == torch.float32 and hidden.ndim == 2 and hidden.numel() and weight.numel()
    if on_cpu and fits and not torch.is_autocast_enabled("cpu"):
        product = torch.nn.functional.linear(hidden.to_mkldnn(), weight).to_dense()
        return product if bias is None else product + bias
    return torch.nn.functional.linear(hidden, weight, bias)
