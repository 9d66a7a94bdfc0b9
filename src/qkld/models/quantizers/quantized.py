"""Quantized linear layers of any family: made from plain ones, hashed, and turned into plain ones again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

import torch
from torch import Tensor, nn

from qkld.errors import ModelError
from qkld.models.bits import StoredBits, Tally, plain_bits, tensor_bits
from qkld.models.experts import Experts, fused_experts
from qkld.models.quantizers import bitsandbytes, compressed_tensors, hqq, torchao
from qkld.study.entries import MadeModel

MAKERS: dict[str, ModuleType] = {"bitsandbytes": bitsandbytes, "torchao": torchao, "hqq": hqq}
"""Families that quants are made with here; each also gives quantize, weight_bits, and what else it quantizes."""

FAMILIES: tuple[ModuleType, ...] = (*MAKERS.values(), compressed_tensors)
"""Each family gives owns, dense_weight and stored_tensors."""


def family_of(layer: nn.Module) -> ModuleType | None:
    """The family that a layer's weight is quantized by, or None."""
    return next((family for family in FAMILIES if family.owns(layer)), None)


def trunk_linears(module: nn.Module) -> dict[str, nn.Linear]:
    """Linear layers by name, the output head left out; embeddings, norms and fused experts are none."""
    head = module.get_output_embeddings()
    return {name: m for name, m in module.named_modules() if isinstance(m, nn.Linear) and m is not head}


def trunk_conv1ds(module: nn.Module) -> dict[str, nn.Module]:
    """Linear layers of GPT-2's kind by name: they multiply by a weight of shape (in, out)."""
    from transformers.pytorch_utils import Conv1D

    return {name: m for name, m in module.named_modules() if isinstance(m, Conv1D)}


class Weights(Protocol):
    """The weights that quants are made from: as a module holds them, or as its files do."""

    bits: StoredBits
    """Of the whole model before it is quantized."""

    def weight(self, name: str) -> Tensor:
        """The tensor that a parameter is quantized from."""

    def weight_bits(self, name: str) -> int:
        """The bits that it is stored in."""


@dataclass
class InMemory:
    """A module's weights as they lie in memory."""

    module: nn.Module

    def __post_init__(self) -> None:
        self.bits = plain_bits(self.module)

    def weight(self, name: str) -> Tensor:
        """The parameter itself."""
        return self.module.get_parameter(name).data

    def weight_bits(self, name: str) -> int:
        """As it lies in memory."""
        return tensor_bits(self.module.get_parameter(name))


def quantize_trunk(
    module: nn.Module,
    entry: MadeModel,
    *,
    weights: Weights | None = None,
    device: torch.device | None = None,
    dense: bool = False,
) -> StoredBits:
    """Quantize every linear layer of the trunk in place; embeddings, head and norms stay as they are.

    Layers are quantized one at a time on ``device`` (None: where they lie), from ``weights`` (None: as they lie). With
    ``dense`` each stays the layer it is, with the quantized values in its weight's dtype and place, so that a device
    has to hold one layer and not the model; then the experts that a family can quantize are quantized as well. Without,
    the library's own layers take the place of those that do what torch's linear layer does.

    Returns
    -------
    StoredBits
        As stored; what is not quantized counts as ``weights`` say.

    Raises
    ------
    ModelError
        If there is nothing to quantize, or a layer's width is no multiple of the group size.
    """
    weights = weights or InMemory(module)
    family, before = MAKERS[entry.method], weights.bits
    transposed = trunk_conv1ds(module) if family.QUANTIZES_CONV1D else {}
    layers = {n: m for n, m in trunk_linears(module).items() if dense or _is_plain(m)} | transposed
    experts = fused_experts(module) if dense and family.QUANTIZES_EXPERTS else []
    widths = {n: m.weight.shape[0 if n in transposed else 1] for n, m in layers.items()}
    _check_groups(widths | {e.name: e.width for e in experts}, entry)
    change, made = Tally(), {}
    for name, layer in layers.items():
        weight = layer.weight
        if id(weight) not in made:  # layers may share one weight
            matrix = weights.weight(f"{name}.weight")
            source = _linear(matrix.T.contiguous() if name in transposed else matrix, layer.bias)
            quantized = family.quantize(source if device is None else source.to(device), entry)
            change += _change(weight, weights.weight_bits(f"{name}.weight"), family.weight_bits(quantized))
            made[id(weight)] = None if dense else quantized
            if dense:
                values = family.dense_weight(quantized).to(device=weight.device, dtype=weight.dtype)
                weight.data = values.T.contiguous() if name in transposed else values
        if not dense:
            module.set_submodule(name, made[id(weight)])
    for one in experts:
        bits = _quantize_experts(one, weights.weight(one.name), entry, device)
        change += _change(one.parameter, weights.weight_bits(one.name), bits)
    return StoredBits(before.trunk + change, embedding=before.embedding, head=before.head)


