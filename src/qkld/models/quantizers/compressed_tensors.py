"""Checkpoints of compressed-tensors: their weights are decompressed once, which is how the library itself runs them.

Native layers also quantize activations where the checkpoint's scheme does; dequantized, only its weights count.
"""

from __future__ import annotations

from torch import Tensor, nn


def decompress(module: nn.Module) -> None:
    """Unpack every compressed layer's weight in place, now rather than in the library's hook on the first forward."""
    from compressed_tensors.compressors import decompress_module

    for layer in [layer for layer in module.modules() if owns(layer)]:
        decompress_module(layer)
    if hasattr(module, "ct_decompress_hook"):
        module.ct_decompress_hook.remove()
        del module.ct_decompress_hook


def owns(layer: nn.Module) -> bool:
    """Whether the layer carries one of the library's quantization schemes for its weight."""
    return (
        isinstance(layer, nn.Linear)
        and getattr(getattr(layer, "quantization_scheme", None), "weights", None) is not None
    )


def dense_weight(layer: nn.Module) -> Tensor:
    """The decompressed weight, shape (out, in)."""
    return layer.weight.data


def stored_tensors(layer: nn.Module) -> dict[str, Tensor]:
    """The tensors of the decompressed layer."""
    return {name: parameter.data for name, parameter in layer.named_parameters() if name != "bias"}
