"""From an entry to a loaded model: a stored one as its files hold it, or a quant made from the reference's.

What is not quantized is the same in a reference and in every quant made from it, value and dtype: both are loaded
alike, in the compute dtype, which transformers widens for the tensors that an architecture keeps in float32. The
weights that a quant starts from are the reference's as its files store them, whatever the compute dtype.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qkld.errors import ModelError
from qkld.models.bits import StoredBits, tensor_bits
from qkld.models.folders import weight_files
from qkld.models.gguf.open_in_torch import BITS_FILE, converted_bits
from qkld.models.quantizers import compressed_tensors, quantized
from qkld.models.stored import Sources, headers, widest
from qkld.models.transformers import load_module, quantization_of, sources
from qkld.models.weights import cast_plain, loaded_dtypes
from qkld.study.entries import MadeModel
from qkld.study.params import Compute


@dataclass(frozen=True)
class Loaded:
    """A module in eval mode, its bits as stored, and whether it lies where it will run.

    ``left_out`` names what its files hold and the module does not, with the number of tensors.
    """

    module: nn.Module
    bits: StoredBits
    is_placed: bool = True
    left_out: Mapping[str, int] = field(default_factory=dict)


def stored_model(
    folder: Path, *, label: str, compute: Compute, device: torch.device, dtype: torch.dtype, config: Any = None
) -> Loaded:
    """A folder's model, its plain weights in ``dtype``; quantized ones dequantized where the study says so.

    ``config`` is run in place of the folder's own configuration.
    """
    method = (quantization_of(folder) or {}).get("quant_method")
    is_spread = compute.device_map == "auto"
    by_library = is_spread and method not in (None, "compressed-tensors")  # its kernels may run on a GPU only
    placed = "auto" if by_library else {"": "cpu" if is_spread else device}
    dequantized = method is not None and compute.weights == "dequantized"
    first = widest(headers(weight_files(folder))) if dequantized else dtype  # scales are not to be rounded before use
    module = load_module(folder, label=label, dtype=first, device_map=placed, config=config)
    if method is not None and not dequantized:
        _check_native(module, method, label)
    source = sources(folder, module, label=label)
    if method is None:
        _check_plain(module, source, label)
    if method == "compressed-tensors":
        compressed_tensors.decompress(module)
    if method is not None:
        dtypes = loaded_dtypes(module, dtype)
        if dequantized:
            quantized.dequantize(module, dtypes)
        cast_plain(module, dtypes)
    bits = _bits(folder, source)
    is_placed = by_library or not is_spread
    return Loaded(module, bits, is_placed, source.left_out())


def _check_plain(module: nn.Module, source: Sources, label: str) -> None:
    """Refuse packed weights of which nothing says how: transformers would take their integers as the numbers.

    Numbers of eight bits may be meant as they are, where no scale lies beside them.
    """
    scaled = any("scale" in tensor.name for tensor in source.left)
    packed = [
        name
        for name, _ in module.named_parameters()
        for tensor in source.loaded.get(name, ())
        if not tensor.is_plain and (scaled or not tensor.dtype.startswith("F"))
    ]
    if packed:
        raise ModelError(
            f"'{label}' has packed weights, but nothing states how they are quantized.",
            expected="floating-point weights, or a quantization_config in config.json",
            found=f"{len(packed)} packed, such as {packed[0]}",
            do="download the folder again with the config.json that the quantizer wrote",
        )


def _check_native(module: nn.Module, method: str, label: str) -> None:
    """Refuse layers that transformers dequantized while it loaded them, for want of a device that runs them."""
    if getattr(module, "hf_quantizer", None) is None:
        raise ModelError(
            f"'{label}' cannot be run natively here.",
            expected=f"layers of {method}",
            found="plain layers; transformers dequantizes them if it has no kernel",
            do="use weights: dequantized, or a device with kernels for this method",
        )


def made_model(
    entry: MadeModel, folder: Path, *, reference: str, compute: Compute, device: torch.device, dtype: torch.dtype
) -> Loaded:
    """Quantize the reference's weights: as stored where they run dequantized, in the compute dtype where natively.

    Where the model may be spread, native quants have to fit the device, to which they go layer by layer.
    """
    if quantization_of(folder):
        raise ModelError(
            f"'{entry.label}' cannot be made from '{reference}'.",
            expected="a reference with unquantized weights",
            found="a quantized reference",
            do="choose the unquantized model as the reference",
        )
    native, is_spread = compute.weights == "native", compute.device_map == "auto"
    home = torch.device("cpu") if is_spread else device
    module = load_module(folder, label=entry.label, dtype=dtype, device_map={"": home})
    weights = AsStored(folder, module, sources(folder, module, label=entry.label), as_loaded=native)
    bits = quantized.quantize_trunk(module, entry, weights=weights, device=device, dense=not native)
    if native:
        quantized.move_plain(module, device)
    is_placed = native or not is_spread
    return Loaded(module, bits, is_placed, weights.sources.left_out())


def _bits(folder: Path, source: Sources) -> StoredBits:
    """Bits of the GGUF file that the folder was converted from, else of what was loaded of the folder's own files."""
    return converted_bits(folder) if (folder / BITS_FILE).is_file() else source.bits()


@dataclass
class AsStored:
    """A loaded module's weights, each in the dtype that the folder's files store it in.

    ``as_loaded`` gives the weights in the module's dtype instead, as a library's own layers would be made.
    """

    folder: Path
    module: nn.Module
    sources: Sources
    as_loaded: bool = False

    @property
    def bits(self) -> StoredBits:
        """Trunk as the files store it; embeddings and head of a converted GGUF file as that stores them."""
        own, stated = self.sources.bits(), _bits(self.folder, self.sources)
        return StoredBits(own.trunk, embedding=stated.embedding, head=stated.head)

    def weight(self, name: str) -> Tensor:
        """The parameter's values as the files hold them, where the module lies."""
        loaded = self.module.get_parameter(name).data
        stored = self._dtype(name)
        if self.as_loaded or stored is None:
            return loaded
        if torch.promote_types(loaded.dtype, stored) == loaded.dtype:
            return loaded.to(stored)
        parameter = self._wide.get_parameter(name)
        values = parameter.data.to(stored)
        parameter.data = parameter.data.new_empty(0)
        return values

    def weight_bits(self, name: str) -> int:
        """The bits of the values it was loaded from; of one that is a part of a stored tensor, its own share."""
        parameter, stored = self.module.get_parameter(name), self.sources.loaded.get(name, ())
        values = sum(tensor.values for tensor in stored)
        return sum(t.bits for t in stored) * parameter.numel() // values if values else tensor_bits(parameter)

    def _dtype(self, name: str) -> torch.dtype | None:
        return self.sources.dtype(name) if name in self.sources.loaded else None

    @cached_property
    def _wide(self) -> nn.Module:
        """The module again, in a dtype that holds every stored value; weights that were read from it are let go."""
        home = next(self.module.parameters()).device
        dtype = widest(tensor for stored in self.sources.loaded.values() for tensor in stored)
        return load_module(self.folder, label=self.folder.name, dtype=dtype, device_map={"": home})
