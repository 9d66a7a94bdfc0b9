"""What a study will cost before anything runs: jobs, tokens, bytes, memory and time, by formulas with named constants.

The estimates are within a factor of two on the machine the constants were measured on. What a study does not say (the
shape of an unknown model, the length of an unfetched benchmark) is None here and "unknown" in print, never a guess.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from qkld.errors import BenchmarkError
from qkld.sources.windows import kept_positions as kept_at
from qkld.sources.windows import scored_positions
from qkld.study.entries import GgufModel, MadeGguf
from qkld.study.params import FLOOR_BATCH, FLOORS, Benchmark, Corpus, Study
from qkld.study.paths import data_folder
from qkld.study.samples import read_samples
from qkld.study.texts import lines, read_text

ANALYSIS_RULES = ("cohort", "correlation", "silent_zone", "volume_direction", "prompts", "findings")
"""Rules without a model."""

BYTES_OF_DTYPE = {"float32": 4, "bfloat16": 2, "float16": 2}

CHAT_PROMPT_TOKENS = 70
"""Tokens of a question in its chat template; measured over ARC-Challenge questions with SmolLM2's template."""

CHARACTERS_PER_TOKEN = 3.9
"""Of English benchmark text with a 49,152-token vocabulary; a larger vocabulary needs fewer tokens."""

CHOICE_SHARE = 0.4
"""Tokens that predict a choice over all tokens of an item; `qkld plan --measure` finds it for each benchmark."""

RUN_SHARE = 0.7
"""Tokens run for an item over tokens of its line in the file, which also has names and fields that are not run."""

WRITING_WORK = 1.5
"""Time of a written token over that of a token that is read, on one core in batches of thirty-two."""

TOKEN_ROW_BYTES = 60
"""One row of a token table on disk: 14 columns, of which six are float64 that hardly compress."""

STORE_COMPRESSION = 0.80
"""Stored over raw bytes of hidden states (byte shuffle, zstd)."""

PROCESS_BYTES = 1_000_000_000
"""A kernel with torch, transformers, numba's compiler and the analysis libraries, before any model."""

MADE_MEMORY = 2.0
"""Peak memory of making a quant here, over the reference's weights in the compute dtype."""

STORED_MEMORY = 1.3
"""Peak memory of opening a stored model, over its weights in the compute dtype."""

START_SECONDS = 12.0
"""Start of papermill and of a kernel that imports torch and transformers."""

OPEN_SECONDS_PER_PARAMETER = 3e-8
"""Reading weights and putting them into the model, on one core."""

MAKE_SECONDS_PER_PARAMETER: Mapping[str, float] = {
    "hqq": 7e-8,
    "torchao": 5e-9,
    "bitsandbytes": 3e-8,
    "gguf": 2.2e-7,
    "transformers": 0.0,
}
"""Quantizing (or, for GGUF, dequantizing through transformers, once a file), on one core."""

QUANTIZE_SECONDS_PER_PARAMETER = 1e-7
"""Making one GGUF file by llama.cpp, on one core; a mean over types, of which i-quants take most."""

TRANSFORM_SECONDS_PER_PARAMETER = 1e-7
"""Rotating the weights in float64 and writing them, on one core; permuting them takes less."""

HEAD_WORK = 3.0
"""Time of both heads and of the walk over the vocabulary, over the time of one head's product."""

ANALYSIS_SECONDS = 25.0
"""One of notebooks 03b to 08."""


