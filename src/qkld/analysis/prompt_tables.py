"""Result tables of notebook 07: prompt by prompt, the router, and metrics with direction."""

from __future__ import annotations

import pandas as pd

from qkld.analysis.evidence import Evidence
from qkld.statistics.prompts import directional, failed_and_passed, router_tables, signals
from qkld.statistics.prompts.cross_fit import task_shifts


def prompt_table(evidence: Evidence) -> pd.DataFrame:
    """KLD of failed beside that of passed items, by quant and over all."""
    settings = evidence.settings
    return failed_and_passed.prompt_table(
        evidence.prompts,
        minimum_failed=settings.minimum_failed,
        epsilon=settings.prompt_epsilon,
        confidence=settings.prompt_confidence,
    )


def baseline_table(evidence: Evidence) -> pd.DataFrame:
    """What length, entropy and surprise of a prompt say by themselves, and what KLD adds."""
    settings = evidence.settings
    return signals.baseline_table(
        evidence.prompts, minimum_failed=settings.minimum_failed, confidence=settings.prompt_confidence
    )


def within_table(evidence: Evidence) -> pd.DataFrame:
    """Quants compared on one and the same prompt."""
    settings = evidence.settings
    return signals.within_table(
        evidence.prompts, epsilon=settings.prompt_epsilon, confidence=settings.prompt_confidence
    )


def flip_signal_table(evidence: Evidence) -> pd.DataFrame:
    """Whether KLD says which way an answer flips."""
    settings = evidence.settings
    return signals.flip_signal_table(
        evidence.with_parts("base").prompts,
        minimum_failed=settings.minimum_failed,
        confidence=settings.prompt_confidence,
    )


def router_table(evidence: Evidence) -> pd.DataFrame:
    """Whether the quant with the lower KLD on an item is the one that is right."""
    settings = evidence.settings
    return router_tables.router_table(
        evidence.prompts, confidence=settings.prompt_confidence, epsilon=settings.prompt_epsilon
    )


def directional_table(evidence: Evidence) -> pd.DataFrame:
    """Whether anything cheap beats the metric on the headline, over all quants and in the zone."""
    items, reference, kld = evidence.answers, evidence.base, evidence.item_kld
    tasks = {
        task: task_shifts(items, task, reference=reference, quants=evidence.quants, divergence=kld)
        for task in evidence.groups[evidence.headline]
    }
    return directional.directional_table(
        tasks,
        evidence.cohort,
        evidence.members,
        evidence.quants,
        divergence=kld,
        splits=evidence.settings.direction_splits,
        resampling=evidence.resampling,
        rng=evidence.resampling.rng("metrics"),
        benchmark=evidence.headline,
        baseline=evidence.kld,
    )
