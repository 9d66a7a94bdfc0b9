"""Row 5: time and peak memory against tokens, 4k to 64k, over the whole of notebook 02's work.

The model is the demo's reference cut to its first layers, as reference and as quant, so that 64k tokens take about a
minute on two cores: text, store, heads, walk, tables and summary are those of a whole model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from qkld.divergence.measuring import Scored
from qkld.models import OpenedModel, open_model
from qkld.reference.store import ReferenceStore
from qkld.study.params import Study
from validation.bench.figures import Figure
from validation.bench.machine import seconds_of
from validation.bench.memory import peak_memory
from validation.bench.stage import CONTEXT, bench_study, measured, prose, recorded

SIZES = (4_096, 8_192, 16_384, 32_768, 65_536)
LAYERS = 3
SCORE_FROM = 0.75
"""Share of a window that is context: a quarter is scored, so that the head does not outweigh the cut trunk."""

TIME_TARGET = 0.10
"""Largest distance of a time from the line, as a share of the line: linear means no more than that."""

ROUNDS = 2
"""Times every size is measured, in turn; the faster counts, since other work on a machine only adds."""

MEMORY_TARGET = 1.05
"""Peak memory at the most tokens over that at the fewest: constant means no more than that."""


@dataclass(frozen=True)
class Point:
    """Tokens run, tokens scored, seconds from loaded model to written table, and peak resident bytes meanwhile."""

    tokens: int
    scored: int
    seconds: float
    peak_bytes: int


def shortened(model: OpenedModel, layers: int) -> OpenedModel:
    """The model cut to its first layers, in place; its hash is marked so that no store is taken for the whole one's."""
    model.module.model.layers = model.module.model.layers[:layers]
    model.module.config.num_hidden_layers = layers
    return replace(model, weights_sha256=f"{model.weights_sha256} first {layers} layers")


def points(sizes: Sequence[int], folder: Path, *, rounds: int = ROUNDS) -> list[Point]:
    """Measure at each size in turn, fewest tokens first, each on a store of its own; then again."""
    study = bench_study("float32")
    study = study.model_copy(
        update={"reference_logits": study.reference_logits.model_copy(update={"score_from": SCORE_FROM})}
    )
    model = open_model(study.reference, reference=study.reference, compute=study.compute)
    model = shortened(model, LAYERS)
    stores = {n: recorded(study, prose(study, n // CONTEXT, CONTEXT), model, folder / f"{n}") for n in sizes}
    found = [
        _point(study, model, tokens, store, folder / f"{tokens}-{turn}")
        for turn in range(rounds)
        for tokens, store in stores.items()
    ]
    return [_best([point for point in found if point.tokens == tokens]) for tokens in sizes]


def _point(study: Study, model: OpenedModel, tokens: int, store: tuple[ReferenceStore, Scored], folder: Path) -> Point:
    with peak_memory() as peak:
        seconds = seconds_of(lambda: measured(study, model, store, folder))
    return Point(tokens, store[0].header.scored_tokens, seconds, peak.highest)


def _best(turns: Sequence[Point]) -> Point:
    """The fastest of several measurements of one size, with the highest of their peaks."""
    fastest = min(turns, key=lambda point: point.seconds)
    return replace(fastest, peak_bytes=max(point.peak_bytes for point in turns))


def scaling_figures(found: Sequence[Point]) -> list[Figure]:
    """The line through the times, the largest distance from it, and how far the peak memory grows.

    The line is fitted by relative distance, the one that is judged: what else a machine does slows a run by a share.
    """
    tokens, seconds = np.array([p.tokens for p in found]), np.array([p.seconds for p in found])
    slope, intercept = np.polyfit(tokens, seconds, 1, w=1 / seconds)
    distance = np.abs(seconds / (intercept + slope * tokens) - 1).max()
    growth = (found[-1].peak_bytes - found[0].peak_bytes) / (found[-1].scored - found[0].scored)
    times = ", ".join(f"{p.tokens // 1024}k {p.seconds:.1f} s" for p in found)
    peaks = ", ".join(f"{p.tokens // 1024}k {p.peak_bytes / 1e6:,.0f} MB" for p in found)
    return [
        Figure(
            row=5,
            what=f"largest distance from the line {intercept:.2f} s + {1e3 * slope:.3f} s a thousand tokens: {times}",
            value=100 * float(distance),
            unit="%",
            target=100 * TIME_TARGET,
            note=f"Scaled down: the demo's reference cut to its first {LAYERS} layers, float32, windows of {CONTEXT} "
            f"tokens of which the last {1 - SCORE_FROM:.0%} are scored; notebook 02's work from loaded model to "
            "written table.",
        ),
        Figure(
            row=5,
            what=f"peak memory at {tokens[-1]:,} tokens over that at {tokens[0]:,}: {peaks}; "
            f"{growth:,.0f} B a further scored token",
            value=found[-1].peak_bytes / found[0].peak_bytes,
            limit=1.0,
            limit_formula="for memory: none that grows",
            target=MEMORY_TARGET,
        ),
    ]


def scaling_row(folder: Path, sizes: Sequence[int] = SIZES) -> tuple[list[Figure], list[dict[str, Any]]]:
    """The figures of row 5, and the points they rest on."""
    found = points(sizes, folder)
    return scaling_figures(found), [asdict(point) for point in found]
