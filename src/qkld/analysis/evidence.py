"""What the items of a study give its statistics: the composite's tasks, redrawn scores, noise, self-flips, halves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from qkld.analysis.cohort import composite_of
from qkld.analysis.study import LoadedStudy
from qkld.statistics.correlation.twoway import ItemDraws, draw_items
from qkld.statistics.flips.direction import task_groups
from qkld.statistics.flips.self_flips import self_flip_table
from qkld.statistics.items.answers import answers_by_task, clusters_by_task
from qkld.statistics.items.covariance import NetNoise, noise_by_benchmark
from qkld.statistics.zone.split_zone import Half, split_halves
from qkld.study.params import FLOOR_BATCH


def composite_tasks(study: LoadedStudy) -> list[str]:
    """The tasks whose mean is the composite, in the study's order; empty where no reference score is above chance."""
    return composite_of(study.params, study.items).query("in_composite")["benchmark"].tolist()


def score_groups(study: LoadedStudy) -> dict[str, list[str]]:
    """Name of each score → the benchmarks it is the mean of; ``composite`` last, where there is one."""
    return task_groups(study.benchmarks, composite_tasks(study))


def item_draws(study: LoadedStudy) -> ItemDraws:
    """Scores of the quants on redrawn items of every benchmark, as often as the study resamples quants."""
    return draw_items(
        answers_by_task(study.items, study.benchmarks, study.quants),
        study.quants,
        resamples=study.resampling.resamples,
        rng=study.resampling.item_rng(),
        tasks=composite_tasks(study),
        clusters=clusters_by_task(study.items, study.benchmarks),
    )


def second_run(study: LoadedStudy) -> pd.DataFrame | None:
    """The reference's items from its run in another batch shape; None where the study does not ask for one."""
    return study.second_run if study.params.self_flips else None


def _with_second_run(study: LoadedStudy) -> dict[str, Any]:
    """The items of all models with the second run among them, and the labels of both runs of the reference."""
    parts = [study.items, second_run(study)]
    again = None if parts[1] is None else FLOOR_BATCH
    items = pd.concat([part for part in parts if part is not None], ignore_index=True)
    return {"items": items, "reference": study.params.reference.label, "again": again}


def self_flips(study: LoadedStudy, *, confidence: float) -> pd.DataFrame:
    """Each quant's flips beside the reference's with itself; see `self_flip_table`.

    Raises
    ------
    StageError
        If the study asks for a second run and there is none yet.
    """
    of_scores = {"benchmarks": study.benchmarks, "tasks": composite_tasks(study)}
    return self_flip_table(**_with_second_run(study), quants=study.quants, confidence=confidence, **of_scores)


def item_noise(study: LoadedStudy) -> dict[str, NetNoise]:
    """Covariance of the quants' score differences to the reference over items, for each score of the study."""
    return noise_by_benchmark(
        study.items,
        reference=study.params.reference.label,
        quants=study.quants,
        benchmarks=study.benchmarks,
        tasks=composite_tasks(study),
    )


def item_halves(study: LoadedStudy, benchmark: str, *, splits: int) -> tuple[Half, Half]:
    """Random halves of the items behind one score, for choosing a zone on one and judging it on the other."""
    tasks = score_groups(study)[benchmark]
    reference = study.params.reference.label
    return split_halves(
        answers_by_task(study.items, tasks, study.quants),
        {task: answers[0] for task, answers in answers_by_task(study.items, tasks, [reference]).items()},
        splits=splits,
        rng=np.random.default_rng([study.resampling.seed, 2]),
        clusters=clusters_by_task(study.items, tasks),
    )
