"""Bytes of a tensor, in the one form that hashes and stores use."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

BITS_OF = {
    torch.bfloat16: (torch.int16, np.uint16),
    torch.float16: (torch.int16, np.uint16),
    torch.float32: (torch.int32, np.uint32),
}
"""Float dtype → the torch integer it is viewed as and the numpy unsigned integer it is stored as."""


def tensor_to_bits(tensor: Tensor) -> np.ndarray:
    """The tensor's bits as unsigned integers of the same width; exact for every value, NaN payloads included."""
    as_torch, as_numpy = BITS_OF[tensor.dtype]
    return tensor.detach().cpu().contiguous().view(as_torch).numpy().view(as_numpy)


def bits_to_tensor(bits: np.ndarray, dtype: torch.dtype) -> Tensor:
    """The inverse of `tensor_to_bits`."""
    return torch.from_numpy(np.ascontiguousarray(bits).view(np.dtype(f"int{bits.dtype.itemsize * 8}"))).view(dtype)


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The tensor's values as bytes, row by row; no copy where they lie so in this machine's memory."""
    return memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
