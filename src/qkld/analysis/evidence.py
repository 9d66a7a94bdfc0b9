"""What every result table of notebooks 04 to 07 rests on, of a study and of a table of one's own alike.

`Evidence` is made in two ways and read by the functions of `correlation_tables`, `zone_tables`, `score_tables`,
`flip_tables`, `build_tables` and `prompt_tables`. These hand its parts to the statistics of the same names, which take
plain arrays and tables and know nothing of studies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

from qkld.analysis.cohort import composite_of, variants_of
from qkld.analysis.headline import headline_of
from qkld.analysis.own_table.answers_by_item import OwnItems
from qkld.analysis.own_table.checked_table import OwnTable
from qkld.analysis.own_table.counted_scores import cohort_with_counted_scores
from qkld.analysis.study import LoadedStudy
from qkld.errors import StatisticsError
from qkld.statistics.core.checks import composite_score, is_divergence, quants_of, score_column
from qkld.statistics.core.resampling import Resampling
from qkld.statistics.correlation.twoway import ItemDraws, draw_items
from qkld.statistics.flips import flips
from qkld.statistics.flips.direction import task_groups
from qkld.statistics.items.answers import answers_by_task, clusters_by_task, probabilities_by_task
from qkld.statistics.items.covariance import NetNoise, noise_by_benchmark
from qkld.statistics.items.probability import COLUMN_OF, PROBABILITY, Score
from qkld.statistics.prompts.prompt_rows import PromptItems, prompt_items
from qkld.statistics.zone.split_zone import Half, split_halves
from qkld.statistics.zone.zone import Rule, zone_members
from qkld.study.params import Study

Part = Literal["answers", "base", "fidelity", "kld", "item_kld", "probability"]

PARTS: Mapping[Part, tuple[str, str]] = {
    "answers": ("answers item by item", "run notebook 03_benchmark_scores, or give them with --items"),
    "base": ("the reference's answers", "give the reference's items too, and its label with --reference"),
    "fidelity": ("a fidelity metric", "name its column with --fidelity"),
    "kld": ("a KL divergence of every quant", "name its column with --fidelity"),
    "item_kld": ("a KL divergence of every item", "give items with such a column, in nats"),
    "probability": (
        "the probability of the right choice of every item",
        "run notebook 03_benchmark_scores again, or give items with the choices' log-probabilities",
    ),
}
"""What a statistic may rest on and not everybody has, and what to do where it is missing."""

OF_ANSWERS = ("base", "item_kld", "probability")
"""Parts that are of the answers: without any, these are what is missing."""


@dataclass(frozen=True)
class Settings:
    """Levels, margins, draws and least numbers of the result tables, under the names that studies have for them.

    The defaults are those of a study at the paper's size, and what ``qkld analyse`` takes.
    """

    zone_rule: Rule = "kld_cut"
    zone_cut: float | None = None
    zone_margin: float = 0.01
    split_rounds: int = 200
    curve_min_quants: int = 8
    null_draws: int = 2000
    left_out_draws: int = 500
    edge_draws: int = 50
    direction_confidence: float = 0.95
    equivalence_margin: float = 0.01
    thinning_draws: int = 200
    minimum_failed: int = 10
    minimum_reference: int = 20
    prompt_epsilon: float = 1e-7
    prompt_confidence: float = 0.95
    direction_splits: int = 20
    primary_score: Score = "accuracy"
    probability_margin: float = 0.01

    @classmethod
    def of_study(cls, params: Study) -> Settings:
        """A study's own."""
        of_stages = {**vars(params.silent_zone), **vars(params.volume_direction), **vars(params.prompts)}
        knobs = {**of_stages, **{name: getattr(params, name) for name in ("primary_score", "probability_margin")}}
        return cls(**{own.name: knobs[own.name] for own in fields(cls)})


