"""Quantized linear layers of any family: made from plain ones, hashed, and turned into plain ones again."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import nn

from qkld.errors import ModelError, explain
from qkld.models import bitsandbytes, compressed_tensors, hqq, torchao
from qkld.models.bits import StoredBits, Tally, plain_bits, tensor_bits
from qkld.params import MadeModel

MAKERS: dict[str, ModuleType] = {"bitsandbytes": bitsandbytes, "torchao": torchao, "hqq": hqq}
"""Families that quants are made with here; each also gives quantize and weight_bits."""

FAMILIES: tuple[ModuleType, ...] = (*MAKERS.values(), compressed_tensors)
"""Each family gives owns, dense_weight and stored_tensors."""


def family_of(layer: nn.Module) -> ModuleType | None:
    """The family that a layer's weight is quantized by, or None."""
    return next((family for family in FAMILIES if family.owns(layer)), None)


def trunk_linears(module: nn.Module) -> dict[str, nn.Linear]:
    """Linear layers by name, the output head left out; embeddings, norms and fused experts are none."""
    head = module.get_output_embeddings()
    return {name: m for name, m in module.named_modules() if isinstance(m, nn.Linear) and m is not head}


def quantize_trunk(
    module: nn.Module, entry: MadeModel, *, device: torch.device | None = None, dense: torch.dtype | None = None
) -> StoredBits:
    """Quantize every linear layer of the trunk in place; embeddings, head and norms stay as they are.

    Returns the bits as stored; what is not quantized counts as it lies in memory. Layers are quantized one at a time on
    ``device`` (None: where they lie). With ``dense`` each becomes a plain layer of that dtype again at once, where it
    lay before, so that a device has to hold one layer and not the model.

    Raises
    ------
    ModelError
        If there is no linear layer, or one's width is no multiple of the group size.
    """
    layers = trunk_linears(module)
    _check_groups(layers, entry)
    family = MAKERS[entry.method]
    before = plain_bits(module)
    saved = 0
    for name, layer in layers.items():
        plain, home = tensor_bits(layer.weight), layer.weight.device
        made = family.quantize(layer if device is None else layer.to(device), entry)
        saved += plain - family.weight_bits(made)
        module.set_submodule(name, made if dense is None else plain_layer(made, dense).to(home))
    return StoredBits(
        Tally(before.trunk.weights, before.trunk.bits - saved), embedding=before.embedding, head=before.head
    )


def _check_groups(layers: dict[str, nn.Linear], entry: MadeModel) -> None:
    if not layers:
        raise ModelError(
            explain(
                f"'{entry.label}' has nothing to quantize.",
                expected="linear layers in the trunk",
                found="none",
                do="choose a reference whose layers are torch.nn.Linear",
            )
        )
    group = getattr(entry, "group_size", None)
    for name, layer in layers.items():
        if group is not None and layer.in_features % group:
            raise ModelError(
                explain(
                    f"'{entry.label}' can not be made: layer {name} does not divide into groups.",
                    expected=f"an input width that is a multiple of {group}",
                    found=layer.in_features,
                    do="choose a group size that divides the width of every layer",
                )
            )


def dequantize(module: nn.Module, dtype: torch.dtype) -> None:
    """Replace every quantized linear layer by a plain one that holds the same weights in ``dtype``."""
    for name, layer in list(module.named_modules()):
        if family_of(layer) is not None:
            module.set_submodule(name, plain_layer(layer, dtype))


def plain_layer(layer: nn.Module, dtype: torch.dtype) -> nn.Linear:
    """A plain linear layer that holds a quantized layer's weights in ``dtype``, on the same device."""
    weight = family_of(layer).dense_weight(layer).to(dtype)
    plain = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    plain.weight = nn.Parameter(weight, requires_grad=False)
    if layer.bias is not None:
        plain.bias = nn.Parameter(layer.bias.to(dtype), requires_grad=False)
    return plain


def move_plain(module: nn.Module, device: torch.device) -> None:
    """Move every parameter and buffer that no quantized layer owns."""
    for layer in module.modules():
        if family_of(layer) is None:
            for tensor in (*layer._parameters.values(), *layer._buffers.values()):
                if tensor is not None:
                    tensor.data = tensor.data.to(device)
