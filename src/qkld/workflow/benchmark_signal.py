"""Chance, cost and signal of each benchmark, from a few items of the reference: what an hour of it resolves."""

from __future__ import annotations

import math

from qkld.study.params import Benchmark, Study
from qkld.study.samples import Sample, read_samples, write_samples
from qkld.study.text_table import TextTable
from qkld.workflow.plan import ItemCost, known_shape
from qkld.workflow.resolution import JUDGED_AT, paired_error
from qkld.workflow.splitting import Pace

SAMPLED_ITEMS = 48
"""Items of each benchmark: a standard error of 7 points tells a benchmark at chance from one that is not."""


def measure_samples(study: Study) -> None:
    """Run the reference on a few items of each benchmark and keep what they say; it takes about a minute."""
    from qkld.benchmarks.sampling import sample_study  # imports torch

    write_samples(study, sample_study(study, items=SAMPLED_ITEMS))


def sampled_speed(study: Study) -> float | None:
    """Operations a second of one job, as the sampled items were run; None without a sample."""
    shape, samples = known_shape(study), read_samples(study).values()
    if shape is None or not samples:
        return None
    work = sum(s.items * ItemCost(s.tokens, s.head_tokens).work(shape) for s in samples)
    return work / sum(s.items * s.seconds for s in samples)


def signal_lines(study: Study, *, cores: int, flop_per_second: float | None) -> list[str]:
    """What the sampled items say of each benchmark, for `qkld plan`; where there are none, how to have them."""
    samples = read_samples(study)
    if not samples or flop_per_second is None:
        return ["", f"Chance, cost and signal of each benchmark: `qkld plan {study.study} --measure`, about a minute."]
    pace = Pace(cores, flop_per_second)
    rows = [_row(study, b, samples[b.task], pace) for b in study.benchmarks if b.task in samples]
    columns = (
        *("benchmark", "sampled", "chance", "reference", "probability", "tokens an item", "of choices"),
        *("points after an hour", "signal over them"),
    )
    return [
        "",
        f"What {SAMPLED_ITEMS} items of each benchmark said of the reference:",
        *TextTable("", "", columns, tuple(rows)).lines(),
        f"  - points after an hour: standard error of a paired difference at {JUDGED_AT:.0%} flips after an hour of",
        "    this benchmark alone, in all models; signal: what the reference scores above chance.",
    ]


def _row(study: Study, benchmark: Benchmark, sample: Sample, pace: Pace) -> tuple[str, ...]:
    error = paired_error(JUDGED_AT, [3600 / pace.an_item(study, benchmark)])
    above = sample.score - benchmark.chance
    uncertain = math.sqrt(sample.score * (1 - sample.score) / sample.items)
    return (
        benchmark.task,
        str(sample.items),
        f"{benchmark.chance:.0%}",
        f"{sample.score:.0%} ± {uncertain:.0%}",
        f"{sample.probability:.0%}",
        f"{sample.tokens:.0f}",
        f"{sample.head_tokens:.0f}",
        f"± {100 * error:.2f}",
        f"{above / error:.0f}",
    )
