"""HQQ of the trunk's linear layers along axis 1, with scales and zero points in 16 bits.

The library packs 6- and 5-bit integers one a byte; bits are counted as nominal for these two, as it stores them for
the others. Dequantization multiplies in float32, so that nothing is rounded twice.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qkld.models.bits import tensor_bits
from qkld.study.entries import HqqModel

UNPACKED_BITS = (6, 5)

QUANTIZES_EXPERTS = False
"""HQQ takes linear layers only: fused experts stay as they are."""

QUANTIZES_CONV1D = False
"""HQQ leaves GPT-2's linear layers, whose weights lie as (in, out)."""


def quantize(layer: nn.Linear, entry: HqqModel) -> nn.Module:
    """The library's layer with the weight quantized, on the layer's device."""
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

    config = BaseQuantizeConfig(nbits=entry.bits, group_size=entry.group_size, axis=1)
    compute_dtype = layer.weight.dtype
    scale_dtype = compute_dtype if compute_dtype.itemsize == 2 else torch.float16
    made = HQQLinear(layer, config, compute_dtype=scale_dtype, device=str(layer.weight.device))
    made.compute_dtype = made.meta["compute_dtype"] = compute_dtype
    return made


def owns(layer: nn.Module) -> bool:
    """Whether the layer is HQQ's."""
    return type(layer).__module__.startswith("hqq.")


def dense_weight(layer: nn.Module) -> Tensor:
    """The weight that the stored integers, scales and zero points stand for, shape (out, in), float32."""
    from hqq.core.quantize import Quantizer

    meta = {**layer.meta, "compute_dtype": torch.float32}
    meta |= {name: meta[name].to(torch.float32) for name in ("scale", "zero")}
    return Quantizer.dequantize(layer.W_q.data, meta)


def stored_tensors(layer: nn.Module) -> dict[str, Tensor]:
    """Packed integers, scales and zero points."""
    return {"integers": layer.W_q.data, "scale": layer.meta["scale"], "zero": layer.meta["zero"]}


def weight_bits(layer: nn.Module) -> int:
    """Bits of the stored weight."""
    tensors = stored_tensors(layer)
    bits = tensor_bits(tensors["scale"], tensors["zero"])
    if layer.meta["nbits"] in UNPACKED_BITS:
        return bits + layer.meta["shape"].numel() * layer.meta["nbits"]
    return bits + tensor_bits(tensors["integers"])
