"""How often each test of the package rejects where there is nothing to find, at a nominal 5 %."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from qkld.statistics.flips.decision import holm_of_both
from qkld.statistics.items.score_differences import difference_p, equivalence_p, mcnemar_exact, mcnemar_midp
from qkld.statistics.noise.heterogeneity import cochran_q, residual_heterogeneity
from qkld.statistics.noise.predictive import predictive_range
from qkld.statistics.prompts.router import route
from validation.calibration.correlation_nulls import Draw, Null, correlation_nulls
from validation.calibration.few_items import few_items_nulls
from validation.calibration.probability import probability_nulls
from validation.calibration.targets import Bound, Checked
from validation.calibration.verdicts import simulated_noise
from validation.calibration.worlds import ZONES, draw_cohort

NOMINAL = 0.05
SIZE = Bound("size of a test at nominal 5 %", "at most", 0.06)
PREDICTIVE_DRAWS = 199

# --- noise and heterogeneity ------------------------------------------------------------------------------------------


def _zone_test(world: str, size: int, zone: int, items: int, p_of: Callable) -> Draw:
    def draw(rng: np.random.Generator) -> float:
        cohort = draw_cohort(world, size, zone, rng=rng)
        return p_of(simulated_noise(cohort, cohort.net, items, rng=rng), cohort.kld, rng)

    return draw


def _residual_p(noise: Any, kld: np.ndarray, rng: np.random.Generator) -> float:
    return max(left.p for left in residual_heterogeneity(noise, kld).values())


def _predictive_p(noise: Any, kld: np.ndarray, rng: np.random.Generator) -> float:
    everyone = np.ones(kld.size, dtype=bool)
    return predictive_range(noise, kld, everyone, draws=PREDICTIVE_DRAWS, rng=rng).p


def noise_nulls() -> list[Null]:
    """Cochran's Q without differences; residual heterogeneity and the predictive range where KLD explains them all."""
    tests = {
        "Cochran's Q, V known": (("WN",), lambda noise, kld, rng: cochran_q(noise).p),
        "residual Q, three shapes, V known": (("W0", "W2"), _residual_p),
        "predictive p of ρ": (("W0", "W2"), _predictive_p),
    }
    return [
        Null(test, f"{world}, {zone} of {size}, {items:,} items", _zone_test(world, size, zone, items, p_of))
        for test, (worlds, p_of) in tests.items()
        for world, (size, zone), items in product(worlds, ZONES, (500, 4000, 16000))
    ]


# --- one quant against the reference ----------------------------------------------------------------------------------


def _paired(items: int, flip_rate: float, net: float, p_of: Callable) -> Draw:
    """Leapfrogs and drops of one quant whose true flip rate and net score difference are given."""
    shares = [(flip_rate + net) / 2, (flip_rate - net) / 2]

    def draw(rng: np.random.Generator) -> float:
        leapfrogs, drops, _ = rng.multinomial(items, [*shares, 1 - sum(shares)])
        return float(np.squeeze(p_of(np.array([leapfrogs]), np.array([drops]), np.array([items]))))

    return draw


def paired_nulls() -> list[Null]:
    """McNemar and Tango without a difference, equivalence with a difference of exactly the margin."""
    tests = {
        "McNemar, exact": lambda up, down, n: mcnemar_exact(up, down),
        "McNemar, mid-p": lambda up, down, n: mcnemar_midp(up, down),
        "Tango's score test": lambda up, down, n: difference_p(up, down, n),
    }
    nulls = [
        Null(name, f"{items:,} items, {flips:.0%} flips", _paired(items, flips, 0.0, p_of))
        for (name, p_of), items, flips in product(tests.items(), (164, 500, 1055, 5000), (0.01, 0.03, 0.1))
    ]
    for items, flips, margin in product((500, 2000, 8000), (0.02, 0.05), (0.005, 0.01)):
        nulls.append(
            Null(
                "equivalence by Tango",
                f"{items:,} items, {flips:.0%} flips, true loss = margin = {margin:g}",
                _paired(items, flips, -margin, lambda up, down, n, m=margin: equivalence_p(up, down, n, m)),
            )
        )
    return nulls


# --- many quants against the reference, and against each other --------------------------------------------------------

MARGIN = 0.01
"""Of equivalence, where all quants are exactly this much worse."""


def _no_differences(size: int, zone: int, items: int, p_of: Callable) -> Draw:
    """The smallest p after Holm where all quants and the reference are truly equal (world WN), item by item."""

    def draw(rng: np.random.Generator) -> float:
        right = draw_cohort("WN", size, zone, rng=rng).answers(items, rng=rng).astype(float)
        return smallest_holm(p_of(right))

    return draw


def smallest_holm(p: np.ndarray) -> float:
    """The smallest p that Holm's method gives: the number of tests times the smallest p."""
    return min(1.0, p.size * float(p.min()))


def against_reference(right: np.ndarray) -> np.ndarray:
    """p of no difference from the reference, a quant each: answers (items, 1 + quants), 0 or 1, the reference first."""
    quants, reference = right[:, 1:], right[:, :1]
    up, down = (quants * (1 - reference)).sum(axis=0), ((1 - quants) * reference).sum(axis=0)
    return difference_p(up[:, None], down[:, None], np.array([len(right)]))


