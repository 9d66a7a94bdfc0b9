"""torchao weight-only quantization of the trunk's linear layers: ``intx`` of 1 to 8 bits, int8 and float8.

Scales are stored in the dtype of the weights quantized, zero points of ``intx`` in int8 (asymmetric only: symmetric
ones are all zero and not counted). torchao keeps the integers unpacked, one a byte; bits are counted as its packed
formats would store them.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from qkld.models.transformers_library import quiet_loading
from qkld.study.entries import TorchaoModel

QUANTIZES_EXPERTS = True
"""torchao quantizes any parameter by name, so each expert's matrix is quantized as a linear layer's would be."""

QUANTIZES_CONV1D = False
"""torchao leaves GPT-2's linear layers, whose weights lie as (in, out)."""


@cache
def library() -> ModuleType:
    """torchao's quantization module, imported without its messages on compiled extensions for other GPUs."""
    with quiet_loading():
        import torchao.quantization

    return torchao.quantization


def config_of(entry: TorchaoModel) -> Any:
    """torchao's configuration for the entry."""
    ao = library()
    granularity = ao.PerRow() if entry.group_size is None else ao.PerGroup(entry.group_size)
    if entry.scheme == "int8":
        return ao.Int8WeightOnlyConfig(granularity=granularity, set_inductor_config=False)
    if entry.scheme == "float8":
        return ao.Float8WeightOnlyConfig(granularity=granularity, set_inductor_config=False)
    return ao.IntxWeightOnlyConfig(
        weight_dtype=getattr(torch, f"int{entry.bits}"),
        granularity=ao.PerAxis(0) if entry.group_size is None else granularity,
        mapping_type=getattr(ao.MappingType, entry.mapping.upper()),
    )


def quantize(layer: nn.Linear, entry: TorchaoModel) -> nn.Module:
    """The layer with its weight quantized in place."""
    library().quantize_(layer, config_of(entry), filter_fn=lambda module, _: isinstance(module, nn.Linear))
    return layer


def owns(layer: nn.Module) -> bool:
    """Whether the layer's weight is one of torchao's tensors."""
    return is_quantized(getattr(layer, "weight", None))


def is_quantized(tensor: Tensor | None) -> bool:
    """Whether a tensor is one of torchao's, which fused experts of a saved checkpoint may be as well."""
    return type(tensor).__module__.startswith("torchao.")


def dense_weight(layer: nn.Module) -> Tensor:
    """The weight that the stored integers and scales stand for, shape (out, in)."""
    return layer.weight.dequantize()


def stored_tensors(layer: nn.Module) -> dict[str, Tensor]:
    """The tensors that the library keeps for the weight."""
    return inner_tensors(layer.weight)


def inner_tensors(weight: Tensor) -> dict[str, Tensor]:
    """The plain tensors that one of torchao's consists of."""
    names = [*weight.tensor_data_names, *getattr(weight, "optional_tensor_data_names", ())]
    return {name: value for name in names if (value := getattr(weight, name)) is not None}


def weight_bits(layer: nn.Module) -> int:
    """Bits of the stored weight: nominal bits a value, scales, and zero points where any is not zero."""
    target = getattr(layer.weight, "target_dtype", None)
    bits = 0
    for name, tensor in stored_tensors(layer).items():
        if name == "zero_point" and not tensor.any():
            continue
        nominal = target is not None and name == "qdata"
        bits += tensor.numel() * (int(str(target).removeprefix("torch.int")) if nominal else 8 * tensor.element_size())
    return bits
