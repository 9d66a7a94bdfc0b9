"""Result tables of notebook 05: the zone, ρ inside it, what its items can resolve, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from qkld.analysis.evidence import Evidence
from qkld.statistics.core.checks import is_divergence, joined
from qkld.statistics.correlation import comparison
from qkld.statistics.noise import noise_and_verdict
from qkld.statistics.noise.two_scores import NO_PRIMARY
from qkld.statistics.zone import break_point, edge, split_zone, variants, zone, zone_curve
from qkld.statistics.zone.zone import Rule

OF_KLD = (
    *("residual_p_linear", "residual_p_sqrt", "residual_p_log", "residual_p", "tau", "tau_low", "tau_high"),
    *("predictive_low", "predictive_high", "predictive_p"),
)
"""Columns of `noise_table` that hold for a KL divergence only."""


# --- the zone and ρ inside it -----------------------------------------------------------------------------------------


def members_table(evidence: Evidence) -> pd.DataFrame:
    """Every quant, and whether it is in the zone."""
    settings = evidence.settings
    return zone.members_table(
        evidence.cohort, evidence.members, rule=settings.zone_rule, cut=settings.zone_cut, metric=evidence.fidelity
    )


def full_and_zone(evidence: Evidence) -> pd.DataFrame:
    """ρ of the metric with every score, over all quants and in the zone."""
    return zone.full_and_zone(
        evidence.cohort,
        evidence.members,
        [evidence.fidelity],
        list(evidence.groups),
        resampling=evidence.resampling,
        items=evidence.draws,
    )


def zone_table(evidence: Evidence) -> pd.DataFrame:
    """`full_and_zone` beside the rule that chose the zone, its cut, and how many quants it holds."""
    return zone.zone_table(
        evidence.cohort,
        evidence.members,
        list(evidence.groups),
        rule=evidence.settings.zone_rule,
        cut=evidence.settings.zone_cut,
        resampling=evidence.resampling,
        metric=evidence.fidelity,
        items=evidence.draws,
    )


def rules_table(evidence: Evidence) -> pd.DataFrame:
    """ρ of the headline inside the zone by each rule, chosen and judged on the same items."""
    return zone.rules_table(
        evidence.cohort,
        _rules(evidence),
        resampling=evidence.resampling,
        metric=evidence.kld,
        benchmark=evidence.headline,
        flips=evidence.flips,
        tasks=evidence.groups[evidence.headline],
        items=evidence.draws,
    )


def split_table(evidence: Evidence) -> pd.DataFrame:
    """The same with the zone chosen on half of the items and judged on the other half."""
    kld = evidence.cohort.set_index("label").loc[evidence.quants, evidence.kld]
    return split_zone.split_table(
        evidence.halves, kld, _rules(evidence), metric=evidence.kld, benchmark=evidence.headline
    )


def _rules(evidence: Evidence) -> Mapping[Rule, float | None]:
    settings = evidence.settings
    return zone.compared_rules(settings.zone_rule, settings.zone_cut, margin=settings.zone_margin)


def break_table(evidence: Evidence) -> pd.DataFrame:
    """Where each score starts to bend with ln KLD, and whether it does."""
    return break_point.break_table(
        evidence.cohort, list(evidence.groups), resampling=evidence.resampling, metric=evidence.kld
    )


def cut_tables(evidence: Evidence) -> dict[str, pd.DataFrame]:
    """How much rests on the cut: name → ``zone_curve`` and ``zone_break`` by the score that decides, and what other
    rules would choose, ``zone_rules`` and ``zone_split``."""
    primary = evidence.primary
    return {
        "zone_curve": curve_table(primary),
        "zone_break": break_table(primary),
        "zone_rules": rules_table(evidence),
        "zone_split": split_table(evidence),
    }


def variants_table(evidence: Evidence) -> pd.DataFrame:
    """ρ of the headline with every variant of the metric, over all quants and in the zone."""
    return variants.variants_table(
        evidence.cohort,
        evidence.members,
        evidence.variants,
        resampling=evidence.resampling,
        benchmark=evidence.headline,
        items=evidence.draws,
    )


def differences_table(evidence: Evidence) -> pd.DataFrame:
    """|ρ| of every variant less that of the metric."""
    return comparison.differences_table(
        evidence.cohort,
        evidence.members,
        evidence.variants,
        resampling=evidence.resampling,
        baseline=evidence.fidelity,
        benchmark=evidence.headline,
    )


def curve_table(evidence: Evidence) -> pd.DataFrame:
    """ρ of the headline for every cut of the zone; of a KL divergence with items, also where it would lie were true
    scores monotone."""
    metric, settings = evidence.fidelity, evidence.settings
    known = evidence.items is not None and is_divergence(metric)
    return zone_curve.zone_curve(
        evidence.cohort,
        least=settings.curve_min_quants,
        resampling=evidence.resampling,
        metric=metric,
        benchmark=evidence.headline,
        envelope=zone_curve.Envelope(evidence.noises[evidence.headline], settings.null_draws) if known else None,
        falling=evidence.falling,
    )


# --- noise or direction -----------------------------------------------------------------------------------------------


def noise_table(evidence: Evidence) -> pd.DataFrame:
    """What the items can resolve of every score; curves in KLD are fitted to KL divergences only."""
    metric = evidence.fidelity
    table = noise_and_verdict.noise_table(
        evidence.noises,
        evidence.cohort,
        evidence.members,
        resampling=evidence.resampling,
        draws=evidence.settings.null_draws,
        metric=metric,
    )
    if is_divergence(metric):
        return table
    note = [joined(n, "curves in KLD are fitted to KL divergences only") for n in table["note"]]
    return table.assign(**dict.fromkeys(OF_KLD, np.nan), note=note)


def verdict_table(evidence: Evidence) -> pd.DataFrame:
    """Noise-limited, direction missing, carried or undetermined, for every score; none where items lack the primary."""
    table = noise_and_verdict.verdict_table(evidence.noises, evidence.cohort, evidence.members, metric=evidence.kld)
    if not evidence.lacks_primary:
        return table
    return table.assign(verdict="", note=[joined(NO_PRIMARY, note) for note in table["note"]])


def leave_one_out_table(evidence: Evidence) -> pd.DataFrame:
    """Noise and verdict of the headline with one quant left out after the other."""
    return noise_and_verdict.leave_one_out_table(
        {evidence.headline: evidence.noises[evidence.headline]},
        evidence.cohort,
        evidence.members,
        resampling=evidence.resampling,
        draws=evidence.settings.left_out_draws,
        metric=evidence.kld,
    )


def edge_table(evidence: Evidence, scores: Sequence[str] | None = None) -> pd.DataFrame:
    """How the zone's edge moves with the number of items, by default of the headline.

    Subsets of each score's items are drawn anew, so that none depends on which others are asked for.
    """
    parts = [
        edge.zone_edge_table(
            evidence.answers,
            evidence.cohort,
            reference=evidence.base,
            tasks={score: evidence.groups[score]},
            draws=evidence.settings.edge_draws,
            rng=evidence.resampling.rng("edge"),
            metric=evidence.kld,
        )
        for score in scores or [evidence.headline]
    ]
    return pd.concat(parts, ignore_index=True)
