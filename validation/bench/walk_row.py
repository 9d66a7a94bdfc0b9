"""Row 3: the walk over the vocabulary against log_softmax on full logits, both from hidden states.

Each runs in a process of its own, so that neither's memory stands in the other's way:
``python -m validation.bench.walk_row walk '{"tokens": 512, …}'`` prints its seconds and extra bytes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from qkld.divergence import HeadLogits, token_divergence
from qkld.errors import QkldError
from qkld.models.head import Head
from qkld.study.texts import lines
from qkld.workflow.notebooks import kernel_environment
from validation.bench.figures import Figure
from validation.bench.machine import Machine, seconds_of
from validation.bench.memory import peak_memory

TIME_TARGET, MEMORY_TARGET = 0.7, 0.1

TIME_LIMIT = (
    "two head products, each with its head read once from memory, and two exponentials a logit, over the time of "
    "log_softmax on full logits"
)
MEMORY_LIMIT = "one float32 row of both models' logits for every thread, over the memory of full logits"


@dataclass(frozen=True)
class Sizes:
    """Tokens, vocabulary, width of the hidden states, and how often each way is timed."""

    tokens: int = 512
    vocabulary: int = 151_936
    width: int = 896
    repeats: int = 3
    threads: int = 2


@dataclass(frozen=True)
class Cost:
    """Best time and extra peak memory of one way, and the mean KLD it found."""

    seconds: float
    extra_bytes: int
    kl_mean: float


def inputs(sizes: Sizes) -> tuple[HeadLogits, HeadLogits, Tensor]:
    """Random hidden states and heads of a reference and of a quant near it, and targets; the same every time."""
    rng = torch.Generator().manual_seed(2606)
    hidden = torch.randn(sizes.tokens, sizes.width, generator=rng)
    weight = torch.randn(sizes.vocabulary, sizes.width, generator=rng) * (3.0 / sizes.width**0.5)
    moved = weight * 1.01
    nearby = hidden + 0.02 * torch.randn(hidden.shape, generator=rng)
    targets = torch.randint(sizes.vocabulary, (sizes.tokens,), generator=rng)
    return HeadLogits(hidden, Head(weight)), HeadLogits(nearby, Head(moved)), targets


def by_walk(reference: HeadLogits, quant: HeadLogits, targets: Tensor) -> Tensor:
    """KL(reference ‖ quant) and all else that the walk gives."""
    return token_divergence(reference, quant, targets).kl


def by_full_logits(reference: HeadLogits, quant: HeadLogits, targets: Tensor) -> Tensor:
    """KL(reference ‖ quant), both log-probabilities of the target and top-1 agreement, from full float32 logits."""
    return _from_full(lambda source: source.head.logits(source.hidden), reference, quant, targets)


def by_full_logits_of_the_walk(reference: HeadLogits, quant: HeadLogits, targets: Tensor) -> Tensor:
    """As `by_full_logits`, with the product that the walk takes."""
    return _from_full(lambda source: source.tile(0, source.shape[1]), reference, quant, targets)


def _from_full(
    logits: Callable[[HeadLogits], Tensor], reference: HeadLogits, quant: HeadLogits, targets: Tensor
) -> Tensor:
    logs = [torch.log_softmax(logits(source), dim=-1) for source in (reference, quant)]
    for log in logs:
        log.gather(1, targets[:, None])
    torch.eq(logs[0].argmax(dim=-1), logs[1].argmax(dim=-1))
    return (logs[0].exp() * (logs[0] - logs[1])).sum(dim=-1)


WAYS = {"walk": by_walk, "full": by_full_logits, "full_same_product": by_full_logits_of_the_walk}


@torch.inference_mode()
def cost(way: str, sizes: Sizes) -> Cost:
    """Run one way in this process."""
    torch.set_num_threads(sizes.threads)
    WAYS[way](*inputs(replace(sizes, tokens=64, vocabulary=640)))  # loads code, which is no memory of the way itself
    reference, quant, targets = inputs(sizes)
    with peak_memory() as peak:
        kl = WAYS[way](reference, quant, targets)
    seconds = min(seconds_of(lambda: WAYS[way](reference, quant, targets)) for _ in range(sizes.repeats))
    return Cost(seconds, peak.extra, float(kl.double().mean()))


def cost_apart(way: str, sizes: Sizes) -> Cost:
    """Run one way in a process of its own."""
    command = [sys.executable, "-m", "validation.bench.walk_row", way, json.dumps(asdict(sizes))]
    environment = {**os.environ, **kernel_environment(sizes.threads)}  # as a notebook's
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise QkldError(
            f"The benchmark of '{way}' failed.",
            expected="exit status 0",
            found=f"{done.returncode}: {done.stderr[-500:]}",
            do="see the message; memory for the full logits is what it needs most",
        )
    return Cost(**json.loads(lines(done.stdout)[-1]))


def time_limit(sizes: Sizes, machine: Machine) -> float:
    """Seconds; see `TIME_LIMIT`."""
    products = 2 * machine.product_seconds(sizes.tokens, sizes.width, sizes.vocabulary, torch.float32)
    heads = machine.copy_seconds(2 * 4.0 * sizes.vocabulary * sizes.width)
    return products + heads + machine.exp_seconds(2.0 * sizes.tokens * sizes.vocabulary)


def walk_row(machine: Machine, sizes: Sizes) -> tuple[list[Figure], dict[str, Any]]:
    """The figures of row 3, and what both ways cost."""
    walk, full, same_product = (cost_apart(way, sizes) for way in WAYS)
    shape = f"{sizes.tokens} × {sizes.vocabulary:,} × {sizes.width}"
    time = Figure(
        row=3,
        what=f"time, {shape}: {walk.seconds:.2f} s over {full.seconds:.2f} s "
        f"({same_product.seconds:.2f} s with the walk's product)",
        value=walk.seconds / full.seconds,
        limit=time_limit(sizes, machine) / full.seconds,
        limit_formula=f"for time: {TIME_LIMIT}",
        target=TIME_TARGET,
        note="Both start from hidden states and apply two different heads: the walk by oneDNN, full logits as torch "
        "does, in brackets by oneDNN too. Code is loaded before memory is counted. Full logits give KLD, the target's "
        "two log-probabilities and top-1 agreement, the walk all its quantities, summed in float64. Mean KLD: "
        f"{walk.kl_mean:.8f} and {full.kl_mean:.8f} nats.",
    )
    memory = Figure(
        row=3,
        what=f"extra peak memory, {walk.extra_bytes / 1e6:,.0f} MB over {full.extra_bytes / 1e6:,.0f} MB",
        value=walk.extra_bytes / full.extra_bytes,
        limit=sizes.threads * 2 * 4.0 * sizes.vocabulary / full.extra_bytes,
        limit_formula=f"for memory: {MEMORY_LIMIT}",
        target=MEMORY_TARGET,
    )
    return [time, memory], {"walk": asdict(walk), "full": asdict(full), "full_same_product": asdict(same_product)}


if __name__ == "__main__":
    print(json.dumps(asdict(cost(sys.argv[1], Sizes(**json.loads(sys.argv[2]))))))
