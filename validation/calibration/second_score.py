"""The verdict by the probability of the right choice, and what is read where one temperature is all that changed.

True nets are `SHARE` of those that the worlds of `validation.calibration.worlds` have in accuracy. An item's change has
the size that noise of its quant's KLD gives it (`validation.calibration.probability`: Student's t on 3 degrees of
freedom, so that few items carry most), and points down more often than up as the net asks: net = direction · mean |Δ|.
V is estimated from the items.

In the world of pure temperature a quant's log-probabilities are the reference's times one number, in single precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from qkld.statistics.flips.second_score import SCALE_ALONE, reading_of
from qkld.statistics.items.covariance import NetNoise, noise_of_differences
from qkld.statistics.items.temperature import choices_of, explained_by_scale
from qkld.statistics.items.units import Floats
from qkld.statistics.noise.verdict import headline
from validation.calibration.few_items import labels_of
from validation.calibration.probability import noised, reference_scores, right_probability
from validation.calibration.targets import Bound, Checked
from validation.calibration.verdicts import CARRIED, MISSING, answer_counts, error_bounds
from validation.calibration.worlds import KLD_RANGE, ZONES, Cohort, draw_cohort, true_r2

SHARE = 0.5
"""True net in probability over that in accuracy, as it is where half of what flips was a close call."""

WORLDS = ("W1", "W2", "W3:.05")
ITEMS = (500, 1000, 2000, 4000)
TOGETHER = 0.2
"""Share of the items whose changes have one sign for all quants."""

POWER_ITEMS = 1000
POWERS = {
    ("W1", 16): Bound('power of "missing" by probability in W1 at 1,000 items, 16 quants', "at least", 0.84),
    ("W2", 16): Bound('power of "carried" by probability in W2 at 1,000 items, 16 quants', "at least", 0.78),
}
"""As much as accuracy has at 4,000 items."""

SIZE_ITEMS, SIZE_SEED = 200_000, 26
"""Items behind the mean size of a change at each KLD, and the seed of their draw."""

LEVEL = 0.05


# --- the verdict ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SecondCell:
    """Cohorts of one world and size, each seen with every number of items."""

    world: str
    cohort: int
    zone: int
    runs: int


def second_cells(runs: int) -> list[SecondCell]:
    """Every world and zone; W0 differs in second order only, and WN is among the sizes of tests."""
    return [SecondCell(world, size, zone, runs) for world, (size, zone) in product(WORLDS, ZONES)]


def sizes_of(kld: Floats, items: int, rng: np.random.Generator) -> Floats:
    """|Δ| of freshly drawn items by noise of each KLD, (items, quants)."""
    scores = reference_scores(items, rng=rng)
    return np.abs(right_probability(noised(scores, kld, rng=rng)) - right_probability(scores)).T


@cache
def _mean_sizes() -> tuple[Floats, Floats]:
    """KLDs over the worlds' range and the mean |Δ| of an item at each."""
    kld, rng = np.geomspace(*KLD_RANGE, 25), np.random.default_rng(SIZE_SEED)
    return kld, np.array([sizes_of(np.array([k]), SIZE_ITEMS, rng).mean() for k in kld])


def mean_size(kld: Floats) -> Floats:
    """Mean |Δ| of an item at these KLDs, within .5 %."""
    known, size = _mean_sizes()
    return np.exp(np.interp(np.log(kld), np.log(known), np.log(size)))


def true_net(cohort: Cohort) -> Floats:
    """Each quant's true net in probability, a fraction of 1."""
    return SHARE * cohort.net


def second_noise(cohort: Cohort, items: int, rng: np.random.Generator) -> NetNoise:
    """Net scores in probability on freshly drawn items, with V from these."""
    direction = true_net(cohort) / mean_size(cohort.kld)
    own, common = rng.random((items, cohort.kld.size)), rng.random((items, 1))
    drawn = np.where(rng.random((items, 1)) < TOGETHER, common, own)
    signs = np.where(drawn < (1 + direction) / 2, 1.0, -1.0)
    moved = signs * sizes_of(cohort.kld, items, rng)
    return noise_of_differences("task", moved, labels_of(cohort.kld.size))


