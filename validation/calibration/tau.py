"""How often τ's interval holds the true one, V estimated from the items."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from qkld.errors import StatisticsError
from qkld.statistics.noise.dispersion import dispersion
from qkld.statistics.noise.heterogeneity import cochran_q
from validation.calibration.few_items import CLUSTERED, COMPOSITES, REPEATED, SINGLE, Design
from validation.calibration.targets import Bound, Checked
from validation.calibration.worlds import KLD_RANGE, cohort_of_scores

CONFIDENCE = 0.95
HOLDS = Bound("τ's interval holds the true τ", "at least", 0.9)
"""Of nominal .95: quants that truly differ more have more noise too, which its law does not know."""

DESIGNS = (
    *((n, SINGLE[items]) for n, items in ((8, 40), (20, 40), (12, 98), (12, 500), (41, 500))),
    *((12, COMPOSITES[i]) for i in (0, 1)),
    *((12, CLUSTERED[g]) for g in (10, 57)),
    (8, REPEATED),
)
"""Quants and items of each place."""

TAUS = (0.0, 0.02, 0.05)
EVERY = 2
"""One in so many of the asked runs is done."""


@dataclass(frozen=True)
class TauCell:
    """Cohorts whose true net scores are normal with standard deviation ``tau``."""

    quants: int
    design: Design
    tau: float
    runs: int


def tau_cells(runs: int) -> list[TauCell]:
    """Every place with every true τ."""
    return [TauCell(n, design, tau, max(1, runs // EVERY)) for (n, design), tau in product(DESIGNS, TAUS)]


def run_tau(cell: TauCell, *, rng: np.random.Generator) -> list[dict[str, Any]]:
    """τ with its interval in each cohort; empty where no item tells the quants apart, which counts as a miss."""
    return [_tau(cell, rng) for _ in range(cell.runs)]


def _tau(cell: TauCell, rng: np.random.Generator) -> dict[str, float]:
    kld = np.sort(np.exp(rng.uniform(*np.log(KLD_RANGE), cell.quants)))
    net = np.clip(cell.tau * rng.standard_normal(cell.quants), -0.7, 0.24)
    try:
        return vars(dispersion(cochran_q(cell.design.noise(cohort_of_scores(net, kld), rng=rng)), CONFIDENCE))
    except StatisticsError:
        return dict.fromkeys(("estimate", "low", "high"), np.nan)


def tau_rates(cell: TauCell, runs: pd.DataFrame) -> pd.DataFrame:
    """Coverage of the cell's τ."""
    held = (runs["low"] <= cell.tau) & (cell.tau <= runs["high"])
    row = {"quants": cell.quants, "design": cell.design.name, "tau": cell.tau, "runs": len(runs)}
    row |= {"held": int(held.sum()), "coverage": float(held.mean()), "estimate": float(runs["estimate"].mean())}
    return pd.DataFrame([{**row, "width": float((runs["high"] - runs["low"]).mean())}])


def tau_bounds(rates: pd.DataFrame) -> list[Checked]:
    """Coverage in every place."""
    checked = []
    for row in rates.to_dict("records"):
        where = f"{row['quants']} quants, {row['design']}, τ = {row['tau']:g}"
        checked.append(HOLDS.check(where, row["held"], row["runs"], group=f"τ = {row['tau']:g}"))
    return [c for c in checked if c is not None]
