"""Row 8: what scoring a quant's items beside the reference costs beyond running them, and beside the harness itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM

from qkld.benchmarks.harness_tasks import LoadedTask, fetched_task, items_of
from qkld.benchmarks.items import Item, distinct, scored_items
from qkld.benchmarks.packing import layout_name, packed, split_into_packs
from qkld.benchmarks.reference_items import items_header, record_items
from qkld.benchmarks.scoring import score_items
from qkld.models import OpenedModel, open_model
from qkld.models.attention import torchs_attention
from qkld.reference.store import ReferenceStore
from qkld.study.params import Benchmark, BenchmarkScores, Study
from validation.bench.figures import Figure
from validation.bench.machine import Machine, seconds_of
from validation.bench.stage import QUANT, bench_study

MIX = (("arc_easy", 178), ("social_iqa", 147), ("piqa", 138), ("sciq", 37))
"""500 items in the shares of whole ARC-Easy, Social IQa and PIQA with 500 items of SciQ."""

TARGETS = {"choices": 0.9, "prompts": 1.25}
"""Of a bare forward pass, by where KLD is measured."""

TARGET_HARNESS = 0.42
"""Of lm-evaluation-harness's own time, with KLD on choices."""

LIMIT = (
    "the bare pass, less the trunk of tokens that are not run and the head at every position, plus both heads where "
    "something is predicted: by products and exponentials a logit, over the bare pass"
)


@dataclass(frozen=True)
class Sizes:
    """Items of each task, batch sizes of the harness that are tried, and rounds of everything in turn."""

    mix: tuple[tuple[str, int], ...] = MIX
    batch_sizes: tuple[int, ...] = (1, 4, 16)
    rounds: int = 3


def items_row(machine: Machine, folder: Path, sizes: Sizes | None = None) -> list[Figure]:
    """The figures of row 8, in float32: KLD on choices and on prompts over the bare pass, and over the harness."""
    sizes = sizes or Sizes()
    study = bench_study("float32")
    tasks = [fetched_task(Benchmark(task=name, chance=0.25, limit=limit)) for name, limit in sizes.mix]
    quant, ways = _ways(study, tasks, folder, sizes)
    rounds = [{name: seconds_of(work) for name, work in ways.items()} for _ in range(sizes.rounds)]
    best = {name: min(times[name] for times in rounds) for name in ways}
    items = [item for task in tasks for item in distinct(items_of(task, quant.tokenizer))]
    return [*(_over_bare(kld, best, items, quant, machine) for kld in TARGETS), _over_harness(best, items)]


def _ways(
    study: Study, tasks: Sequence[LoadedTask], folder: Path, sizes: Sizes
) -> tuple[OpenedModel, dict[str, Callable[[], object]]]:
    """The quant, and what is timed of it: the bare pass, KLD by where it is measured, the harness by batch size."""
    reference = open_model(study.reference, reference=study.reference, compute=study.compute)
    stored = {kld: [_recorded(reference, task, _knobs(study, kld), folder) for task in tasks] for kld in TARGETS}
    del reference
    quant = open_model(study.entry(QUANT), reference=study.reference, compute=study.compute)
    whole = [items for items, _ in stored["prompts"]]
    ways: dict[str, Callable[[], object]] = {
        "bare": lambda: bare_pass(quant, whole, study.benchmark_scores.pack_tokens)
    }
    for kld, stores in stored.items():
        ways[kld] = lambda kld=kld, stores=stores: _score(study, quant, stores, folder / kld)
    for size in sizes.batch_sizes:
        ways[f"harness {size}"] = lambda size=size: _harness(quant, tasks, size)
    return quant, ways


def _knobs(study: Study, kld: str) -> BenchmarkScores:
    return study.benchmark_scores.model_copy(update={"item_kld": kld})


