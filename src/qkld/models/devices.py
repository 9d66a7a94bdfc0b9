"""Which device a model runs on and in which dtype it computes."""

from __future__ import annotations

import torch

from qkld.errors import ModelError
from qkld.study.params import Compute


def choose_device(name: str) -> torch.device:
    """``auto`` takes CUDA, then MPS, then the CPU; any other name must be there.

    Raises
    ------
    ModelError
        If the device asked for is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device, is_there in there.items() if is_there))
    if not there[name]:
        raise ModelError(
            f"This machine has no {name} device that torch can use.",
            expected=name,
            found=[device for device, is_there in there.items() if is_there],
            do="set compute.device to auto, or install a torch build for the device",
        )
    return torch.device(name)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 natively; elsewhere it is emulated and several times slower."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "mps":
        return True
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def choose_dtype(compute: Compute, device: torch.device) -> torch.dtype:
    """The compute dtype; ``auto`` is bfloat16 where the device multiplies it natively, else float32."""
    if compute.compute_dtype == "auto":
        return torch.bfloat16 if multiplies_bfloat16(device) else torch.float32
    return getattr(torch, compute.compute_dtype)