def _change(parameter: Tensor, before: int, after: int) -> Tally:
    """What the trunk's tally gains when a plain weight is quantized."""
    return Tally(0, after - before, plain=-parameter.numel())


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    layer.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
    return layer


@torch.inference_mode()
def _is_plain(layer: nn.Linear) -> bool:
    """Whether a layer does what torch's linear layer does; some classes of linear layers group, route or split."""
    if type(layer).forward is nn.Linear.forward:
        return True
    given = torch.linspace(-1, 1, 2 * layer.in_features).reshape(2, -1).to(layer.weight)
    try:
        found = layer(given)
    except Exception:  # inputs of another shape, or others beside them: it does something else
        return False
    wanted = nn.functional.linear(given, layer.weight, layer.bias)
    return isinstance(found, Tensor) and found.shape == wanted.shape and torch.allclose(found, wanted, rtol=1e-2)


def _quantize_experts(one: Experts, weight: Tensor, entry: MadeModel, device: torch.device | None) -> int:
    """Quantize each expert's matrix by itself, along its inputs, and write its values back; returns the bits."""
    family, bits = MAKERS[entry.method], 0
    for number, matrix in enumerate(weight):
        source = _linear((matrix.T if one.is_transposed else matrix).contiguous(), None)
        quantized = family.quantize(source if device is None else source.to(device), entry)
        bits += family.weight_bits(quantized)
        values = family.dense_weight(quantized)
        one.parameter.data[number].copy_(values.T if one.is_transposed else values)
    return bits


def _check_groups(widths: dict[str, int], entry: MadeModel) -> None:
    """Refuse a trunk without anything to quantize, or whose input widths no groups divide."""
    if not widths:
        raise ModelError(
            f"'{entry.label}' has no layers to quantize.",
            expected="linear layers in the trunk",
            found="none",
            do="choose a reference whose layers are torch.nn.Linear",
        )
    group = getattr(entry, "group_size", None)
    for name, width in widths.items():
        if group is not None and width % group:
            raise ModelError(
                f"'{entry.label}' cannot be made: the width of layer {name} is not a multiple of the group size.",
                expected=f"an input width that is a multiple of {group}",
                found=width,
                do="choose a group size that divides the width of every layer",
            )


def dequantize(module: nn.Module, dtypes: torch.dtype | Mapping[str, torch.dtype]) -> None:
    """Replace quantized linear layers and experts by plain ones of equal weights, in one dtype or in each one's own."""

    def dtype_of(name: str) -> torch.dtype:
        return dtypes if isinstance(dtypes, torch.dtype) else dtypes[name]

    for name, layer in list(module.named_modules()):
        if family_of(layer) is None:
            continue
        tensors = {"weight": family_of(layer).dense_weight(layer), "bias": layer.bias}
        plain = {key: None if t is None else t.to(dtype_of(f"{name}.{key}")) for key, t in tensors.items()}
        module.set_submodule(name, _linear(plain["weight"], plain["bias"]))
    for name, parameter in list(module.named_parameters()):
        if torchao.is_quantized(parameter):
            owner, _, key = name.rpartition(".")
            values = parameter.dequantize().to(dtype_of(name))
            setattr(module.get_submodule(owner), key, nn.Parameter(values, requires_grad=False))


def move_plain(module: nn.Module, device: torch.device) -> None:
    """Move every parameter and buffer that no quantized layer owns."""
    for layer in module.modules():
        if family_of(layer) is None:
            for tensor in (*layer._parameters.values(), *layer._buffers.values()):
                if tensor is not None:
                    tensor.data = tensor.data.to(device)
