"""Result tables of notebook 06 on replicate builds: what differs between recipes, and between builds of one recipe.

Rotations and signed permutations are two kinds of draws and never put together; a build in the reference's own basis is
no draw. Each table is of the headline's score, by accuracy and by the probability of the right choice, over all builds
and over those in the zone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from qkld.analysis.evidence import Evidence
from qkld.analysis.score_tables import SCORES
from qkld.errors import StatisticsError
from qkld.statistics.builds import recipes
from qkld.statistics.builds.components import Fit, fit, shapes_of_within, slopes, variance_components
from qkld.statistics.builds.design import Builds, builds_of
from qkld.statistics.items.probability import Score
from qkld.study.columns import COLUMNS
from qkld.study.registry import registered

NO_BUILDS = "the study has no builds of recipes: no quant's entry has `builds`"

GRID = (0.01, 0.03, 0.1, 0.3)
"""Largest mean KLD, in nats, of the recipes that R² by design is stated for."""


@dataclass(frozen=True, eq=False)
class Replicates:
    """The builds of one kind and subset, by one score."""

    evidence: Evidence
    kind: str
    score: Score
    subset: str

    @property
    def key(self) -> dict[str, str]:
        """What tells them apart in every table of builds."""
        return {"basis_kind": self.kind, "by_score": self.score, "subset": self.subset}

    @cached_property
    def builds(self) -> Builds:
        """With scores, displacement and item noise.

        Raises
        ------
        StatisticsError
            If recipes are too few, or none has two builds.
        """
        inside = self.evidence.subsets[self.subset]
        cohort = _with_kind(self.evidence.cohort)
        own = cohort[cohort["label"].isin(inside) & (cohort["basis_kind"] == self.kind)]
        if own.empty:
            raise StatisticsError(
                f"These quants include no build by {self.kind}.",
                expected="builds of several recipes",
                found="none",
                do="use another zone, or make builds that are closer to the reference",
            )
        noise = self.evidence.noises[self.evidence.headline].of(list(own["label"]))
        return builds_of(noise, list(own["recipe_id"]), own[self.evidence.kld].to_numpy(float), list(own["basis_kind"]))

    @cached_property
    def fitted(self) -> Fit:
        """The fit with one variance between builds at every KLD."""
        return fit(self.builds)


def has_builds(cohort: pd.DataFrame) -> bool:
    """Whether any quant of a cohort was made in a basis of builds."""
    return "basis" in cohort and bool((cohort["basis"].ne("") & (cohort["role"] == "quant")).any())


def _with_kind(cohort: pd.DataFrame) -> pd.DataFrame:
    """The quants that are builds, with the kind of their bases: ``rotate-3`` is of kind ``rotate``."""
    own = cohort[cohort["basis"].ne("") & (cohort["role"] == "quant")]
    return own.assign(basis_kind=own["basis"].str.split("-").str[0])


def replicates(evidence: Evidence) -> list[Replicates]:
    """Every kind of builds, score and subset; none where the study has no builds."""
    if not has_builds(evidence.cohort):
        return []
    kinds = _with_kind(evidence.cohort)["basis_kind"].unique()
    scores = SCORES if evidence.has("probability") else SCORES[:1]
    by = {score: evidence.by(score) for score in scores}
    return [Replicates(by[s], kind, s, subset) for kind in kinds for s in scores for subset in ("full", "zone")]


def _table(name: str, found: list[Replicates], make: Callable[[Replicates], pd.DataFrame]) -> pd.DataFrame:
    """The rows of all replicates, each under its key; a note where there are too few, or none."""
    described = registered(name)
    rows = [row for own in found for row in _rows(own, make)]
    unknown = {column: COLUMNS[column].empty for column in described.key}
    return described.frame({**unknown, **row} for row in rows or [{"note": NO_BUILDS}])


def _rows(own: Replicates, make: Callable[[Replicates], pd.DataFrame]) -> Iterator[dict[str, object]]:
    try:
        made = make(own).to_dict("records")
    except StatisticsError as error:
        made = [{"note": f"{error.problem.rstrip('.')}: {error.found}; expected {error.expected}"}]
    yield from ({**own.key, **row} for row in made)


# --- the tables -------------------------------------------------------------------------------------------------------


def components_table(found: list[Replicates]) -> pd.DataFrame:
    """σ_w between builds of a recipe and σ_u between recipes at equal displacement, with intervals and tests."""
    return _table("builds", found, _components)


def _components(own: Replicates) -> pd.DataFrame:
    shapes = shapes_of_within(own.builds)
    gain = shapes["proportional"].log_likelihood - shapes["constant"].log_likelihood
    table = variance_components(own.builds, confidence=own.evidence.resampling.confidence)
    sizes = {"recipes": len(own.builds.names), "builds": own.builds.kld.size}
    named = table.rename(columns={"low": "sd_low", "high": "sd_high", "p": "p_zero", "test": "component_test"})
    return named.assign(**sizes, proportional_gain=np.where(table["component"] == "within", gain, np.nan))


def slopes_table(found: list[Replicates]) -> pd.DataFrame:
    """β of recipes' mean √KLD and γ of what a build's lies off it, with t intervals."""
    return _table("build_slopes", found, _slopes)


def _slopes(own: Replicates) -> pd.DataFrame:
    table = slopes(own.fitted, confidence=own.evidence.resampling.confidence)
    same = {name: f"slope_{name}" for name in ("se", "low", "high", "p", "df")}
    return table.rename(columns={"slope": "slope_name", "estimate": "slope", **same})


def correlations_table(found: list[Replicates]) -> pd.DataFrame:
    """ρ of mean KLD and score over recipes' means and over builds; p by permuting whole recipes."""
    return _table("build_correlations", found, _correlations)


def _correlations(own: Replicates) -> pd.DataFrame:
    resampling = own.evidence.resampling
    rng = resampling.rng("builds")
    table = recipes.recipe_correlations(own.builds, permutations=resampling.permutations, rng=rng)
    return table.rename(columns={"rho": "estimate"})


def left_out_table(found: list[Replicates]) -> pd.DataFrame:
    """β, both components and ρ with one recipe left out after the other, and first with all of them."""
    return _table("builds_left_out", found, _left_out)


def _left_out(own: Replicates) -> pd.DataFrame:
    names = {"beta": "slope", "between": "sd_between", "within": "sd_within", "rho": "estimate"}
    return recipes.leave_one_recipe_out(own.builds).rename(columns=names)


def r2_table(found: list[Replicates]) -> pd.DataFrame:
    """R² of KLD by design, for recipes whose √KLD is even from 0 to that of each largest KLD of `GRID`."""
    return _table("build_r2", found, _r2)


def _r2(own: Replicates) -> pd.DataFrame:
    resampling = own.evidence.resampling
    grid, rng = np.array(GRID), resampling.rng("builds")
    table = recipes.r2_by_design(own.fitted, grid, confidence=resampling.confidence, rng=rng)
    ends = {"low": "r2_design_low", "high": "r2_design_high"}
    return table.rename(columns={"kld": "largest_kld", "r2": "r2_design", **ends})


TABLES: Mapping[str, Callable[[list[Replicates]], pd.DataFrame]] = {
    "builds": components_table,
    "build_slopes": slopes_table,
    "build_correlations": correlations_table,
    "builds_left_out": left_out_table,
    "build_r2": r2_table,
}
"""Result table → what makes it of a study's `replicates`."""
