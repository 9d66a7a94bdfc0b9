"""How often intervals of ρ hold what they are for: other quants, and other quants on other items."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from qkld.errors import StatisticsError
from qkld.statistics.core.correlations_of_resamples import correlation, resample_counts
from qkld.statistics.core.intervals import (
    LEAST_FOR_INTERVAL,
    bca_interval,
    bootstrap_correlations,
    jackknife_correlations,
    percentile_interval,
    zmax_interval,
)
from qkld.statistics.correlation.twoway import TwoWay, draw_items
from qkld.statistics.items.covariance import noise_of_differences
from qkld.statistics.noise.verdict import headline
from validation.calibration.targets import Bound, Checked
from validation.calibration.verdicts import answer_counts, error_bounds
from validation.calibration.worlds import WORLDS, ZONES, Cohort, draw_cohort, true_r2

CONFIDENCE = 0.95
ZMAX = Bound("z-max interval holds ρ of exchangeable quants", "at least", 0.94)
TWO_WAY = Bound("two-way interval holds the expected ρ at this number of items", "at least", 0.94)

QUANTS = (4, 5, 6, 7, 8, 10, 12, 16, 20, 28, 41)
"""Of these the package's interval is exact up to 7, and on the z scale from 8 on."""

TRUTH_DRAWS = 1_000_000
"""Draws that stand for ρ where it has no formula: standard error .001 or less."""

RESAMPLES = 200
"""Of the two-way bootstrap here; the package's 10,000 cover a little more often."""

RESAMPLES_OVER_QUANTS = 400
"""Of the percentile and BCa intervals here."""

ITEMS_OF = {500: WORLDS, 1000: WORLDS, 4000: WORLDS, 16000: ("W0", "W1", "W2")}
"""Numbers of items → the worlds simulated at it item by item."""

FEWEST = (LEAST_FOR_INTERVAL, LEAST_FOR_INTERVAL)
"""The smallest cohort that has a two-way interval."""

WHOLE_ITEMS, WHOLE_WORLDS = (1000, 4000), ("WN", "W0", "W1", "W2")
"""Numbers of items and worlds of whole cohorts, zone and all."""

TIED_SHARE = 5
"""Of few quants with ties one in so many runs is done."""

LARGEST_SHARE = 4
"""At the largest number of items one in so many runs is done."""

Columns = tuple[np.ndarray, np.ndarray]
Scenario = Callable[[np.random.Generator, int], Columns]


# --- exchangeable quants ----------------------------------------------------------------------------------------------


def _normal(rho: float) -> Scenario:
    """Bivariate normal columns with Spearman's ``rho``."""
    r = 2 * np.sin(np.pi * rho / 6)

    def draw(rng: np.random.Generator, n: int) -> Columns:
        x = rng.standard_normal(n)
        return x, r * x + np.sqrt(1 - r * r) * rng.standard_normal(n)

    return draw


def _tied(rho: float) -> Scenario:
    """The same with scores rounded to about 8 levels."""
    whole = _normal(rho)

    def draw(rng: np.random.Generator, n: int) -> Columns:
        x, y = whole(rng, n)
        return x, np.round(y / 0.8)

    return draw


def _curved(loss: float) -> Scenario:
    """KLD log-uniform on .004 to 1, score = −loss · KLD with flip noise of standard deviation .01 KLD^¼."""

    def draw(rng: np.random.Generator, n: int) -> Columns:
        kld = np.exp(rng.uniform(np.log(0.004), 0.0, n))
        return kld, -loss * kld + 0.01 * kld**0.25 * rng.standard_normal(n)

    return draw


SCENARIOS: dict[str, tuple[Scenario, float | None]] = {
    **{f"normal, ρ {rho:g}": (_normal(rho), rho) for rho in (0.0, -0.24, -0.55, -0.72, -0.86, -0.94, -0.98)},
    "ties, ρ 0": (_tied(0.0), 0.0),
    "ties of ρ -0.72": (_tied(-0.72), None),
    "ties of ρ -0.86": (_tied(-0.86), None),
    "curved, no loss": (_curved(0.0), 0.0),
    "curved, loss .05": (_curved(0.05), None),
    "curved, loss .2": (_curved(0.2), None),
}
"""Independent quants: name → how columns are drawn, and ρ where it is known."""


