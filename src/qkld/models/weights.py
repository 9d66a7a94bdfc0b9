"""Checks over all of a model's weights: that they are finite, and their hash."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from qkld.errors import ModelError
from qkld.models.quantizers import torchao
from qkld.models.quantizers.quantized import family_of
from qkld.models.tensors import tensor_bytes
from qkld.models.text_part import empty_model


def stored_weights(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every tensor the model computes with, by name, tied ones once; of quantized layers the stored tensors."""
    inside: set[int] = set()
    for name, layer in module.named_modules():
        family = family_of(layer)
        if family is not None:
            inside.update(id(p) for p in layer.parameters())
            yield from ((f"{name}.{key}", tensor) for key, tensor in family.stored_tensors(layer).items())
            if layer.bias is not None:
                yield f"{name}.bias", layer.bias
    for name, parameter in module.named_parameters():
        if torchao.is_quantized(parameter) and id(parameter) not in inside:
            yield from ((f"{name}.{key}", tensor) for key, tensor in torchao.inner_tensors(parameter).items())
        elif id(parameter) not in inside:
            yield name, parameter.data


def loaded_dtypes(module: nn.Module, dtype: torch.dtype) -> dict[str, torch.dtype]:
    """Tensor → the dtype that transformers loads it in where the same architecture is not quantized.

    That is ``dtype``, or float32 where the architecture keeps a tensor in it.
    """
    plain = empty_model(module, dtype)
    kept = [(re.compile(name.replace("*", ".*")), wide) for name, wide in plain._get_dtype_plan(dtype).items()]
    return {
        name: next((wide for pattern, wide in kept if pattern.search(name)), tensor.dtype)
        for name, tensor in plain.state_dict(keep_vars=True).items()
    }


def cast_plain(module: nn.Module, dtypes: Mapping[str, torch.dtype]) -> None:
    """Cast every parameter of 16 bits or more that no quantized layer owns, in place.

    Buffers stay: their dtype is the architecture's, and a rotary embedding's frequencies would be rounded.
    """
    for name, layer in module.named_modules():
        if family_of(layer) is None:
            for key, parameter in layer.named_parameters(prefix=name, recurse=False):
                is_wide = parameter.is_floating_point() and parameter.element_size() > 1
                if is_wide and not torchao.is_quantized(parameter) and key in dtypes:
                    parameter.data = parameter.data.to(dtypes[key])


def check_finite(module: nn.Module, *, label: str) -> None:
    """Refuse weights that hold NaN or infinity.

    Raises
    ------
    ModelError
        Naming the first tensor.
    """
    for name, tensor in stored_weights(module):
        if tensor.is_floating_point() and not all(torch.isfinite(end.float()) for end in _ends(tensor)):
            raise ModelError(
                f"'{label}' has weights that are not finite.",
                expected="finite values",
                found=f"NaN or infinity in {name}",
                do="download or make the weights again; possible causes are a group of equal values, or an "
                "overflow in float16 (then use bfloat16 or float32)",
            )


def _ends(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Minimum and maximum; NaN in either if there is one anywhere."""
    tensor = tensor if tensor.element_size() > 1 else tensor.float()
    return tuple(torch.aminmax(tensor))


def weights_sha256(module: nn.Module) -> str:
    """Hash over the weights as computed with: names, dtypes, shapes and bytes, in order of name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(stored_weights(module), key=lambda pair: pair[0]):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()
