"""Every table of notebook 07 from a study's parameters: prompt by prompt, the router, and metrics with direction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from qkld.analysis.evidence import score_groups
from qkld.analysis.shown import shown_score, zone_of
from qkld.analysis.study import LoadedStudy
from qkld.statistics.prompts.cross_fit import task_shifts
from qkld.statistics.prompts.directional import directional_table
from qkld.statistics.prompts.failed_and_passed import prompt_table
from qkld.statistics.prompts.router_tables import router_table
from qkld.statistics.prompts.signals import baseline_table, flip_signal_table, within_table


def settings_of(study: LoadedStudy) -> dict[str, Any]:
    """What every table of prompts is made of: models, benchmarks, column of KLD, level, and who may be left out."""
    knobs = study.params.prompts
    return {
        "models": study.quants,
        "benchmarks": study.benchmarks,
        "divergence": knobs.prompt_divergence,
        "confidence": knobs.prompt_confidence,
        "reference": study.params.reference.label,
        "minimum_reference": knobs.minimum_reference,
        "families": {b.task: b.family for b in study.params.benchmarks if b.family is not None},
    }


def prompt_tables(study: LoadedStudy) -> dict[str, pd.DataFrame]:
    """KLD of failed beside passed items, its baselines, quants on one prompt, drops and leapfrogs, and the router."""
    knobs, items, what = study.params.prompts, study.items, settings_of(study)
    few, epsilon = {"minimum_failed": knobs.minimum_failed}, {"epsilon": knobs.prompt_epsilon}
    return {
        "prompts": prompt_table(items, **what, **few, **epsilon),
        "prompt_baselines": baseline_table(items, **what, **few),
        "prompt_within": within_table(items, **what, **epsilon),
        "prompt_flips": flip_signal_table(items, **what, **few),
        "router": router_table(items, **what, **epsilon),
    }


def directional_tables(study: LoadedStudy) -> Mapping[str, pd.DataFrame]:
    """Whether anything cheap beats KLD, for the score that headlines are about, full cohort and notebook 05's zone."""
    knobs, resampling, score = study.params.prompts, study.resampling, shown_score(study).benchmark
    of_items = {
        "reference": study.params.reference.label,
        "quants": study.quants,
        "divergence": knobs.prompt_divergence,
    }
    tasks = {task: task_shifts(study.items, task, **of_items) for task in score_groups(study)[score]}
    members = (study.cohort["role"] == "quant") & study.cohort["label"].isin(zone_of(study).labels)
    table = directional_table(
        tasks,
        study.cohort,
        members,
        study.quants,
        divergence=knobs.prompt_divergence,
        splits=knobs.direction_splits,
        resampling=resampling,
        rng=np.random.default_rng([resampling.seed, 4]),
        benchmark=score,
    )
    return {"directional": table}