@cache
def true_rho(scenario: str) -> float:
    """ρ of a scenario's population."""
    draw, known = SCENARIOS[scenario]
    if known is not None:
        return known
    return float(stats.spearmanr(*draw(np.random.default_rng(1), TRUTH_DRAWS)).statistic)


@dataclass(frozen=True)
class ZmaxCell:
    """Independent cohorts of one scenario and size."""

    scenario: str
    quants: int
    runs: int


def zmax_cells(runs: int) -> list[ZmaxCell]:
    """Every scenario and size."""
    return [ZmaxCell(scenario, n, _runs_of(scenario, n, runs)) for scenario, n in product(SCENARIOS, QUANTS)]


def _runs_of(scenario: str, quants: int, runs: int) -> int:
    """Fewer of exact intervals with ties, each of whose patterns has a distribution to be simulated."""
    costly = scenario.startswith("ties") and quants < LEAST_FOR_INTERVAL
    return max(1, runs // TIED_SHARE) if costly else runs


def run_zmax(cell: ZmaxCell, *, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Ends of the z-max interval in each cohort; empty where a cohort has none, which counts as a miss.

    From `LEAST_FOR_INTERVAL` quants on also those of the percentile and the BCa interval, which are promised nowhere.
    """
    draw, _ = SCENARIOS[cell.scenario]
    return [_intervals(*draw(rng, cell.quants), rng) for _ in range(cell.runs)]


def _intervals(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    found = dict(zip(("low", "high"), _zmax(x, y), strict=True))
    resampled = {"percentile": (np.nan, np.nan), "bca": (np.nan, np.nan)}
    if x.size >= LEAST_FOR_INTERVAL:
        with suppress(StatisticsError):
            draws = bootstrap_correlations(x, y, resamples=RESAMPLES_OVER_QUANTS, rng=rng)
            resampled["percentile"] = percentile_interval(draws, CONFIDENCE)
            resampled["bca"] = bca_interval(correlation(x, y), draws, jackknife_correlations(x, y), CONFIDENCE)
    ends = product(resampled.items(), enumerate(("low", "high")))
    return found | {f"{name}_{end}": both[i] for (name, both), (i, end) in ends}


def _zmax(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    try:
        return zmax_interval(x, y, CONFIDENCE)
    except StatisticsError:
        return np.nan, np.nan


def zmax_rates(cell: ZmaxCell, runs: pd.DataFrame) -> pd.DataFrame:
    """Coverage of the scenario's ρ."""
    rho = true_rho(cell.scenario)
    held = _holds(runs["low"], runs["high"], rho)
    others = {name: _holds(runs[f"{name}_low"], runs[f"{name}_high"], rho) for name in ("percentile", "bca")}
    resampled = cell.quants >= LEAST_FOR_INTERVAL
    return pd.DataFrame(
        [
            {
                "scenario": cell.scenario,
                "rho": rho,
                "quants": cell.quants,
                "runs": len(runs),
                "held": int(held.sum()),
                "coverage": float(held.mean()),
                "width": float((runs["high"] - runs["low"]).mean()),
                **{f"{name}_coverage": float(h.mean()) if resampled else np.nan for name, h in others.items()},
            }
        ]
    )


def _holds(low: pd.Series, high: pd.Series, value: float) -> pd.Series:
    return (low <= value + 1e-12) & (value - 1e-12 <= high)


def zmax_bounds(rates: pd.DataFrame) -> list[Checked]:
    """z-max coverage of at least .94, in every scenario and size."""
    checked = []
    for row in rates.to_dict("records"):
        size = f"{row['quants']} quants"
        checked.append(ZMAX.check(f"{row['scenario']}, {size}", row["held"], row["runs"], group=size))
    return [c for c in checked if c is not None]


# --- worlds, item by item ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WorldCell:
    """Cohorts of one world, size and number of items, answered item by item."""

    world: str
    cohort: int
    zone: int
    items: int
    runs: int


def world_cells(runs: int) -> list[WorldCell]:
    """Every world, zone and number of items of `ITEMS_OF`, and whole cohorts."""
    largest = max(ITEMS_OF)
    zones = [
        WorldCell(world, size, zone, items, max(1, runs // LARGEST_SHARE) if items == largest else runs)
        for items, worlds in ITEMS_OF.items()
        for world, (size, zone) in product(worlds, ZONES)
    ]
    whole = product(WHOLE_ITEMS, WHOLE_WORLDS, (*ZONES, FEWEST))
    return [*zones, *(WorldCell(world, size, size, items, runs) for items, world, (size, _) in whole)]


def run_world(cell: WorldCell, *, rng: np.random.Generator) -> list[dict[str, Any]]:
    """In each cohort: observed and error-free ρ, the ends of the z-max and two-way interval, and the verdict."""
    return [_world_run(cell, rng) for _ in range(cell.runs)]


def _world_run(cell: WorldCell, rng: np.random.Generator) -> dict[str, Any]:
    cohort = draw_cohort(cell.world, cell.cohort, cell.zone, rng=rng)
    right = cohort.answers(cell.items, rng=rng)
    correct = right[:, 1:]
    score = correct.mean(axis=0)
    record = {"observed": _rho(cohort.kld, score), "error_free": _rho(cohort.kld, cohort.net)}
    record |= _verdict_from_items(cohort, right.astype(np.int8))
    for name, (low, high) in (
        ("zmax", _zmax(cohort.kld, score)),
        ("twoway", two_way_interval(cohort.kld, correct, rng=rng)),
    ):
        record |= {f"{name}_low": low, f"{name}_high": high}
    return record


def _verdict_from_items(cohort: Cohort, right: np.ndarray) -> dict[str, Any]:
    """The verdict with net scores and V from answers (items, 1 + quants), beside the truth."""
    moved = right[:, 1:] - right[:, :1]
    noise = noise_of_differences("task", moved, tuple(map(str, range(moved.shape[1]))))
    r2, slope = true_r2(cohort.net, cohort.kld)
    return {"answer": headline(noise, cohort.kld)[0], "r2": r2, "slope": slope}


def _rho(x: np.ndarray, y: np.ndarray) -> float:
    return correlation(x, y) if np.ptp(y) > 0 else np.nan


def two_way_interval(kld: np.ndarray, correct: np.ndarray, *, rng: np.random.Generator) -> tuple[float, float]:
    """The package's two-way percentile interval of ρ, from answers (items, quants); NaN where it has none."""
    labels = [str(i) for i in range(kld.size)]
    scores = draw_items({"task": correct.T}, labels, resamples=RESAMPLES, rng=rng).redrawn["task"]
    draws = TwoWay(resample_counts(kld.size, RESAMPLES, rng=rng), scores).correlations(kld)
    try:
        return percentile_interval(draws, CONFIDENCE)
    except StatisticsError:
        return np.nan, np.nan


def world_rates(cell: WorldCell, runs: pd.DataFrame) -> pd.DataFrame:
    """Coverage of the expected ρ at this number of items, the mean of the observed ones, and of the error-free ρ."""
    expected = float(runs["observed"].mean())
    row = {
        "world": cell.world,
        "cohort": cell.cohort,
        "zone": cell.zone,
        "items": cell.items,
        **answer_counts(runs),
        "expected": expected,
        "error_free": float(runs["error_free"].mean()) if runs["error_free"].notna().any() else np.nan,
    }
    for name in ("twoway", "zmax"):
        low, high = runs[f"{name}_low"], runs[f"{name}_high"]
        row |= {
            f"{name}_held": int(_holds(low, high, expected).sum()),
            f"{name}_coverage": float(_holds(low, high, expected).mean()),
            f"{name}_coverage_error_free": _error_free_coverage(low, high, row["error_free"]),
            f"{name}_width": float((high - low).mean()),
        }
    return pd.DataFrame([row])


def _error_free_coverage(low: pd.Series, high: pd.Series, error_free: float) -> float:
    return float(_holds(low, high, error_free).mean()) if np.isfinite(error_free) else np.nan


def world_bounds(rates: pd.DataFrame) -> list[Checked]:
    """Two-way coverage of the expected ρ of at least .94, and the bounds on wrong verdicts, in every world.

    z-max's coverage is printed and promised nowhere.
    """
    checked: list[Checked] = []
    for row in rates.to_dict("records"):
        whole = row["zone"] == row["cohort"]
        quants = f"all {row['cohort']} quants" if whole else f"{row['zone']} of {row['cohort']}"
        where = f"{row['world']}, {quants}, {row['items']:,} items"
        group = "whole cohorts" if whole else row["world"]
        found = TWO_WAY.check(where, row["twoway_held"], row["runs"], group=group)
        errors = "V from the items, whole cohorts" if whole else "V from the items"
        checked += [*([found] if found else []), *error_bounds(row, f"{where}, V from the items", group=errors)]
    return checked
