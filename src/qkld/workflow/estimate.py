"""What measuring a cohort would take on one GPU that is not at hand: counted bytes and operations over published peaks.

seconds = max(operations / peak, bytes read / bandwidth) + exponentials / their rate + bytes over the host link / its
rate, each summed over a run. These are lower ends: no kernel reaches the peaks, and nothing was run. Attention's
products with earlier tokens are left out (below 2 % of the weights' at 1,024 tokens), as are downloads and reading from
disk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from qkld.sources.windows import ANSWERS_AT_ONCE
from qkld.study.entries import GgufModel
from qkld.study.params import Study
from qkld.study.text_table import TextTable
from qkld.workflow.plan import (
    BYTES_OF_DTYPE,
    STORE_COMPRESSION,
    TOKEN_ROW_BYTES,
    Shape,
    kept_positions,
    known_shape,
    run_tokens,
    scored_tokens,
)
from qkld.workflow.plan_report import in_bytes, in_time


@dataclass(frozen=True)
class Device:
    """Published peaks of an accelerator: operations a second of dense products, bytes a second, bytes.

    ``exps_per_second`` are special-function results; ``host_bytes_per_second`` is one way over its host link.
    """

    name: str
    source: str
    bfloat16_flop_per_second: float
    float32_flop_per_second: float
    bytes_per_second: float
    exps_per_second: float
    host_bytes_per_second: float
    memory_bytes: float

    def flop_per_second(self, dtype: str) -> float:
        """Peak of products in this dtype."""
        return self.float32_flop_per_second if dtype == "float32" else self.bfloat16_flop_per_second


H100 = Device(
    name="H100 SXM 80 GB",
    source="NVIDIA's data sheet (989 TFLOP/s bfloat16 without sparsity, 67 TFLOP/s float32, 3.35 TB/s, PCIe 5 × 16) "
    "and, for exponentials, 16 a clock on each multiprocessor (CUDA programming guide) at the clock of that peak",
    bfloat16_flop_per_second=989.4e12,
    float32_flop_per_second=67e12,
    bytes_per_second=3.35e12,
    exps_per_second=16 * 989.4e12 / 4096,  # a multiprocessor does 4,096 bfloat16 operations a clock
    host_bytes_per_second=64e9,
    memory_bytes=80e9,
)

WEIGHTS_SHARE = 0.9
"""Share of the device's memory that weights may take where a model is spread; see `qkld.models.spreading`."""

TILE_BYTES = 2 * (2 + 8)
"""Of one logit in the walk: both models', in the compute dtype and in float64."""


@dataclass(frozen=True)
class Work:
    """What one run of a stage moves and computes.

    Attributes
    ----------
    name : str
    runs : int
        Runs of this kind in the cohort.
    dtype : str
        Of the products.
    passes : int
        Forward passes; each reads all weights once, of a mixture of experts too, since a window's tokens reach all.
    operations, read_bytes, exps : float
        In all passes together.
    host_bytes : float
        Over the host link: weights once, what does not fit once a pass, and hidden states.
    device_bytes : float
        Weights on the device, a second head, one window's hidden states and one tile.
    """

    name: str
    runs: int
    dtype: str
    passes: int
    operations: float
    read_bytes: float
    exps: float
    host_bytes: float
    device_bytes: float

    def seconds(self, device: Device) -> float:
        """Lower end of the time of one run, by the module's formula."""
        products = self.operations / device.flop_per_second(self.dtype)
        reading = self.read_bytes / device.bytes_per_second
        rest = self.exps / device.exps_per_second + self.host_bytes / device.host_bytes_per_second
        return max(products, reading) + rest


@dataclass(frozen=True)
class Tokens:
    """Tokens of a study's corpora: run, kept in the store, rows of a token table, windows, and answers generated."""

    run: int
    kept: int
    rows: int
    windows: int
    answers: int
    longest: int


def tokens_of(study: Study) -> Tokens:
    """Counted from the study's windows; a chat is counted at its longest."""
    knobs, corpora = study.reference_logits, study.corpora
    answer = knobs.chat_answer_tokens
    return Tokens(
        run=sum(run_tokens(c, answer) for c in corpora),
        kept=sum(kept_positions(c, answer, knobs.score_from) for c in corpora),
        rows=sum(scored_tokens(c, answer, knobs.score_from) for c in corpora),
        windows=sum(c.windows for c in corpora),
        answers=sum(c.windows * answer for c in corpora if c.kind == "chat"),
        longest=max(max(c.context_lengths, default=answer) for c in corpora),
    )


def _weights(shape: Shape, dtype: str) -> float:
    return shape.parameters * BYTES_OF_DTYPE[dtype]


def _device_bytes(study: Study, shape: Shape, dtype: str, longest: int) -> float:
    size = BYTES_OF_DTYPE[dtype]
    head = shape.width * shape.vocabulary * size
    tile = longest * study.compute.vocabulary_tile * TILE_BYTES
    return _weights(shape, dtype) + head + longest * shape.width * size + tile