@dataclass(frozen=True)
class Shape:
    """Size of a model: weights in all and weights a token uses, width of its hidden states, rows of its vocabulary."""

    parameters: float
    active: float
    width: int
    vocabulary: int

    @property
    def trunk_flop(self) -> float:
        """Floating-point operations of one token through the trunk: two a weight, without the embedding's table."""
        return 2.0 * (self.active - self.width * self.vocabulary)

    @property
    def head_flop(self) -> float:
        """Floating-point operations of one head product."""
        return 2.0 * self.width * self.vocabulary

    def padded(self, multiple: int) -> Shape:
        """About the shape after ``reference.pad``: half of the trunk grows with the width, half with its square."""
        width = -(-self.width // multiple) * multiple
        trunk, growth = self.parameters - self.width * self.vocabulary, (width / self.width) ** 1.5
        grown = trunk * growth + width * self.vocabulary
        return Shape(grown, self.active / self.parameters * grown, width, self.vocabulary)


KNOWN_SHAPES: Mapping[str, Shape] = {
    "smollm2-135m": Shape(134_515_008, 134_515_008, 576, 49_152),
    "qwen3.6-35b-a3b": Shape(34.66e9, 3.5e9, 2048, 248_320),
    "devstral-small-2-24b": Shape(23.577e9, 23.577e9, 5120, 131_072),
}
"""By a part of the reference's asset, repository or path. Qwen's active weights count its untied embedding and head."""


def known_shape(study: Study) -> Shape | None:
    """The reference's shape, where its name is one of `KNOWN_SHAPES`."""
    reference = study.reference
    name = str(reference.asset or reference.repository or reference.path).lower()
    shape = next((shape for part, shape in KNOWN_SHAPES.items() if part in name), None)
    return shape.padded(reference.pad) if shape and reference.pad else shape


@dataclass(frozen=True)
class Job:
    """One job. ``head_tokens`` are positions whose logits are computed; None is unknown."""

    rule: str
    label: str | None
    tokens: float | None
    head_tokens: float | None
    written_bytes: float | None
    memory_bytes: int | None
    fixed_seconds: float | None


def measured_labels(study: Study) -> tuple[str, ...]:
    """Labels that notebook 02 is run for: the floor rows and the quants."""
    return (*study.floors, *(q.label for q in study.quants))


def scored_labels(study: Study) -> tuple[str, ...]:
    """Labels that notebook 03 is run for: reference, quants, floors of bases, with ``self_flips`` the first again."""
    return (*answered_labels(study), *basis_floors(study), *second_run_labels(study))


def answered_labels(study: Study) -> tuple[str, ...]:
    """Labels whose items make the cohort's scores: the reference and the quants."""
    return (study.reference.label, *(q.label for q in study.quants))


def basis_floors(study: Study) -> tuple[str, ...]:
    """Labels of the reference in each basis of builds, unquantized."""
    return tuple(basis.floor_label for basis in study.bases)


def second_run_labels(study: Study) -> tuple[str, ...]:
    """The label of the reference's second run on the items, where the study asks for one."""
    return (FLOOR_BATCH,) if study.self_flips else ()


def run_tokens(corpus: Corpus, answer_tokens: int) -> int:
    """Tokens of a corpus's windows, each as long as its longest context; a chat's length is an upper estimate."""
    if not corpus.context_lengths:
        return corpus.windows * (CHAT_PROMPT_TOKENS + answer_tokens)
    return sum(corpus.contexts_of(i)[-1] for i in range(corpus.windows))


def scored_tokens(corpus: Corpus, answer_tokens: int, score_from: float) -> int:
    """Rows of the token table: scored tokens at every context length."""
    if not corpus.context_lengths:
        return corpus.windows * answer_tokens
    contexts = (c for i in range(corpus.windows) for c in corpus.contexts_of(i))
    return sum(len(scored_positions(c, score_from)) for c in contexts)


def kept_positions(corpus: Corpus, answer_tokens: int, score_from: float) -> int:
    """Hidden states in the store: the union over the context lengths of what is scored."""
    if not corpus.context_lengths:
        return corpus.windows * answer_tokens
    return sum(len(kept_at(corpus.contexts_of(i), score_from)) for i in range(corpus.windows))


@dataclass(frozen=True)
class ItemCost:
    """Tokens of an average item that are run, and those of them whose logits are computed."""

    tokens: float
    head_tokens: float

    def work(self, shape: Shape) -> float:
        """Operations of one item beside a reference."""
        return self.tokens * shape.trunk_flop + self.head_tokens * HEAD_WORK * shape.head_flop


def item_cost(study: Study, benchmark: Benchmark) -> ItemCost | None:
    """As `qkld plan --measure` found it, else by the file's characters; None while that is not fetched."""
    sample = read_samples(study).get(benchmark.task)
    if sample:
        return ItemCost(sample.tokens, sample.head_tokens)
    each = item_tokens(benchmark)
    at_choices = study.benchmark_scores.item_kld == "choices" and benchmark.answer_tokens is None
    return each and ItemCost(each, each * (CHOICE_SHARE if at_choices else 1.0))


def benchmark_costs(study: Study) -> ItemCost | None:
    """Tokens of all benchmark items with their choices; None while a benchmark's file is not fetched."""
    costs = [(items_of(b), item_cost(study, b)) for b in study.benchmarks]
    if any(items is None or cost is None for items, cost in costs):
        return None
    known = [(items, cost) for items, cost in costs if items and cost]
    return ItemCost(sum(n * cost.tokens for n, cost in known), sum(n * cost.head_tokens for n, cost in known))


def items_there(benchmark: Benchmark) -> int | None:
    """Items in a benchmark's file; None while it is not fetched."""
    return _size_of(benchmark)[0] or None


def items_of(benchmark: Benchmark) -> int | None:
    """Items that a study takes of a benchmark; None while its file is not fetched."""
    there = items_there(benchmark)
    return there and min(benchmark.limit or there, there)


def item_tokens(benchmark: Benchmark) -> float | None:
    """Tokens of an average item with its choices; None while the benchmark's file is not fetched.

    Where answers are written, a prompt is read for writing and beside the reference's answer, which is read too; each
    of `Benchmark.repeats` answers counts as the longest, and written at `WRITING_WORK`. It is an upper estimate.
    """
    there, characters = _size_of(benchmark)
    if not there:
        return None
    read, answer = characters / there / CHARACTERS_PER_TOKEN * RUN_SHARE, benchmark.answer_tokens or 0
    return read if not answer else read + answer + benchmark.repeats * (read + WRITING_WORK * answer)


def _size_of(benchmark: Benchmark) -> tuple[int, int]:
    """Items of a benchmark's file and their characters; zeros while it is not fetched."""
    file = data_folder() / "assets" / f"benchmark-{benchmark.task}" / f"benchmark-{benchmark.task}.jsonl"
    return _size_of_items(file, file.stat().st_mtime_ns) if file.exists() else (0, 0)


@lru_cache
def _size_of_items(file: Path, changed: int) -> tuple[int, int]:
    """Items of a benchmark's file and their characters; read once, since every job of a plan asks."""
    items = lines(read_text(file, error=BenchmarkError))
    return len(items), sum(map(len, items))


def _dtype_bytes(study: Study) -> int:
    """Bytes of a weight and of a hidden value; `auto` counts as float32, the larger."""
    return BYTES_OF_DTYPE.get(study.compute.compute_dtype, 4)


def _memory(study: Study, shape: Shape | None, method: str) -> int | None:
    if shape is None:
        return None
    factor = STORED_MEMORY if method in ("gguf", "transformers", "llamacpp") else MADE_MEMORY
    return int(PROCESS_BYTES + factor * shape.parameters * _dtype_bytes(study))


def _fixed_seconds(shape: Shape | None, rule: str, method: str) -> float | None:
    """Start, opening and making; for torch a GGUF file is converted once, by the first rule that opens it."""
    if shape is None:
        return None
    converted_before = method == "gguf" and rule in ("reference_benchmarks", "benchmark_scores")
    making = 0.0 if converted_before else MAKE_SECONDS_PER_PARAMETER.get(method, 0.0)
    return START_SECONDS + shape.parameters * (OPEN_SECONDS_PER_PARAMETER + making)


def _method(study: Study, label: str | None) -> str:
    entry = study.reference if label is None or label in FLOORS else study.entry(label)
    return "llamacpp" if getattr(entry, "engine", None) == "llamacpp" else entry.method


def plan_job(study: Study, rule: str, label: str | None = None) -> Job:
    """What one job of the workflow will cost."""
    shape, knobs = known_shape(study), study.reference_logits
    tokens = float(sum(run_tokens(c, knobs.chat_answer_tokens) for c in study.corpora))
    scored = float(sum(scored_tokens(c, knobs.chat_answer_tokens, knobs.score_from) for c in study.corpora))
    kept = float(sum(kept_positions(c, knobs.chat_answer_tokens, knobs.score_from) for c in study.corpora))
    state_bytes = shape.width * _dtype_bytes(study) * STORE_COMPRESSION if shape else None
    method = _method(study, None if rule == "make_basis" else label)
    items = benchmark_costs(study) if rule in ("reference_benchmarks", "benchmark_scores") else None
    item_tokens, head_tokens = (items.tokens, items.head_tokens) if items else (None, None)
    memory, fixed = _memory(study, shape, method), _fixed_seconds(shape, rule, method)
    match rule:
        case "make_quants":
            return _making_job(study, shape)
        case "make_basis":
            return _basis_job(study, str(label), shape)
        case "reference_corpora":
            answers = sum(c.windows * knobs.chat_answer_tokens for c in study.corpora if c.kind == "chat")
            written = kept * state_bytes if state_bytes else None
            return Job(rule, label, tokens + answers, float(answers), written, memory, fixed)
        case "reference_benchmarks":
            written = head_tokens * state_bytes if head_tokens and state_bytes else None
            return Job(rule, label, item_tokens, 0.0, written, memory, fixed)
        case "quant_kld":
            return Job(rule, label, tokens, kept, scored * TOKEN_ROW_BYTES, memory, fixed)
        case "benchmark_scores":
            return Job(rule, label, item_tokens, head_tokens, 0.0, memory, fixed)
        case _:
            return Job(rule, None, 0.0, 0.0, 0.0, PROCESS_BYTES, ANALYSIS_SECONDS)


def made_files(study: Study, basis: str | None = None) -> dict[MadeGguf, float]:
    """The different GGUF files that notebook 00 makes in a basis, each with its nominal bits; None: the reference's."""
    return {
        q.made: q.nominal_bits
        for q in study.quants
        if isinstance(q, GgufModel) and q.made and (q.basis.name if q.basis else None) == basis
    }


def _making_job(study: Study, shape: Shape | None) -> Job:
    """Notebook 00: the reference in torch for export and importance matrix, then one file after the other."""
    if shape is None:
        return Job("make_quants", None, 0.0, 0.0, None, None, None)
    files = made_files(study)
    written = sum(files.values()) / 8 * shape.parameters
    each = OPEN_SECONDS_PER_PARAMETER + len(files) * QUANTIZE_SECONDS_PER_PARAMETER
    memory = int(PROCESS_BYTES + 2 * BYTES_OF_DTYPE["float32"] * shape.parameters)
    return Job("make_quants", None, 0.0, 0.0, written, memory, START_SECONDS + shape.parameters * each)


def _basis_job(study: Study, basis: str, shape: Shape | None) -> Job:
    """Notebook 00 for one basis: the weights in it, a folder, and its GGUF files with source and importance matrix."""
    if shape is None:
        return Job("make_basis", basis, 0.0, 0.0, None, None, None)
    files = made_files(study, basis)
    float32 = BYTES_OF_DTYPE["float32"] * shape.parameters
    written = float32 * (2 if files else 1) + sum(files.values()) / 8 * shape.parameters
    each = TRANSFORM_SECONDS_PER_PARAMETER + len(files) * QUANTIZE_SECONDS_PER_PARAMETER
    each += OPEN_SECONDS_PER_PARAMETER * (2 if files else 1)
    seconds = START_SECONDS + shape.parameters * each
    return Job("make_basis", basis, 0.0, 0.0, written, int(PROCESS_BYTES + 3 * float32), seconds)


def plan_jobs(study: Study) -> list[Job]:
    """Every job of a study's workflow, in the order of its rules."""
    jobs = [plan_job(study, "make_quants")] if made_files(study) else []
    jobs += [plan_job(study, "make_basis", basis.name) for basis in study.bases]
    jobs += [plan_job(study, "reference_corpora"), plan_job(study, "reference_benchmarks")]
    jobs += [plan_job(study, "quant_kld", label) for label in measured_labels(study)]
    jobs += [plan_job(study, "benchmark_scores", label) for label in scored_labels(study)]
    return jobs + [plan_job(study, rule) for rule in ANALYSIS_RULES]


def job_seconds(job: Job, shape: Shape | None, flop_per_second: float | None) -> float | None:
    """Estimated time of a job on one thread (or one GPU) that does ``flop_per_second``; None where it is unknown.

    time = fixed + (tokens · trunk + head tokens · `HEAD_WORK` · head) / speed
    """
    needed = (job.tokens, job.head_tokens, job.fixed_seconds)
    if any(value is None for value in needed):
        return None
    if not job.tokens:
        return job.fixed_seconds
    if shape is None or flop_per_second is None:
        return None
    tokens, head_tokens, fixed = (float(value) for value in needed if value is not None)
    return fixed + (tokens * shape.trunk_flop + head_tokens * HEAD_WORK * shape.head_flop) / flop_per_second


def flop_rate(shape: Shape | None, tokens_per_second: float | None) -> float | None:
    """Operations a second that give this model's trunk and head ``tokens_per_second``."""
    if shape is None or tokens_per_second is None:
        return None
    return tokens_per_second * (shape.trunk_flop + shape.head_flop)


# --- how fast this machine is: measured in a second, without torch ----------------------------------------------------

BF16_SPEED = 2.4
"""bfloat16 over float32 where the processor multiplies it natively (SmolLM2-135M, 512-token windows)."""

MODEL_EFFICIENCY = 0.57
"""Operations a second of a small model's forward pass over those of one large float32 product, on one thread."""

_BF16_FLAGS = ("avx512_bf16", "amx_bf16")


def product_flop_per_second(*, seconds: float = 0.5, size: int = 768) -> float:
    """Operations a second of processor time of float32 matrix products on one thread, over about ``seconds``."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    left, right = np.ones((size, size), dtype=np.float32), np.ones((size, size), dtype=np.float32)
    with threadpool_limits(1):
        left @ right
        products, start = 0, time.process_time()
        while (elapsed := time.process_time() - start) < seconds:
            left @ right
            products += 1
    return products * 2.0 * size**3 / elapsed


def has_native_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bfloat16 natively; False where its flags cannot be read."""
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