def _recorded(
    model: OpenedModel, task: LoadedTask, knobs: BenchmarkScores, folder: Path
) -> tuple[list[Item], ReferenceStore]:
    items = scored_items(distinct(items_of(task, model.tokenizer)), knobs.item_kld)
    header = items_header(task.name, items, model, layout=layout_name(model, knobs))
    record_items(folder / "reference", header, items, model, pack_tokens=knobs.pack_tokens)
    return items, ReferenceStore.open(header.folder(folder / "reference"), expected_key=header.key)


@torch.inference_mode()
def bare_pass(model: OpenedModel, tasks: Sequence[Sequence[Item]], pack_tokens: int) -> None:
    """The forward pass of the same packs with head and log-softmax at every position; nothing is kept."""
    for items in tasks:
        for pack in map(packed, split_into_packs(items, pack_tokens=pack_tokens, packing=True)):
            hidden = model.hidden(pack.input_ids, position_ids=pack.position_ids, attention_mask=pack.attention_mask)
            model.head.logits(hidden[0]).log_softmax(dim=-1)


def _score(study: Study, quant: OpenedModel, stores: Sequence[tuple[list[Item], ReferenceStore]], folder: Path) -> None:
    """Notebook 03's scoring, from loaded items to kept packs; they are removed, so that the next round runs too."""
    knobs, tile = study.benchmark_scores, study.compute.vocabulary_tile
    for number, (items, store) in enumerate(stores):
        own = folder / str(number)
        own.mkdir(parents=True, exist_ok=True)
        score_items(quant, items, store, own, pack_tokens=knobs.pack_tokens, tile=tile)
        for file in own.iterdir():
            file.unlink()


def _harness(quant: OpenedModel, tasks: Sequence[LoadedTask], batch_size: int) -> None:
    """The same tasks by the harness's own ``hf`` model, the quant's module within it."""
    own = HFLM(pretrained=quant.module, tokenizer=quant.tokenizer, softmax_dtype="float32", batch_size=batch_size)
    with torchs_attention(quant.module):
        evaluate(own, {"tasks": {task.name: task.task for task in tasks}}, bootstrap_iters=0)


def _over_bare(kld: str, best: dict[str, float], items: Sequence[Item], quant: OpenedModel, machine: Machine) -> Figure:
    return Figure(
        row=8,
        what=f"KLD on {kld}, {len(items)} items, {best[kld]:.1f} s over a bare pass of {best['bare']:.1f} s",
        value=best[kld] / best["bare"],
        limit=limit(scored_items(items, kld), best["bare"], quant, machine),
        limit_formula=LIMIT,
        target=TARGETS[kld],
    )


def limit(items: Sequence[Item], bare_seconds: float, quant: OpenedModel, machine: Machine) -> float:
    """See `LIMIT`; ``items`` with what is predicted of them."""
    tokens, run = (sum(map(len, (item.tokens for item in items))), sum(sum(item.run_lengths) for item in items))
    rows, head = sum(len(item.rows.target) for item in items), quant.head
    every = _head_seconds(tokens, quant, machine)
    both = 2 * _head_seconds(rows, quant, machine) + machine.exp_seconds(2.0 * rows * head.vocabulary)
    return ((bare_seconds - every) * run / tokens + both) / bare_seconds


def _head_seconds(rows: int, quant: OpenedModel, machine: Machine) -> float:
    return machine.product_seconds(rows, quant.head.width, quant.head.vocabulary, quant.head.weight.dtype)


def _over_harness(best: dict[str, float], items: Sequence[Item]) -> Figure:
    harness = {name: seconds for name, seconds in best.items() if name.startswith("harness")}
    fastest = min(harness, key=harness.__getitem__)
    return Figure(
        row=8,
        what=f"KLD on choices, {len(items)} items, {best['choices']:.1f} s over lm-evaluation-harness's own hf model, "
        f"{harness[fastest]:.1f} s at batch size {fastest.removeprefix('harness ')}, the fastest",
        value=best["choices"] / harness[fastest],
        target=TARGET_HARNESS,
    )