def reference_work(study: Study, shape: Shape) -> Work:
    """Notebook 01's corpora: every window once, and the chats' answers, a token of `ANSWERS_AT_ONCE` chats a pass."""
    n, size = tokens_of(study), BYTES_OF_DTYPE["bfloat16"]
    steps = sum(math.ceil(c.windows / ANSWERS_AT_ONCE) for c in study.corpora if c.kind == "chat")
    steps *= study.reference_logits.chat_answer_tokens
    weights = _weights(shape, "bfloat16")
    return Work(
        name="01 reference",
        runs=1,
        dtype="bfloat16",
        passes=n.windows + steps,
        operations=(n.run + n.answers) * shape.trunk_flop + n.answers * shape.head_flop,
        read_bytes=(n.windows + steps) * weights,
        exps=0.0,
        host_bytes=weights + n.kept * shape.width * size,
        device_bytes=_device_bytes(study, shape, "bfloat16", n.longest),
    )


def quant_work(study: Study, shape: Shape, device: Device, *, dtype: str, name: str, runs: int) -> Work:
    """Notebook 02 for one model: every window once, and both heads on its kept positions in each walk."""
    n, size = tokens_of(study), BYTES_OF_DTYPE[dtype]
    walks = 2 if study.quant_kld.second_walk else 1
    weights, head = _weights(shape, dtype), shape.width * shape.vocabulary * size
    device_bytes = _device_bytes(study, shape, dtype, n.longest)
    fits = device_bytes <= device.memory_bytes
    too_much = 0.0 if fits else device_bytes - WEIGHTS_SHARE * device.memory_bytes
    return Work(
        name=name,
        runs=runs,
        dtype=dtype,
        passes=n.windows,
        operations=n.run * shape.trunk_flop + walks * 2 * n.kept * shape.head_flop,
        read_bytes=n.windows * (weights - head + walks * 2 * head),
        exps=walks * 2.0 * n.kept * shape.vocabulary,
        host_bytes=weights + n.windows * too_much + n.kept * shape.width * size,
        device_bytes=min(device_bytes, device.memory_bytes),
    )


def cohort_work(study: Study, device: Device = H100) -> list[Work]:
    """Notebooks 01 and 02 of a study whose shape is known, computing in bfloat16."""
    shape = known_shape(study)
    if shape is None:
        return []
    quants = quant_work(study, shape, device, dtype="bfloat16", name="02 one quant", runs=len(study.quants))
    floor = quant_work(study, shape, device, dtype="float32", name="02 floor-dtype, float32", runs=1)
    return [reference_work(study, shape), quants, floor]


def estimate_table(study: Study, device: Device = H100) -> TextTable | None:
    """The estimate of a study as a table; None where its model's shape is not known."""
    shape, work = known_shape(study), cohort_work(study, device)
    if shape is None:
        return None
    rows = [_row(w, device) for w in work]
    together = sum(w.runs * w.seconds(device) for w in work)
    rows.append(("together", "", "", "", "", "", "", in_time(together)))
    return TextTable(
        f"Estimate for {study.study} on one {device.name}",
        _note(study, shape, device),
        ("stage", "runs", "passes", "operations", "weights read", "host link", "device memory", "at peak, a run"),
        tuple(rows),
    )


def _row(work: Work, device: Device) -> tuple[str, ...]:
    return (
        work.name,
        str(work.runs),
        f"{work.passes:,}",
        f"{work.operations / 1e15:.2f} PFLOP",
        in_bytes(work.read_bytes),
        in_bytes(work.host_bytes),
        in_bytes(work.device_bytes),
        in_time(work.seconds(device)),
    )


def _note(study: Study, shape: Shape, device: Device) -> str:
    n = tokens_of(study)
    state = 2 * shape.width
    base = 2 * shape.vocabulary + 8
    return (
        "**Estimate, nothing was run.** Seconds = max(operations / peak, bytes read / bandwidth) + exponentials / rate "
        f"+ host bytes / link: a lower end, from {device.source}. {n.windows:,} windows, {n.run:,} tokens, {n.kept:,} "
        f"of them kept: {in_bytes(n.kept * state * STORE_COMPRESSION)} of hidden states ({state:,} bytes a token, "
        f"compressed to about {STORE_COMPRESSION:.0%}) and {in_bytes(2.0 * shape.width * shape.vocabulary)} of head, "
        f"where llama.cpp's base file would take {in_bytes(n.kept * base)}; {in_bytes(n.rows * TOKEN_ROW_BYTES)} of "
        "token table a quant. A model that does not fit is spread: what is beyond crosses the host link once a pass."
        f"{_conversion(study, shape)}"
    )


def _conversion(study: Study, shape: Shape) -> str:
    if not isinstance(study.reference, GgufModel):
        return ""
    return (
        " The reference, a GGUF file of engine torch, is converted in the host's memory and on its disk as float32, "
        f"{in_bytes(4 * shape.parameters)}."
    )


def estimate_lines(study: Study, device: Device = H100) -> Sequence[str]:
    """The estimate as plain lines for `qkld plan`; none where the model's shape is not known."""
    table = estimate_table(study, device)
    if table is None:
        return []
    return ["", f"{table.title}:", *table.lines(), table.note.replace("**", "")]
