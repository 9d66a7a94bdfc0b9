"""The result tables that answers item by item allow, with the functions that notebooks 04 to 06 call."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from qkld.analysis.own_table.items import OwnItems
from qkld.analysis.own_table.table import OwnTable
from qkld.errors import StatisticsError
from qkld.statistics.core.checks import composite_score, is_divergence, joined, score_column
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.correlation.twoway import ItemDraws, draw_items
from qkld.statistics.flips.decision import decision_table, pair_table
from qkld.statistics.flips.direction import direction_reliability, task_groups
from qkld.statistics.flips.flips import direction_table, flip_table
from qkld.statistics.flips.thinning import thinning_table
from qkld.statistics.items.answers import answers_by_task, clusters_by_task
from qkld.statistics.items.covariance import NetNoise, noise_by_benchmark
from qkld.statistics.items.scores import benchmark_scores
from qkld.statistics.noise.tables import leave_one_out_table, noise_table, verdict_table
from qkld.statistics.prompts.cross_fit import task_shifts
from qkld.statistics.prompts.directional import directional_table
from qkld.statistics.prompts.failed_and_passed import prompt_table
from qkld.statistics.prompts.router_tables import router_table
from qkld.statistics.prompts.signals import baseline_table, flip_signal_table, within_table
from qkld.statistics.zone.edge import zone_edge_table
from qkld.statistics.zone.zone import full_and_zone
from qkld.statistics.zone.zone_curve import Envelope, zone_curve

OF_KLD = (
    *("residual_p_linear", "residual_p_sqrt", "residual_p_log", "residual_p", "tau", "tau_low", "tau_high"),
    *("predictive_low", "predictive_high", "predictive_p"),
)
"""Columns of `noise_table` that hold for a KL divergence only."""

MINIMUM_FAILED, EPSILON = 10, 1e-7
"""Failed and passed items that a ratio of their KLD needs, and what is added to a KLD before its logarithm, nats."""

MINIMUM_REFERENCE, DIRECTION_SPLITS = 20, 20
"""Right and wrong items of the reference that a benchmark needs for ratio and router; random halves of the items."""

PREDICTIVE_DRAWS, LEFT_OUT_DRAWS, EDGE_DRAWS, THINNING_DRAWS = 2000, 500, 50, 200


@dataclass(frozen=True)
class Answered:
    """The quants that have items, on the scores that have them."""

    own: OwnTable
    items: pd.DataFrame
    reference: str | None
    cohort: pd.DataFrame
    members: pd.Series
    benchmarks: list[str]
    divergence: str | None

    @property
    def tasks(self) -> list[str]:
        """Benchmarks of the composite: none where there is only one benchmark."""
        return self.benchmarks if len(self.benchmarks) > 1 else []

    @property
    def sizes(self) -> dict[str, int]:
        """Items of each benchmark."""
        distinct = self.items.groupby("benchmark")["item"].nunique()
        return {b: int(distinct[b]) for b in self.benchmarks}

    @property
    def quants(self) -> list[str]:
        return list(self.cohort.loc[self.cohort["role"] == "quant", "label"])

    @property
    def subsets(self) -> dict[str, list[str]]:
        return {"full": self.quants, "zone": list(self.cohort.loc[self.members, "label"])}


def answered(own: OwnTable, items: OwnItems) -> Answered:
    """What of the table has items, its scores counted from them; without items of the reference there is none.

    Raises
    ------
    StatisticsError
        If the table's scores are not those of the items, to the table's last decimal.
    """
    has = own.cohort["label"].isin(items.models)
    benchmarks = [s for s in own.scores if s in items.benchmarks]
    counted = benchmark_scores(items.items).pivot(index="label", columns="benchmark", values="score")
    cohort = own.cohort[has].reset_index(drop=True)
    shares = pd.DataFrame({score_column(b): cohort["label"].map(counted[b]) for b in benchmarks})
    _check_same_scores(cohort, shares, own.rounding)
    cohort = cohort.assign(**shares, composite=composite_score(shares))
    reference = own.reference if own.reference in items.models else None
    return Answered(
        own, items.items, reference, cohort, own.members[has].reset_index(drop=True), benchmarks, items.divergence
    )


def _check_same_scores(cohort: pd.DataFrame, shares: pd.DataFrame, rounding: float) -> None:
    gap = (cohort[shares.columns] - shares).abs()
    cells = [
        f"{c.removeprefix('score_')} of {cohort.at[i, 'label']}: {cohort.at[i, c]:.4f} and {shares.at[i, c]:.4f}"
        for c in shares
        for i in gap.index[gap[c] > 0.51 * rounding + 1e-9]
    ]
    if cells:
        raise StatisticsError(
            "Table and items give different scores.",
            expected=f"the share of right answers, to the table's last decimal ({rounding:g})",
            found="; ".join(cells[:3]) + (f" and {len(cells) - 3} more" if len(cells) > 3 else ""),
            do="take scores and items from one run and one metric",
        )


def correlation_rows(own: OwnTable, given: Answered | None, resampling: Resampling) -> pd.DataFrame:
    """Spearman of the metric with every score and their mean, over all quants and in the zone.

    With the two-way interval where every quant and every score has items.
    """
    complete = given is not None and given.quants == own.quants and given.benchmarks == list(own.scores)
    cohort, members = (given.cohort, given.members) if complete else (own.cohort, own.members)
    draws = item_draws(given, resampling) if complete else None
    return full_and_zone(cohort, members, [own.fidelity], own.benchmarks, resampling=resampling, items=draws)


def item_draws(given: Answered, resampling: Resampling) -> ItemDraws:
    """Scores of the quants on other draws of the items, for two-way intervals."""
    return draw_items(
        answers_by_task(given.items, given.benchmarks, given.quants),
        given.quants,
        resamples=resampling.resamples,
        rng=resampling.item_rng(),
        tasks=given.tasks,
        clusters=clusters_by_task(given.items, given.benchmarks),
    )


def noise_of(given: Answered) -> dict[str, NetNoise]:
    """Net scores and their item noise, each benchmark's and the composite's, the headline last."""
    return noise_by_benchmark(
        given.items, reference=given.reference, quants=given.quants, benchmarks=given.benchmarks, tasks=given.tasks
    )


def curve_table(own: OwnTable, given: Answered | None, resampling: Resampling, least: int) -> pd.DataFrame:
    """ρ for every cut of the zone; of a KL divergence with items, also where it would lie were true scores monotone."""
    call = {"least": least, "resampling": resampling, "metric": own.fidelity, "falling": own.falling}
    if given is None or not is_divergence(own.fidelity):
        return zone_curve(own.cohort, benchmark=own.headline, **call)
    noise = list(noise_of(given).values())[-1]
    headline = "composite" if given.tasks else given.benchmarks[0]
    return zone_curve(given.cohort, benchmark=headline, envelope=Envelope(noise, PREDICTIVE_DRAWS), **call)


def noise_tables(given: Answered, resampling: Resampling) -> dict[str, pd.DataFrame]:
    """Reliability and heterogeneity; for a KL divergence the verdict too, and both with one quant left out."""
    noises = noise_of(given)
    call = {"metric": given.own.fidelity}
    drawn = {"resampling": resampling, **call}
    noise = noise_table(noises, given.cohort, given.members, draws=PREDICTIVE_DRAWS, **drawn)
    if not is_divergence(given.own.fidelity):
        note = [joined(n, "curves in KLD are fitted to KL divergences only") for n in noise["note"]]
        return {"noise": noise.assign(**dict.fromkeys(OF_KLD, np.nan), note=note)}
    headline = {name: noises[name] for name in list(noises)[-1:]}
    return {
        "noise": noise,
        "verdict": verdict_table(noises, given.cohort, given.members, **call),
        "leave_one_out": leave_one_out_table(headline, given.cohort, given.members, draws=LEFT_OUT_DRAWS, **drawn),
    }


def reference_tables(given: Answered, resampling: Resampling, margin: float) -> dict[str, pd.DataFrame]:
    """Volume, direction and decisions: all that is measured from the reference's answers."""
    call = {"reference": given.reference, "benchmarks": given.benchmarks, "tasks": given.tasks}
    metric = given.own.fidelity
    flips = flip_table(given.items, confidence=resampling.confidence, **call)
    flips = flips[flips["label"].isin(given.quants)].reset_index(drop=True)
    confident = {"margin": margin, "confidence": resampling.confidence, "size": "size"}
    decision = decision_table(given.items, given.cohort, **confident, **call)
    if metric is None:
        return {"flips": flips, "decision": decision}
    known = direction_reliability(given.items, given.subsets, **call)
    moved = direction_table(flips, given.cohort, given.members, resampling=resampling, metric=metric, reliability=known)
    thinned = thinning_table(
        given.items, given.cohort, given.members, resampling=resampling, draws=THINNING_DRAWS, metric=metric, **call
    )
    edges = {}
    if is_divergence(metric):
        groups = task_groups(given.benchmarks, given.tasks)
        rng = np.random.default_rng(resampling.seed)
        edges["zone_edge"] = zone_edge_table(
            given.items, given.cohort, reference=given.reference, tasks=groups, draws=EDGE_DRAWS, rng=rng, metric=metric
        )
    return {"flips": flips, "volume_direction": moved, "thinning": thinned, "decision": decision, **edges}


