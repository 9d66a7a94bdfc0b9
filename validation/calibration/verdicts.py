"""How often the verdict is right, wrong and silent: its shares in every world, and the bounds on its errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from qkld.statistics.items.covariance import NetNoise
from qkld.statistics.noise.explained import explained
from qkld.statistics.noise.heterogeneity import ridged
from qkld.statistics.noise.verdict import RULE, headline, with_more_noise
from validation.calibration.targets import Bound, Checked
from validation.calibration.worlds import BROKEN, ITEMS, WORLDS, ZONES, Cohort, draw_cohort, true_r2

CONDITIONS = ("as it is", "one broken quant", "V too small by 1.3")
"""What is simulated: noise as the rule is told; a random quant 3 points down; true noise variance 1.3 times V."""

MISSING, CARRIED, LIMITED = "direction missing", "carried", "noise-limited"
HIGH, LOW = 0.75, 0.25
"""True R² from which "missing", and down to which "carried", is an error."""

NO_MISSING = Bound(f'"missing" where true R² ≥ {HIGH}', "at most", 0.05)
NO_CARRIED = Bound(f'"carried" where true R² ≤ {LOW} or the true slope is upward', "at most", 0.05)
NO_CLAIM = Bound('"missing" or "carried" in a world without true differences', "at most", 0.05)
POWER_ITEMS = 4000
POWERS = {
    ("W1", 16): Bound('power of "missing" in W1 at 4,000 items, 16 quants: about .86', "at least", 0.84),
    ("W1", 12): Bound('power of "missing" in W1 at 4,000 items, 12 quants: about .75', "at least", 0.73),
    ("W2", 16): Bound('power of "carried" in W2 at 4,000 items, 16 quants: about .80', "at least", 0.78),
    ("W2", 12): Bound('power of "carried" in W2 at 4,000 items, 12 quants: about .80', "at least", 0.77),
}


@dataclass(frozen=True)
class VerdictCell:
    """Cohorts of one world and size, each seen under every condition and number of items."""

    world: str
    cohort: int
    zone: int
    runs: int


def verdict_cells(runs: int) -> list[VerdictCell]:
    """Every world and zone of the calibration."""
    return [VerdictCell(world, size, zone, runs) for world, (size, zone) in product(WORLDS, ZONES)]


def simulated_noise(
    cohort: Cohort, true_net: np.ndarray, items: int, *, inflation: float = 1.0, rng: np.random.Generator
) -> NetNoise:
    """Net scores on ``items`` items with ``inflation`` times the noise variance that is handed on with them."""
    covariance = cohort.item_covariance / items
    root = np.linalg.cholesky(ridged(covariance))
    net = true_net + np.sqrt(inflation) * (root @ rng.standard_normal(true_net.size))
    return NetNoise(tuple(map(str, range(true_net.size))), net, covariance, items, items, True)


def run_verdicts(cell: VerdictCell, *, rng: np.random.Generator) -> list[dict[str, Any]]:
    """One record a cohort, condition and number of items: true R² and slope, and the answers."""
    records = []
    for _ in range(cell.runs):
        cohort = draw_cohort(cell.world, cell.cohort, cell.zone, rng=rng)
        broken = np.where(np.arange(cell.zone) == rng.integers(cell.zone), BROKEN, 0.0)
        for condition, items in product(CONDITIONS, ITEMS):
            true_net = cohort.net + (broken if condition == "one broken quant" else 0.0)
            small = condition.startswith("V too small")
            noise = simulated_noise(cohort, true_net, items, inflation=RULE.inflation if small else 1.0, rng=rng)
            r2, slope = true_r2(true_net, cohort.kld)
            truth = {"condition": condition, "items": items, "r2": r2, "slope": slope}
            truth["r2_held"] = _interval_holds(r2, noise, cohort) if condition == CONDITIONS[0] else np.nan
            records.append({**truth, **_answers(noise, cohort, checked=condition != "one broken quant")})
    return records


def _answers(noise: NetNoise, cohort: Cohort, *, checked: bool) -> dict[str, Any]:
    answer, on_all, _, aside = headline(noise, cohort.kld)
    inflated = with_more_noise(noise, cohort.kld) if checked else ""
    return {"answer": answer, "on_all": on_all, "inflated": inflated, "set_aside": bool(aside.size)}


def _interval_holds(r2: float, noise: NetNoise, cohort: Cohort) -> float:
    """1 where the 90 % interval of R²_true holds the true one, else 0; NaN where there is no true one."""
    if np.isnan(r2):
        return np.nan
    return float(abs(float(explained(noise, cohort.kld).z(r2))) <= RULE.limit)


def answer_counts(runs: pd.DataFrame) -> dict[str, Any]:
    """Shares of each answer, and the counts that the bounds are about, from ``answer``, true ``r2`` and ``slope``."""
    answer, different = runs["answer"], runs["r2"].notna()
    high = runs["r2"] >= HIGH
    low = different & ((runs["r2"] <= LOW) | (runs["slope"] > 0))
    return {
        "runs": len(runs),
        "median_r2": float(runs["r2"].median()),
        **{f"share {name}": float((answer == name).mean()) for name in (MISSING, CARRIED, LIMITED)},
        "claims": int(answer.isin([MISSING, CARRIED]).sum()),
        "high": int(high.sum()),
        "missing | high": int((answer[high] == MISSING).sum()),
        "low": int(low.sum()),
        "carried | low": int((answer[low] == CARRIED).sum()),
        "no difference": int((~different).sum()),
    }


def verdict_rates(cell: VerdictCell, runs: pd.DataFrame) -> pd.DataFrame:
    """`answer_counts` with what else is known of each run, one row a condition and number of items."""
    key = {"world": cell.world, "cohort": cell.cohort, "zone": cell.zone}
    rows = [
        {
            **key,
            "condition": condition,
            "items": items,
            **answer_counts(part),
            "r2_coverage": float(part["r2_held"].mean()),
            "share missing on all quants": float((part["on_all"] == MISSING).mean()),
            "share set aside": float(part["set_aside"].mean()),
            "claims with 1.3 V": int(part["inflated"].isin([MISSING, CARRIED]).sum()),
        }
        for (condition, items), part in runs.groupby(["condition", "items"], sort=False)
    ]
    return pd.DataFrame(rows)


def error_bounds(row: Mapping[str, Any], where: str, *, group: str) -> list[Checked]:
    """The bounds on wrong claims in one row of `answer_counts`; each applies where there are such cohorts."""
    checked = [
        NO_MISSING.check(where, row["missing | high"], row["high"], group=group),
        NO_CARRIED.check(where, row["carried | low"], row["low"], group=group),
        NO_CLAIM.check(where, *_no_difference(row, "claims"), group=group),
    ]
    return [c for c in checked if c is not None]


def verdict_bounds(rates: pd.DataFrame) -> list[Checked]:
    """Every wanted bound on the verdict, in every row where it applies.

    Where V is too small, the bound of a world without differences is asked of the headline and of the verdict with
    1.3 V, which is printed beside it for this case.
    """
    checked: list[Checked] = []
    for row in rates.to_dict("records"):
        where = f"{row['world']}, {row['zone']} of {row['cohort']}, {row['items']:,} items, {row['condition']}"
        checked += error_bounds(row, where, group=row["condition"])
        checked += _guarded(row, where)
        checked += _power(row, where)
    return checked


def _guarded(row: Mapping[str, Any], where: str) -> list[Checked]:
    """The claims that are left with 1.3 V, where V is too small by as much."""
    if row["condition"] != CONDITIONS[2]:
        return []
    counts, group = _no_difference(row, "claims with 1.3 V"), f"{row['condition']}, verdict with 1.3 V"
    found = NO_CLAIM.check(f"{where}, verdict with 1.3 V", *counts, group=group)
    return [found] if found else []


def _no_difference(row: Mapping[str, Any], claims: str) -> tuple[int, int]:
    """Claims among cohorts without true differences: a cell has either none or only such cohorts."""
    return (row[claims], row["no difference"]) if row["no difference"] else (0, 0)


def _power(row: Mapping[str, Any], where: str) -> list[Checked]:
    bound = POWERS.get((row["world"], row["zone"]))
    if bound is None or row["items"] != POWER_ITEMS or row["condition"] != CONDITIONS[0]:
        return []
    share = row[f"share {MISSING if row['world'] == 'W1' else CARRIED}"]
    found = bound.check(where, round(share * row["runs"]), row["runs"])
    return [found] if found else []
