"""Cohort and items of any size drawn from the calibration's margin model, as notebooks 02 and 03 would leave them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from qkld.analysis.cohort import BASE_VARIANTS, variants_of
from qkld.statistics.items.scores import benchmark_scores, composite
from qkld.study.params import Study
from qkld.study.schemas import COHORT, ITEMS, Column, Schema
from validation.calibration.worlds import draw_cohort

WORLD = "W2"
"""Scores fall with √KLD."""

WOBBLE = 0.12
"""Standard deviation of ln of each variant of the metric about KLD, so that no two rank the quants alike."""

EMPTY = {"str": "simulated", "bool": False}


@dataclass(frozen=True)
class SimulatedTables:
    """Tables that pass the schemas ``cohort`` and ``items``; nothing in them was measured."""

    cohort: pd.DataFrame
    items: pd.DataFrame


def simulated_tables(study: Study, items: int, *, rng: np.random.Generator) -> SimulatedTables:
    """All quants of a study in world `WORLD`, with ``items`` in all, shared out evenly over its benchmarks."""
    labels = [q.label for q in study.quants]
    world = draw_cohort(WORLD, len(labels), len(labels), rng=rng)
    parts = []
    for number, benchmark in enumerate(study.benchmarks):
        here = items // len(study.benchmarks) + (number < items % len(study.benchmarks))
        right = world.answers(here, rng=rng)
        for label, correct in zip([study.reference.label, *labels], right.T, strict=True):
            parts.append(_items_of(label, benchmark.task, correct, rng))
    table = ITEMS.checked(pd.concat(parts, ignore_index=True))
    return SimulatedTables(_cohort(study, world.kld, table, rng), table)


def _items_of(label: str, task: str, correct: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    n = correct.size
    known = {"model": label, "benchmark": task, "item": np.arange(n).astype(str), "correct": correct.astype("int8")}
    return pd.DataFrame(_filled(ITEMS, known, lambda column: np.exp(rng.standard_normal(n))))


def _filled(schema: Schema, known: dict[str, Any], number: Any) -> dict[str, Any]:
    """``known``, and something of the right type in every other column that the schema asks for."""
    rest = {name: c for name, c in schema.columns.items() if name not in known and not c.optional}
    return known | {name: _something(column, number) for name, column in rest.items()}


def _something(column: Column, number: Any) -> Any:
    if column.dtype.startswith("float"):
        return number(column)
    return EMPTY.get(column.dtype, 1)


def _cohort(study: Study, kld: np.ndarray, items: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    reference = {"label": study.reference.label, "role": "reference", "family": study.reference.family}
    rows = [_filled(COHORT, reference, lambda column: np.nan if column.missing else 1.0)]
    variants = list(dict.fromkeys([*BASE_VARIANTS, *variants_of(study)]))
    for entry, k in zip(study.quants, kld, strict=True):
        known = {"label": entry.label, "role": "quant", "family": entry.family, "nominal_bits": entry.nominal_bits}
        known["weights_sha256"] = entry.label
        known |= {v: k * np.exp(WOBBLE * rng.standard_normal()) for v in variants} | {"kl_mean": k}
        known |= {"bits_per_weight": 8 - np.log2(k / kld.min()) * np.exp(WOBBLE * rng.standard_normal())}
        rows.append(_filled(COHORT, known, lambda column: float(rng.random())))
    table, scores, tasks = pd.DataFrame(rows), benchmark_scores(items), [b.task for b in study.benchmarks]
    for task in tasks:
        of_task = scores[scores["benchmark"] == task].set_index("label")
        table[f"score_{task}"], table[f"se_{task}"] = (table["label"].map(of_task[c]) for c in ("score", "se"))
    return COHORT.checked(table.merge(composite(scores, tasks), on="label", how="left"))
