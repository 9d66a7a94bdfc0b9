"""Simulate what the main study's design can resolve, before any of its scores is known.

``python -m validation.main_design`` writes ``figures/calibration/main_design.md``. True net scores are β√KLD, a
deviation of each recipe and one of each build, as in `calibration.builds`; the items are the study's, and V is
estimated from them. Compared are its design and the same time spent on more builds of fewer recipes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qkld.statistics.builds.components import variance_components
from qkld.statistics.builds.design import builds_of
from qkld.statistics.noise.verdict import headline
from qkld.study.provenance import written_whole
from qkld.study.text_table import TextTable
from validation.calibration import few_items
from validation.calibration.builds import CONFIDENCE, SLOPE
from validation.calibration.worlds import cohort_of_scores

ITEMS = few_items.Design("the main study's items", (2376, 1954, 1838, 500))
"""Whole ARC-Easy, Social IQa and PIQA, and 500 of SciQ."""

KLD_RANGE = (0.0015, 0.25)
"""Of recipes in the zone, log-uniform; builds of one lie within 5 % of it."""

DESIGNS = ((12, 2), (10, 3), (8, 3))
"""Recipes in the zone and builds of each; the first is the study's."""

WORLDS = ((0.0, 0.0), (0.004, 0.0), (0.0, 0.004), (0.008, 0.0), (0.0, 0.008), (0.008, 0.008))
"""σ of recipes and σ of builds, fractions of 1."""

SLOPES = (0.0, SLOPE)
"""No loss by KLD at all, and that of `calibration.builds`: 3 points of score at a KLD of .25."""

RUNS, SEED = 100, 2606
PLACE = Path("figures", "calibration", "main_design.md")


@dataclass(frozen=True)
class Cell:
    """Cohorts of one design in one world."""

    recipes: int
    builds: int
    slope: float
    between: float
    within: float

    def run(self, rng: np.random.Generator) -> dict[str, Any]:
        """One cohort: its errors, its verdict and what is said of both components."""
        recipes = np.repeat(np.arange(self.recipes), self.builds)
        level = np.exp(rng.uniform(*np.log(KLD_RANGE), self.recipes))[recipes]
        kld = level * rng.uniform(0.95, 1.05, level.size)
        deviations = self.between * rng.standard_normal(self.recipes)[recipes]
        deviations += self.within * rng.standard_normal(level.size)
        noise = ITEMS.noise(cohort_of_scores(self.slope * np.sqrt(kld) + deviations, kld), rng=rng)
        labels = [few_items.labels_of(self.recipes)[r] for r in recipes]
        table = variance_components(builds_of(noise, labels, kld, ["rotate"] * kld.size), confidence=CONFIDENCE)
        said = {f"{row['component']}_{name}": row[name] for row in table.to_dict("records") for name in ("p", "high")}
        largest = np.sqrt(np.diag(noise.covariance)).max()
        return {**said, "largest_error": largest, "verdict": headline(noise, kld)[0]}


def cells() -> list[Cell]:
    """Every design in every world."""
    return [Cell(*design, slope, *world) for design, slope, world in product(DESIGNS, SLOPES, WORLDS)]


def simulated(cell: Cell, runs: int, rng: np.random.Generator) -> pd.DataFrame:
    """A row a cohort."""
    return pd.DataFrame([cell.run(rng) for _ in range(runs)])


def row_of(cell: Cell, found: pd.DataFrame) -> tuple[str, ...]:
    """Shares of cohorts in which each component is found, median upper ends in points, and the commonest verdicts."""
    verdicts = found["verdict"].value_counts(normalize=True)
    return (
        f"{cell.recipes} × {cell.builds}",
        *(f"{100 * value:g}" for value in (cell.slope, cell.between, cell.within)),
        f"{100 * found['largest_error'].median():.2f}",
        *(f"{(found[f'{name}_p'] < 1 - CONFIDENCE).mean():.2f}" for name in ("between", "within")),
        *(f"{100 * found[f'{name}_high'].median():.2f}" for name in ("between", "within")),
        ", ".join(f"{name} {share:.2f}" for name, share in verdicts.items()),
    )


COLUMNS = (
    *("recipes × builds", "β, points a √nat", "σ recipes", "σ builds", "largest SE"),
    *("recipes found", "builds found", "upper end, recipes", "upper end, builds", "verdicts"),
)


def report(runs: int) -> str:
    """The simulation as a page."""
    children = np.random.SeedSequence(SEED).spawn(len(cells()))
    rows = (row_of(c, simulated(c, runs, np.random.default_rng(s))) for c, s in zip(cells(), children, strict=True))
    table = TextTable("", "", COLUMNS, tuple(_shown(rows)), words=frozenset({"verdicts"})).markdown()
    return (
        f"What the main study's items resolve in its zone: {runs} cohorts a row, standard deviations, errors and upper "
        f"ends of {CONFIDENCE:.0%} intervals in points of the composite; found: a test at {1 - CONFIDENCE:.0%} rejects "
        f"that there is none.\n\n{table}\n"
    )


def _shown(rows: Iterator[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        print(*row, sep="  ", flush=True)
        yield row


def main() -> None:
    """Simulate and write the page."""
    parser = argparse.ArgumentParser(prog="python -m validation.main_design", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=RUNS, help=f"simulated cohorts per row (default {RUNS})")
    parser.add_argument("--out", type=Path, default=PLACE, help="output file (default %(default)s)")
    options = parser.parse_args()
    text = report(options.runs)
    with written_whole(options.out) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
