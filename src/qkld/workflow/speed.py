"""How fast this machine multiplies matrices, for the plan: measured in a second, without torch."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from qkld.study.params import Study

BF16_SPEED = 2.4
"""bfloat16 over float32 where the processor multiplies it natively (SmolLM2-135M, 512-token windows)."""

MODEL_EFFICIENCY = 0.57
"""Operations a second of a small model's forward pass over those of one large float32 product, on one thread."""

_BF16_FLAGS = ("avx512_bf16", "amx_bf16")


def product_flop_per_second(*, seconds: float = 0.5, size: int = 768) -> float:
    """Operations a second of processor time of float32 matrix products on one thread, over about ``seconds``."""
    left, right = np.ones((size, size), dtype=np.float32), np.ones((size, size), dtype=np.float32)
    with threadpool_limits(1):
        left @ right
        products, start = 0, time.process_time()
        while (elapsed := time.process_time() - start) < seconds:
            left @ right
            products += 1
    return products * 2.0 * size**3 / elapsed


def has_native_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bfloat16 natively; False where its flags can not be read."""
    try:
        words = cpuinfo.read_text().split()
    except OSError:
        return False
    return any(flag in words for flag in _BF16_FLAGS)


def model_flop_per_second(study: Study) -> float | None:
    """Operations a second of a model's forward pass on one thread of this machine's processor.

    None where the study runs on a GPU, or in a dtype this processor emulates: give the tokens a second then.
    """
    on_cpu = study.compute.device == "cpu" or (study.compute.device == "auto" and shutil.which("nvidia-smi") is None)
    dtype = study.compute.compute_dtype
    if not on_cpu:
        return None
    if dtype == "float32" or (dtype == "auto" and not has_native_bf16()):
        return MODEL_EFFICIENCY * product_flop_per_second()
    if dtype in ("auto", "bfloat16") and has_native_bf16():
        return MODEL_EFFICIENCY * BF16_SPEED * product_flop_per_second()
    return None
