"""What this machine does at best, with the threads that the benchmarks use: the rates from which limits are counted."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from qkld.models.head import fast_product
from qkld.workflow.plan import has_native_bf16

COPY_BYTES = 1 << 28
"""Size of the array copied for the memory's bandwidth: larger than any cache."""

PRODUCT_SIZE = {torch.float32: 2048, torch.bfloat16: 768}
"""Rows of the square matrices multiplied; small where the dtype may be emulated."""

EXP_VALUES = 1 << 17
"""Values whose exponential is taken at once: 512 KiB, so that they stay in a core's cache."""


@dataclass(frozen=True)
class Machine:
    """The processor, and the best of several measurements of each rate with ``threads`` threads.

    Attributes
    ----------
    bytes_per_second : float
        Of a copy, reads and writes both counted.
    float32_flop_per_second, bfloat16_flop_per_second : float
        Of one large matrix product, two operations a multiplication with addition.
    exps_per_second : float
        float32 exponentials in a cache.
    """

    processor: str
    cores: int
    threads: int
    has_native_bf16: bool
    bytes_per_second: float
    float32_flop_per_second: float
    bfloat16_flop_per_second: float
    exps_per_second: float

    def flop_per_second(self, dtype: torch.dtype) -> float:
        """Rate of matrix products in this dtype."""
        return self.bfloat16_flop_per_second if dtype == torch.bfloat16 else self.float32_flop_per_second

    def product_seconds(self, rows: int, width: int, vocabulary: int, dtype: torch.dtype) -> float:
        """Least time of one head's product (rows, width) × (width, vocabulary)."""
        return 2.0 * rows * width * vocabulary / self.flop_per_second(dtype)

    def exp_seconds(self, count: float) -> float:
        """Least time of so many exponentials."""
        return count / self.exps_per_second

    def copy_seconds(self, moved_bytes: float) -> float:
        """Least time of moving so many bytes between memory and processor."""
        return moved_bytes / self.bytes_per_second


def best_seconds(act: Callable[[], object], repeats: int = 5) -> float:
    """Wall time of the fastest of ``repeats`` calls, after one that is not counted."""
    act()
    return min(seconds_of(act) for _ in range(repeats))


def seconds_of(act: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def copy_rate(size: int = COPY_BYTES) -> float:
    """Bytes a second of a large copy, read and write both counted."""
    source, target = torch.ones(size, dtype=torch.uint8), torch.empty(size, dtype=torch.uint8)
    return 2.0 * size / best_seconds(lambda: target.copy_(source))


def product_rate(dtype: torch.dtype, size: int | None = None) -> float:
    """Operations a second of a square matrix product: torch's own or the walk's, whichever is faster."""
    size = size or PRODUCT_SIZE[dtype]
    left, right = torch.ones(size, size, dtype=dtype), torch.ones(size, size, dtype=dtype)
    products = (torch.nn.functional.linear, fast_product)
    return 2.0 * size**3 / min(best_seconds(lambda p=p: p(left, right, None), repeats=3) for p in products)


def exp_rate(values: int = EXP_VALUES) -> float:
    """float32 exponentials a second, of values that stay in the cache."""
    some = torch.linspace(-20.0, 0.0, values)
    out = torch.empty_like(some)
    return values / best_seconds(lambda: torch.exp(some, out=out), repeats=50)


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's own name, or the architecture's where it cannot be read."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def measure_machine() -> Machine:
    """This machine's rates with the number of threads that torch is set to; takes a few seconds."""
    return Machine(
        processor=processor_name(),
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        has_native_bf16=has_native_bf16(),
        bytes_per_second=copy_rate(),
        float32_flop_per_second=product_rate(torch.float32),
        bfloat16_flop_per_second=product_rate(torch.bfloat16),
        exps_per_second=exp_rate(),
    )