def prompts_table(given: Answered, resampling: Resampling) -> dict[str, pd.DataFrame]:
    """KLD of failed items beside that of passed ones, its baselines, and the router, where items have a KLD.

    Which way answers flip, and metrics that may carry direction, need the reference's answers too.
    """
    if given.divergence is None:
        return {}
    what = {
        "models": given.quants,
        "benchmarks": given.benchmarks,
        "divergence": given.divergence,
        "confidence": resampling.confidence,
        "reference": given.reference,
        "minimum_reference": MINIMUM_REFERENCE,
    }
    few, epsilon = {"minimum_failed": MINIMUM_FAILED}, {"epsilon": EPSILON}
    found = {
        "prompts": prompt_table(given.items, **what, **few, **epsilon),
        "prompt_baselines": baseline_table(given.items, **what, **few),
        "prompt_within": within_table(given.items, **what, **epsilon),
        "router": router_table(given.items, **what, **epsilon),
    }
    if given.reference is None:
        return found
    flips = flip_signal_table(given.items, **what, **few)
    return {**found, "prompt_flips": flips, **_directional(given, resampling)}


def _directional(given: Answered, resampling: Resampling) -> dict[str, pd.DataFrame]:
    """Whether anything cheap beats the table's own KLD on the mean of the benchmarks with items."""
    metric = given.own.fidelity
    if metric is None or not is_divergence(metric):
        return {}
    of_items = {"reference": given.reference, "quants": given.quants, "divergence": given.divergence}
    tasks = {task: task_shifts(given.items, task, **of_items) for task in given.benchmarks}
    table = directional_table(
        tasks,
        given.cohort,
        given.members,
        given.quants,
        divergence=given.divergence,
        splits=DIRECTION_SPLITS,
        resampling=resampling,
        rng=np.random.default_rng([resampling.seed, 4]),
        benchmark="composite" if given.tasks else given.benchmarks[0],
        baseline=metric,
    )
    return {"directional": table}


def order_table(given: Answered, resampling: Resampling) -> dict[str, pd.DataFrame]:
    """Which of two quants is the better on the mean of the benchmarks with items."""
    if len(given.quants) < 2:
        return {}
    metric = pd.Series(np.nan, given.cohort.index) if given.own.fidelity is None else given.cohort[given.own.fidelity]
    distance = -metric if given.own.falling else metric
    cohort = given.cohort.assign(distance=distance)
    call = {"tasks": given.benchmarks, "confidence": resampling.confidence, "metric": "distance"}
    return {"pairs": pair_table(given.items, cohort, **call)}
