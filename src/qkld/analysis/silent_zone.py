"""Every table of notebook 05 from a study's parameters: its zone, and whether noise or direction empties it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from qkld.analysis.cohort import variants_of
from qkld.analysis.evidence import composite_tasks, item_draws, item_halves, item_noise, score_groups
from qkld.analysis.shown import shown_score
from qkld.analysis.study import LoadedStudy
from qkld.statistics.correlation.comparison import differences_table
from qkld.statistics.flips.flips import flip_table
from qkld.statistics.items.covariance import NetNoise
from qkld.statistics.noise.tables import leave_one_out_table, noise_table, verdict_table
from qkld.statistics.zone.break_point import break_table
from qkld.statistics.zone.edge import zone_edge_table
from qkld.statistics.zone.split_zone import split_table
from qkld.statistics.zone.variants import variants_table
from qkld.statistics.zone.zone import compared_rules, members_table, rules_table, zone_members, zone_table
from qkld.statistics.zone.zone_curve import Envelope, zone_curve


@dataclass(frozen=True)
class SilentZone:
    """The zone of a study by the rule in its parameters, and the score that is judged inside it."""

    study: LoadedStudy

    @cached_property
    def score(self) -> str:
        """The composite, or the first benchmark where there is none."""
        return shown_score(self.study).benchmark

    @cached_property
    def rule(self) -> dict[str, str | float]:
        """The rule's name and cut, as the statistics take them."""
        knobs = self.study.params.silent_zone
        return {"rule": knobs.zone_rule, "cut": knobs.zone_cut}

    @property
    def cut(self) -> float | None:
        """The cut in nats, None where the rule is none on KLD."""
        knobs = self.study.params.silent_zone
        return knobs.zone_cut if knobs.zone_rule == "kld_cut" else None

    @cached_property
    def chosen_by(self) -> dict[str, object]:
        """What rules that read scores choose by: the flips of every quant, and the tasks behind the score."""
        study = self.study
        flips = flip_table(
            study.items,
            reference=study.params.reference.label,
            benchmarks=study.benchmarks,
            tasks=composite_tasks(study),
            confidence=study.resampling.confidence,
        )
        return {"flips": flips, "tasks": score_groups(study)[self.score]}

    @cached_property
    def members(self) -> pd.Series:
        """Whether each row of the cohort is a quant in the zone."""
        return zone_members(self.study.cohort, **self.rule, **self.chosen_by)

    @cached_property
    def noises(self) -> Mapping[str, NetNoise]:
        """Item noise of each score's differences to the reference."""
        return item_noise(self.study)

    def correlation_tables(self) -> dict[str, pd.DataFrame]:
        """The zone, ρ inside it for each score and each variant of the metric, and how much hangs on the rule."""
        study, members, score = self.study, self.members, self.score
        cohort, scores, resampling = study.cohort, list(score_groups(study)), study.resampling
        how = {"resampling": resampling, "items": item_draws(study)}
        knobs, variants = study.params.silent_zone, variants_of(study.params)
        rules = compared_rules(knobs.zone_rule, knobs.zone_cut, margin=knobs.zone_margin)
        kld = cohort.set_index("label").loc[study.quants, "kl_mean"]
        halves = item_halves(study, score, splits=knobs.split_rounds)
        return {
            "zone_members": members_table(cohort, members, **self.rule),
            "zone": zone_table(cohort, members, scores, **self.rule, **how),
            "zone_rules": rules_table(cohort, rules, benchmark=score, **self.chosen_by, **how),
            "zone_split": split_table(halves, kld, rules, benchmark=score),
            "zone_break": break_table(cohort, scores, resampling=resampling),
            "variants": variants_table(cohort, members, variants, benchmark=score, **how),
            "differences": differences_table(cohort, members, variants, resampling=resampling, benchmark=score),
        }

    def noise_tables(self) -> dict[str, pd.DataFrame]:
        """What the items can resolve, the verdict, whether one quant decides it, and where more items move the zone."""
        study, members, knobs = self.study, self.members, self.study.params.silent_zone
        cohort, noises, drawn = study.cohort, self.noises, {"resampling": study.resampling}
        shown = {self.score: noises[self.score]}
        return {
            "zone_curve": zone_curve(
                cohort,
                least=knobs.curve_min_quants,
                benchmark=self.score,
                envelope=Envelope(noises[self.score], draws=knobs.null_draws),
                **drawn,
            ),
            "noise": noise_table(noises, cohort, members, draws=knobs.null_draws, **drawn),
            "verdict": verdict_table(noises, cohort, members),
            "leave_one_out": leave_one_out_table(shown, cohort, members, draws=knobs.left_out_draws, **drawn),
            "zone_edge": zone_edge_table(
                study.items,
                cohort,
                reference=study.params.reference.label,
                tasks={self.score: score_groups(study)[self.score]},
                draws=knobs.edge_draws,
                rng=np.random.default_rng([study.resampling.seed, 3]),
            ),
        }