@dataclass(frozen=True, eq=False)
class Evidence:
    """Quants, their scores and answers, and how often all of it is redrawn.

    Its properties raise a StatisticsError where a part that they are made from is missing; see `PARTS`.

    Attributes
    ----------
    cohort : one row a model: ``label``, ``role``, the metric, ``score_<benchmark>`` and ``composite`` as fractions;
        ``family`` and the column ``size`` names where they are known
    items : one row a model and item; None where there are scores alone
    reference : label of the reference among the items; None where it has none
    metric : the fidelity column that the headline is about; None where there is none
    variants : fidelity columns that are compared, the metric among them
    benchmarks : benchmarks with a score, in order
    tasks : those whose mean is the composite; none, no composite
    zone : labels of the quants in the zone; None where the rule of ``settings`` is to find them
    divergence : the items' column of KLD in nats; None where they have none
    size : the cohort's column by which a quant is small
    families : benchmark → its family, where it is of one
    falling : whether the metric is the larger the nearer a quant is to the reference
    score : which score the cohort holds and `noises` and `draws` are of; see `by`
    """

    cohort: pd.DataFrame
    items: pd.DataFrame | None
    reference: str | None
    metric: str | None
    variants: tuple[str, ...]
    benchmarks: tuple[str, ...]
    tasks: tuple[str, ...]
    resampling: Resampling
    settings: Settings
    zone: frozenset[str] | None = None
    divergence: str | None = None
    size: str = "bits_per_weight"
    families: Mapping[str, str] = field(default_factory=dict)
    falling: bool = False
    score: Score = "accuracy"

    @classmethod
    def of_study(cls, study: LoadedStudy, *, zone: frozenset[str] | None = None) -> Evidence:
        """That of a study; its zone is found by the study's rule unless it is given, as notebook 05 wrote it."""
        params, tasks = study.params, composite_of(study.params, study.items)
        return cls(
            cohort=study.cohort,
            items=study.items,
            reference=params.reference.label,
            metric="kl_mean",
            variants=variants_of(params),
            benchmarks=tuple(study.benchmarks),
            tasks=tuple(tasks.loc[tasks["in_composite"], "benchmark"]),
            resampling=study.resampling,
            settings=Settings.of_study(params),
            zone=zone,
            divergence=params.prompts.prompt_divergence,
            families={b.task: b.family for b in params.benchmarks if b.family is not None},
        )

    @classmethod
    def of_table(cls, own: OwnTable, items: OwnItems | None, resampling: Resampling, settings: Settings) -> Evidence:
        """That of a table: all of it, or with ``items`` the quants and scores that have some, counted from them.

        Raises
        ------
        StatisticsError
            If the table's scores are not those of the items, to the table's last decimal.
        """
        scores = [s for s in own.scores if items is None or s in items.benchmarks]
        answered = items is not None and own.reference in items.models
        return cls(
            cohort=own.cohort if items is None else cohort_with_counted_scores(own, items),
            items=None if items is None else items.items,
            reference=own.reference if answered else None,
            metric=own.fidelity,
            variants=() if own.fidelity is None else (own.fidelity,),
            benchmarks=tuple(scores),
            tasks=tuple(scores) if len(scores) > 1 else (),
            resampling=resampling,
            settings=settings,
            zone=frozenset(own.cohort.loc[own.members, "label"]),
            divergence=None if items is None else items.divergence,
            size="size",
            falling=own.falling,
        )

    # --- what there has to be -----------------------------------------------------------------------------------------

    @property
    def answers(self) -> pd.DataFrame:
        """The items; like the next four, an error that says what to give where there is none."""
        return self._part("answers")

    @property
    def base(self) -> str:
        """The reference's label."""
        return self._part("base")

    @property
    def fidelity(self) -> str:
        """The metric's column."""
        return self._part("fidelity")

    @property
    def kld(self) -> str:
        """The metric's column where it is a KL divergence."""
        return self._part("kld")

    @property
    def item_kld(self) -> str:
        """The items' column of KLD."""
        return self._part("item_kld")

    def has(self, *parts: Part) -> bool:
        """Whether all of these parts are there."""
        return not any(self._parts[part] is None for part in parts)

    def with_parts(self, *parts: Part) -> Evidence:
        """This evidence where it has these parts, else an error that says what to give."""
        for part in parts:
            self._part(part)
        return self

    @cached_property
    def _parts(self) -> dict[Part, Any]:
        known = self.metric is not None and is_divergence(self.metric)
        return {
            "answers": self.items,
            "base": self.reference,
            "fidelity": self.metric,
            "kld": self.metric if known else None,
            "item_kld": self.divergence,
            "probability": self.items if self._has_probabilities else None,
        }

    @property
    def _has_probabilities(self) -> bool:
        if self.items is None or PROBABILITY not in self.items:
            return False
        own = self.items["model"].isin({*self.quants, self.reference})
        return bool(self.items.loc[own & self.items["benchmark"].isin(self.benchmarks), PROBABILITY].notna().all())

    def _part(self, name: Part) -> Any:
        for part in ("answers", name) if name in OF_ANSWERS else (name,):
            if not self.has(part):
                what, do = PARTS[part]
                raise StatisticsError(f"This statistic needs {what}.", expected=what, found="none", do=do)
        return self._parts[name]

    # --- the other score ----------------------------------------------------------------------------------------------

    def by(self, score: Score) -> Evidence:
        """The same with mean probabilities of the right choice as scores, in the same zone, or with what it has.

        Flips, prompts, and rules that choose a zone are of answers whatever the score.

        Raises
        ------
        StatisticsError
            If items lack the probability, or this is by probabilities already and accuracy is asked for.
        """
        if score == self.score:
            return self
        items = self._part("probability")
        means = items.groupby(["model", "benchmark"])[COLUMN_OF[score]].mean().unstack()
        own = {score_column(b): self.cohort["label"].map(means[b]) for b in self.benchmarks}
        mean = pd.DataFrame({b: own[score_column(b)] for b in self.tasks})
        cohort = self.cohort.drop(columns=[c for c in self.cohort if c.startswith("se_") or c == "composite_se"])
        zone = frozenset(self.cohort.loc[self.members, "label"])
        composite = composite_score(mean) if self.tasks else np.nan
        return replace(self, cohort=cohort.assign(**own, composite=composite), zone=zone, score=score)

    @property
    def lacks_primary(self) -> bool:
        """Whether items lack the score that was named to decide: then nothing is decided."""
        return self.settings.primary_score == "probability" and not self.has("probability")

    @cached_property
    def primary(self) -> Evidence:
        """The same by the score that was named to decide; by accuracy where items lack it."""
        return self if self.lacks_primary else self.by(self.settings.primary_score)

    # --- names --------------------------------------------------------------------------------------------------------

    @cached_property
    def quants(self) -> list[str]:
        """Labels of the quants, in the cohort's order."""
        return list(quants_of(self.cohort)["label"])

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """Name of each score → the benchmarks it is the mean of; ``composite`` last, where there is one."""
        return task_groups(self.benchmarks, self.tasks)

    @cached_property
    def headline(self) -> str:
        """The score that headlines are about."""
        return headline_of(self.benchmarks, composite=bool(self.tasks))

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Items of each benchmark."""
        distinct = self.answers.groupby("benchmark")["item"].nunique()
        return {b: int(distinct[b]) for b in self.benchmarks}

    # --- the zone -----------------------------------------------------------------------------------------------------

    @property
    def kld_cut(self) -> float | None:
        """The zone's cut in nats of the metric; None where it is chosen by another rule."""
        return self.settings.zone_cut if self.settings.zone_rule == "kld_cut" else None

    @cached_property
    def members(self) -> pd.Series:
        """Whether each row of the cohort is a quant in the zone."""
        if self.zone is not None:
            return (self.cohort["role"] == "quant") & self.cohort["label"].isin(self.zone)
        rule = self.settings.zone_rule
        return zone_members(
            self.cohort,
            rule=rule,
            cut=self.settings.zone_cut,
            metric=self.fidelity,
            score=score_column(self.headline),
            flips=self.flips if rule == "equivalence" else None,
            tasks=self.groups[self.headline],
        )

    @property
    def subsets(self) -> dict[str, Sequence[str]]:
        """Labels of all quants, and of those in the zone."""
        return {"full": self.quants, "zone": list(self.cohort.loc[self.members, "label"])}

    # --- what the items give ------------------------------------------------------------------------------------------

    @cached_property
    def draws(self) -> ItemDraws | None:
        """Scores of the quants on redrawn items, as often as quants are resampled; None without items."""
        if self.items is None:
            return None
        values = answers_by_task if self.score == "accuracy" else probabilities_by_task
        return draw_items(
            values(self.items, self.benchmarks, self.quants),
            self.quants,
            resamples=self.resampling.resamples,
            rng=self.resampling.rng("items"),
            tasks=self.tasks,
            clusters=clusters_by_task(self.items, self.benchmarks),
            score=self.score,
        )

    @cached_property
    def noises(self) -> dict[str, NetNoise]:
        """Score → covariance of the quants' net scores over items; of the scores themselves without a reference."""
        return noise_by_benchmark(
            self.answers,
            reference=self.reference,
            quants=self.quants,
            benchmarks=self.benchmarks,
            tasks=self.tasks,
            score=self.score,
        )

    @cached_property
    def flips(self) -> pd.DataFrame:
        """Leapfrogs and drops of each quant on each score, `qkld.statistics.flips.flips.flip_table`."""
        table = flips.flip_table(
            self.answers,
            reference=self.base,
            benchmarks=self.benchmarks,
            tasks=self.tasks,
            confidence=self.settings.direction_confidence,
        )
        return table[table["label"].isin(self.quants)].reset_index(drop=True)

    @cached_property
    def halves(self) -> tuple[Half, Half]:
        """Random halves of the items behind the headline, to choose a zone on one and judge it on the other."""
        tasks, reference = self.groups[self.headline], self.base
        return split_halves(
            answers_by_task(self.answers, tasks, self.quants),
            {task: answers[0] for task, answers in answers_by_task(self.answers, tasks, [reference]).items()},
            splits=self.settings.split_rounds,
            rng=self.resampling.rng("halves"),
            clusters=clusters_by_task(self.answers, tasks),
        )

    @cached_property
    def prompts(self) -> PromptItems:
        """The quants' items as rows, for statistics prompt by prompt."""
        return prompt_items(
            self.answers,
            models=self.quants,
            benchmarks=self.benchmarks,
            divergence=self.item_kld,
            reference=self.reference,
            minimum_reference=self.settings.minimum_reference,
            families=self.families,
        )
