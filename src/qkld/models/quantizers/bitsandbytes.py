"""bitsandbytes LLM.int8, NF4 and FP4 of the trunk's linear layers, on CUDA and on the CPU.

Run natively, 4-bit layers compute in bfloat16 on CPUs with AVX512-BF16 whatever dtype is asked for, and LLM.int8
quantizes the activations too, except outlier columns. Dequantized, a 4-bit weight is what
``bitsandbytes.functional.dequantize_4bit`` gives, an int8 weight is its integers times their row's scale, and
activations are not quantized: the figures are then those of the weights alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qkld.models.bits import tensor_bits
from qkld.study.entries import BitsandbytesModel

INT8_THRESHOLD = 6.0
"""Activation columns beyond this are multiplied in 16 bits by LLM.int8; the library's and the paper's value."""

QUANTIZES_EXPERTS = False
"""transformers gives bitsandbytes linear layers only: fused experts stay as they are, as in every saved checkpoint."""

QUANTIZES_CONV1D = True
"""transformers gives bitsandbytes GPT-2's linear layers too, whose weights lie as (in, out)."""


def quantize(layer: nn.Linear, entry: BitsandbytesModel) -> nn.Module:
    """The library's layer with the weight quantized, on the layer's device."""
    import bitsandbytes

    weight, device = layer.weight.data, layer.weight.device
    shape = (layer.in_features, layer.out_features, layer.bias is not None)
    nowhere = {"device": "meta"}  # the library would fill a weight with random numbers that is replaced at once
    if entry.scheme == "int8":
        made = bitsandbytes.nn.Linear8bitLt(*shape, has_fp16_weights=False, threshold=INT8_THRESHOLD, **nowhere)
        made.weight = bitsandbytes.nn.Int8Params(weight.cpu(), requires_grad=False, has_fp16_weights=False)
    else:
        made = bitsandbytes.nn.Linear4bit(
            *shape,
            compute_dtype=weight.dtype,
            quant_type=entry.scheme,
            compress_statistics=entry.double_quant,
            **nowhere,
        )
        made.weight = bitsandbytes.nn.Params4bit(
            weight.cpu(), quant_type=entry.scheme, compress_statistics=entry.double_quant, module=made
        )
    made.bias = layer.bias
    return made.to(device)


def owns(layer: nn.Module) -> bool:
    """Whether the layer is one of the library's."""
    return type(layer).__module__.startswith("bitsandbytes.")


def dense_weight(layer: nn.Module) -> Tensor:
    """The weight that the stored integers stand for, shape (out, in), in float32 or the dtype it was made from."""
    import bitsandbytes

    weight = layer.weight
    if weight.dtype == torch.int8:
        scale = weight.SCB if weight.SCB is not None else layer.state.SCB
        return weight.data.to(torch.float32) * (scale.to(torch.float32) / 127).unsqueeze(1)
    return bitsandbytes.functional.dequantize_4bit(weight.data, weight.quant_state)


def stored_tensors(layer: nn.Module) -> dict[str, Tensor]:
    """Integers and scales; for double quantization the integers of the scales, their scales and their mean."""
    weight = layer.weight
    if weight.dtype == torch.int8:
        return {"integers": weight.data, "scale": weight.SCB if weight.SCB is not None else layer.state.SCB}
    state = weight.quant_state
    tensors = {"integers": weight.data, "absmax": state.absmax}
    if state.nested:
        tensors |= {"nested_absmax": state.state2.absmax, "offset": state.offset}
    return tensors


def weight_bits(layer: nn.Module) -> int:
    """Bits of the stored weight. Code books, one for the whole library, are not counted."""
    return tensor_bits(*stored_tensors(layer).values())
