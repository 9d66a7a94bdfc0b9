"""Item and cohort tables of simulated quants, for tests of statistics that need answers item by item."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from qkld.statistics.items.covariance import NetNoise
from validation.calibration.worlds import draw_cohort


def labels_of(quants: int) -> list[str]:
    """Names of quants, in an order that sorting keeps."""
    return [f"q{i:02d}" for i in range(quants)]


def answered_study(
    rng: np.random.Generator,
    world: str = "W2",
    *,
    quants: int = 8,
    items: int = 400,
    benchmarks: Sequence[str] = ("easy", "hard"),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Items (model, benchmark, item, correct) of a reference and quants, and their cohort with the lowest 6 as zone."""
    cohort = draw_cohort(world, quants, quants, rng=rng)
    labels = ["ref", *labels_of(quants)]
    parts = []
    for benchmark in benchmarks:
        correct = cohort.answers(items, rng=rng).astype(int)
        for label, answers in zip(labels, correct.T, strict=True):
            rows = {"model": label, "benchmark": benchmark, "item": [f"{i:05d}" for i in range(items)]}
            parts.append(pd.DataFrame({**rows, "correct": answers}))
    table = pd.DataFrame({"label": labels, "role": ["reference", *["quant"] * quants], "family": "f"})
    return pd.concat(parts, ignore_index=True), table.assign(kl_mean=[np.nan, *cohort.kld])


def noise_of(net: Sequence[float], covariance: np.ndarray, items: int = 1000) -> NetNoise:
    """`NetNoise` of quants q00, q01, … beside a reference."""
    values = np.asarray(net, dtype=float)
    return NetNoise(tuple(labels_of(values.size)), values, np.asarray(covariance), items, items, True)