def run_second(cell: SecondCell, *, rng: np.random.Generator) -> list[dict[str, Any]]:
    """One record a cohort and number of items: true R² and slope, and the answer."""
    records = []
    for _ in range(cell.runs):
        cohort = draw_cohort(cell.world, cell.cohort, cell.zone, rng=rng)
        r2, slope = true_r2(true_net(cohort), cohort.kld)
        for items in ITEMS:
            answer = headline(second_noise(cohort, items, rng), cohort.kld)[0]
            records.append({"items": items, "r2": r2, "slope": slope, "answer": answer})
    return records


def second_rates(cell: SecondCell, runs: pd.DataFrame) -> pd.DataFrame:
    """`answer_counts`, one row a number of items."""
    key = {"world": cell.world, "cohort": cell.cohort, "zone": cell.zone}
    return pd.DataFrame([{**key, "items": n, **answer_counts(part)} for n, part in runs.groupby("items", sort=False)])


def second_bounds(rates: pd.DataFrame) -> list[Checked]:
    """The bounds on wrong claims in every row, and the power."""
    checked: list[Checked] = []
    for row in rates.to_dict("records"):
        where = f"{row['world']}, {row['zone']} of {row['cohort']}, {row['items']:,} items, by probability"
        checked += [*error_bounds(row, where, group="by probability"), *_power(row, where)]
    return checked


def _power(row: Mapping[str, Any], where: str) -> list[Checked]:
    bound = POWERS.get((row["world"], row["zone"]))
    if bound is None or row["items"] != POWER_ITEMS:
        return []
    share = row[f"share {MISSING if row['world'] == 'W1' else CARRIED}"]
    found = bound.check(where, round(share * row["runs"]), row["runs"])
    return [found] if found else []


# --- pure temperature -------------------------------------------------------------------------------------------------

READS_SCALE = Bound(f'"{SCALE_ALONE}" where one temperature is all that changed', "at least", 0.95)
READS_CHOICES = Bound('"choices" where one temperature is all that changed', "at most", 0.05)
SCALES = (0.9, 0.95, 0.99, 1.05)


@dataclass(frozen=True)
class TemperatureCell:
    """Quants that are the reference at one scale of its log-probabilities, on so many items."""

    scale: float
    items: int
    runs: int


def temperature_cells(runs: int) -> list[TemperatureCell]:
    """Scales of 8- to 4-bit quants as temperatures."""
    return [TemperatureCell(scale, items, runs) for scale, items in product(SCALES, (150, 600, 2000))]


def run_temperature(cell: TemperatureCell, *, rng: np.random.Generator) -> list[dict[str, Any]]:
    """What each quant's change is read as."""
    right = np.zeros(cell.items)
    records = []
    for _ in range(cell.runs):
        scores = reference_scores(cell.items, rng=rng)
        sides = ({"task": choices_of(list(np.float32(side)), right)} for side in (scores, cell.scale * scores))
        records.append({"reading": reading_of(explained_by_scale(*sides), LEVEL)})
    return records


def temperature_rates(cell: TemperatureCell, runs: pd.DataFrame) -> pd.DataFrame:
    """How often it is read as scale alone, and how often as of choices."""
    alone = int((runs["reading"] == SCALE_ALONE).sum())
    choices = int(runs["reading"].str.contains("choices").sum())
    key = {"scale": cell.scale, "items": cell.items, "runs": len(runs)}
    return pd.DataFrame([{**key, "alone": alone, "choices": choices, "share": alone / len(runs)}])


def temperature_bounds(rates: pd.DataFrame) -> list[Checked]:
    """Scale alone, and never choices."""
    checked = []
    for row in rates.to_dict("records"):
        where = f"scale {row['scale']:g}, {row['items']:,} items"
        checked.append(READS_SCALE.check(where, row["alone"], row["runs"]))
        checked.append(READS_CHOICES.check(where, row["choices"], row["runs"]))
    return [c for c in checked if c is not None]