def against_each_other(right: np.ndarray) -> np.ndarray:
    """p of no difference, a pair of quants each: answers (items, 1 + quants), 0 or 1, the reference first."""
    quants = right[:, 1:]
    wins, (a, b) = quants.T @ (1 - quants), np.triu_indices(quants.shape[1], 1)
    return difference_p(wins[a, b][:, None], wins[b, a][:, None], np.array([len(right)]))


def _all_at_the_margin(quants: int, items: int, flip_rate: float) -> Draw:
    """The smallest equivalence p after Holm of independent quants that are all worse by `MARGIN`."""
    shares = [(flip_rate - MARGIN) / 2, (flip_rate + MARGIN) / 2, 1 - flip_rate]

    def draw(rng: np.random.Generator) -> float:
        up, down, _ = rng.multinomial(items, shares, size=quants).T
        return smallest_holm(equivalence_p(up[:, None], down[:, None], np.array([items]), MARGIN))

    return draw


def _equal_and_at_the_margin(quants: int, items: int, flip_rate: float) -> Draw:
    """The smallest adjusted p of a true hypothesis: half of the quants equal the reference, half are at the margin."""
    at = [[(flip_rate - net) / 2, (flip_rate + net) / 2, 1 - flip_rate] for net in (0.0, MARGIN)]

    def draw(rng: np.random.Generator) -> float:
        up, down, _ = np.concatenate([rng.multinomial(items, shares, size=quants) for shares in at]).T
        counts = up[:, None], down[:, None], np.array([items])
        difference, equivalent = holm_of_both(difference_p(*counts), equivalence_p(*counts, MARGIN))
        return float(min(difference[:quants].min(), equivalent[quants:].min()))

    return draw


def decision_nulls() -> list[Null]:
    """Any wrong call among all quants, or all pairs of quants, of a cohort."""
    tests = {
        "Tango, Holm over quants, any wrong": against_reference,
        "Tango, Holm over pairs, any wrong": against_each_other,
    }
    worlds = [
        Null(name, f"WN, {zone} of {size}, {items:,} items", _no_differences(size, zone, items, p_of))
        for (name, p_of), (size, zone), items in product(tests.items(), ZONES, (500, 4000))
    ]
    margins = [
        Null(
            "equivalence, Holm over quants, any wrong",
            f"{quants} quants, {items:,} items, 5% flips, all worse by {MARGIN:g}",
            _all_at_the_margin(quants, items, 0.05),
        )
        for quants, items in product((12, 16), (2000, 8000))
    ]
    both = [
        Null(
            "both tests of every quant, Holm, any wrong",
            f"{quants} quants equal and {quants} at {MARGIN:g}, {items:,} items, {flips:.0%} flips",
            _equal_and_at_the_margin(quants, items, flips),
        )
        for quants, items, flips in product((2, 5, 8), (3000, 12_000), (0.02, 0.05))
    ]
    return [*worlds, *margins, *both]


# --- routing ----------------------------------------------------------------------------------------------------------


def _routed(items: int, share_right: float, offset: float) -> Draw:
    """KLDs that know nothing of who is right, ln KLD of one model higher by ``offset``."""

    def draw(rng: np.random.Generator) -> float:
        right = rng.random(items) < share_right
        kld_a, kld_b = np.exp(offset + rng.standard_normal(items)), np.exp(rng.standard_normal(items))
        return route(kld_a, kld_b, right, ~right).fisher_p

    return draw


def router_nulls() -> list[Null]:
    """Fisher's test of the router where KLD is uninformative."""
    return [
        Null(
            "Fisher's test of the router", f"150 items, {share:g} right, offset {offset:g}", _routed(150, share, offset)
        )
        for share, offset in product((0.5, 0.6), (0.0, 0.5, -0.8))
    ]


@cache
def nulls() -> tuple[Null, ...]:
    """Every test that is calibrated."""
    return (
        *correlation_nulls(),
        *noise_nulls(),
        *few_items_nulls(),
        *paired_nulls(),
        *decision_nulls(),
        *router_nulls(),
        *probability_nulls(),
    )


# --- running ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SizeCell:
    """One test in one world of `nulls`."""

    test: str
    where: str
    runs: int

    @property
    def null(self) -> Null:
        return next(null for null in nulls() if (null.test, null.where) == (self.test, self.where))


def size_cells(runs: int) -> list[SizeCell]:
    """Every test and world."""
    return [SizeCell(null.test, null.where, max(1, runs // null.every)) for null in nulls()]


def run_sizes(cell: SizeCell, *, rng: np.random.Generator) -> list[dict[str, Any]]:
    """p in each of the runs."""
    draw = cell.null.draw
    return [{"p": draw(rng)} for _ in range(cell.runs)]


def size_rates(cell: SizeCell, runs: pd.DataFrame) -> pd.DataFrame:
    """Share of p at or below the nominal level."""
    rejected = runs["p"] <= NOMINAL
    row = {"test": cell.test, "where": cell.where, "runs": len(rejected), "rejected": int(rejected.sum())}
    return pd.DataFrame([{**row, "size": float(rejected.mean()), "known": cell.null.known}])


def size_bounds(rates: pd.DataFrame) -> list[Checked]:
    """Size of at most .06 for every test but those that are listed as exceeding it."""
    rows = rates[rates["known"] == ""].to_dict("records")
    checked = (SIZE.check(f"{r['test']}: {r['where']}", r["rejected"], r["runs"], group=r["test"]) for r in rows)
    return [c for c in checked if c is not None]
