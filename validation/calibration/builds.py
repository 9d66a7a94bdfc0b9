"""Variance components of replicate builds: sizes and coverage where each component is there and where it is not.

True net scores are β√KLD, a deviation of each recipe and one of each build; quants of these scores then answer items as
in `worlds`: a build's differences from the reference are −1 and 1 on a few per cent of the items and 0 on the others,
and V is estimated from them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from qkld.statistics.builds.components import between_moment, variance_components, within_moment
from qkld.statistics.builds.design import Builds, builds_of
from validation.calibration.few_items import SINGLE, labels_of
from validation.calibration.targets import Bound, Checked
from validation.calibration.worlds import cohort_of_scores

CONFIDENCE = 0.95
SLOPE = -0.06
"""β: score lost by √KLD, a fraction of 1 a √nat: 2.7 points at a KLD of .2."""

KLD_RANGE = (0.002, 0.2)
"""Of recipes, log-uniform; builds of one lie within 5 % of it."""

RECIPES, BUILDS = (6, 10, 14), (2, 3, 4)
BETWEEN, WITHIN = (0.0, 0.01), (0.0, 0.003)
"""σ_u and σ_w of the worlds, fractions of 1.

σ_w is as large as the items' error of one build, .002 at a KLD of .01 to .004 at .2: the test finds it in about half of
the cohorts of 6 recipes of 2 builds each, and in nearly all of 10 of 3.
"""

ITEMS = 8000
EVERY = 4
"""One in so many of the asked runs is done."""

HOLDS = {
    "within": Bound("σ_w's interval, on contrasts within recipes, holds it", "at least", 0.9),
    "between": Bound("σ_u's interval, with σ_w estimated, holds it", "at least", 0.9),
}
SIZE = {
    "within": Bound("differences between builds where there are none", "at most", 0.06),
    "between": Bound("differences between recipes where there are none", "at most", 0.06),
}


@dataclass(frozen=True)
class BuildsCell:
    """Cohorts of so many recipes and builds of each, with these standard deviations of recipes and builds."""

    recipes: int
    builds: int
    between: float
    within: float
    runs: int

    def truth(self, component: str) -> float:
        """The component's standard deviation."""
        return self.between if component == "between" else self.within


def builds_cells(runs: int) -> list[BuildsCell]:
    """Every number of recipes and builds with every pair of components."""
    places = product(RECIPES, BUILDS, BETWEEN, WITHIN)
    return [BuildsCell(*place, max(1, runs // EVERY)) for place in places]


def drawn_builds(cell: BuildsCell, rng: np.random.Generator) -> Builds:
    """One cohort, with V from its items."""
    recipes = np.repeat(np.arange(cell.recipes), cell.builds)
    level = np.exp(rng.uniform(*np.log(KLD_RANGE), cell.recipes))[recipes]
    kld = level * rng.uniform(0.95, 1.05, level.size)
    deviations = cell.between * rng.standard_normal(cell.recipes)[recipes]
    deviations += cell.within * rng.standard_normal(level.size)
    cohort = cohort_of_scores(SLOPE * np.sqrt(kld) + deviations, kld)
    noise = SINGLE[ITEMS].noise(cohort, rng=rng)
    return builds_of(noise, [labels_of(cell.recipes)[r] for r in recipes], kld, ["rotate"] * kld.size)


def run_builds(cell: BuildsCell, *, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Both components of each cohort: what `variance_components` says of them, and their unbiased moments."""
    records = []
    for _ in range(cell.runs):
        builds = drawn_builds(cell, rng)
        table = variance_components(builds, confidence=CONFIDENCE)
        moments = {"within": within_moment(builds), "between": between_moment(builds)}
        records += [{**row, "moment": moments[row["component"]]} for row in table.to_dict("records")]
    return records


def builds_rates(cell: BuildsCell, runs: pd.DataFrame) -> pd.DataFrame:
    """A row a component: how often its interval holds the truth and its test rejects; means of its estimates.

    ``mean_moment`` is a variance and may be below 0; ``mean_sd`` is of fits that are cut off there.
    """
    key = {"recipes": cell.recipes, "builds": cell.builds, "between": cell.between, "within": cell.within}
    rows = []
    for component, own in runs.groupby("component", sort=False):
        truth = cell.truth(str(component))
        held = (own["low"] <= truth) & (truth <= own["high"])
        rejected = own["p"] < 0.05
        rows.append(
            {
                **key,
                "component": component,
                "runs": len(own),
                "held": int(held.sum()),
                "rejected": int(rejected.sum()),
                "coverage": float(held.mean()),
                "rejection": float(rejected.mean()),
                "mean_sd": float(own["sd"].mean()),
                "mean_moment": float(own["moment"].mean()),
                "moment_error": float(own["moment"].std(ddof=1) / np.sqrt(len(own))) if len(own) > 1 else np.nan,
                "median_high": float(own["high"].median()),
            }
        )
    return pd.DataFrame(rows)


def builds_bounds(rates: pd.DataFrame) -> list[Checked]:
    """Coverage in every place, and size where the component is not there."""
    return [c for row in rates.to_dict("records") for c in _checked(row) if c is not None]


def _checked(row: dict[str, Any]) -> Iterable[Checked | None]:
    component = row["component"]
    where = f"{row['recipes']} recipes × {row['builds']}, σ_u = {row['between']:g}, σ_w = {row['within']:g}"
    yield HOLDS[component].check(where, row["held"], row["runs"])
    if row[component] == 0:
        yield SIZE[component].check(where, row["rejected"], row["runs"])
