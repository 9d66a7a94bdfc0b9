"""Few items, few clusters, repeats, and one quant with all the leverage: V is what the items give, as in a study."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from qkld.errors import StatisticsError
from qkld.statistics.items.covariance import NetNoise, composite_noise, noise_of_differences
from qkld.statistics.items.units import Floats
from qkld.statistics.noise.heterogeneity import cochran_q, residual_heterogeneity
from qkld.statistics.noise.verdict import headline
from validation.calibration.correlation_nulls import Draw, Null
from validation.calibration.targets import Bound, Checked
from validation.calibration.verdicts import answer_counts, error_bounds
from validation.calibration.worlds import Cohort, cohort_of_scores, draw_cohort, true_r2


@dataclass(frozen=True)
class Design:
    """The items of each benchmark of a composite, or of one; in clusters of these sizes, one after the other.

    Items of a cluster share ``alike`` of the variance of their margins, and half of that of each quant's own noise.
    """

    name: str
    items: tuple[int, ...]
    sizes: tuple[int, ...] = field(default=(), repr=False)
    alike: float = 0.2

    def noise(self, cohort: Cohort, *, rng: np.random.Generator) -> NetNoise:
        """Net scores of the cohort and their noise from freshly drawn items."""
        clusters = np.repeat(np.arange(len(self.sizes)), self.sizes) if self.sizes else None
        parts = [self._benchmark(cohort, f"task {i}", n, clusters, rng) for i, n in enumerate(self.items)]
        return parts[0] if len(parts) == 1 else composite_noise(parts)

    def _benchmark(
        self, cohort: Cohort, name: str, items: int, clusters: np.ndarray | None, rng: np.random.Generator
    ) -> NetNoise:
        shared = {"clusters": clusters, "margins_alike": self.alike, "noise_alike": self.alike / 2}
        right = cohort.answers(items, rng=rng, **shared).astype(np.int8)
        return noise_of_differences(name, right[:, 1:] - right[:, :1], labels_of(cohort.kld.size), clusters)


def labels_of(quants: int) -> tuple[str, ...]:
    """Names of simulated quants."""
    return tuple(map(str, range(quants)))


def _single(*items: int) -> Design:
    return Design(" + ".join(f"{n:,}" for n in items) + " items", items)


def _clustered(clusters: int, each: int) -> Design:
    return Design(f"{clusters * each:,} items in {clusters} clusters", (clusters * each,), (each,) * clusters)


def _unequal(clusters: int) -> Design:
    """Clusters of sizes in a geometric row from 1 to 40."""
    sizes = tuple(int(n) for n in np.round(np.geomspace(1, 40, clusters)))
    return Design(f"{sum(sizes):,} items in {clusters} clusters of 1 to 40", (sum(sizes),), sizes)


def _repeated(items: int, times: int) -> Design:
    """Several answers to each item: its margin is one, and .45 of each quant's own noise."""
    return Design(f"{items} items answered {times} times", (items * times,), (times,) * items, alike=0.9)


SINGLE = {n: _single(n) for n in (40, 98, 500, 8000, 20_000)}
COMPOSITES = (_single(80, 18), _single(100, 30, 50), _single(2376, 100), _single(1000, 1000, 1000, 1000))
CLUSTERED = {g: _clustered(g, each) for g, each in ((5, 120), (10, 60), (15, 40), (57, 10), (100, 6))}
UNEQUAL, REPEATED = _unequal(57), _repeated(20, 10)

LARGE_EVERY = 8
"""On 20,000 items one in so many runs is done."""

# --- sizes of the tests of equal scores, and of none beyond a curve in KLD --------------------------------------------

SIZED = (
    *((n, SINGLE[items]) for n, items in ((4, 40), (8, 40), (20, 40), (11, 40), (20, 98), (41, 98), (12, 500))),
    *((n, SINGLE[items]) for n, items in ((41, 500), (12, 20_000), (41, 20_000))),
    *product((12, 20), COMPOSITES),
    *((12, CLUSTERED[g]) for g in CLUSTERED),
    *((n, design) for n in (4, 20) for design in (CLUSTERED[10], CLUSTERED[57])),
    *product((5, 12), (UNEQUAL, REPEATED)),
)
"""Quants and items of each place where sizes are simulated."""


LOSS = 0.1
"""Score lost by √KLD where KLD explains every difference, a fraction of 1: 8 points at a KLD of .6."""


def _p_of(loss: float, quants: int, design: Design, p_of: Callable[[NetNoise, Floats], float]) -> Draw:
    """Where no item tells the quants apart there is no p, and so no rejection."""

    def draw(rng: np.random.Generator) -> float:
        kld = draw_cohort("WN", quants, quants, rng=rng).kld
        cohort = cohort_of_scores(-loss * np.sqrt(kld), kld)
        with suppress(StatisticsError):
            return p_of(design.noise(cohort, rng=rng), cohort.kld)
        return 1.0

    return draw


def few_items_nulls() -> list[Null]:
    """Cochran's Q without differences, and residual Q where scores fall with √KLD alone, whatever the items are."""
    tests = {
        "Cochran's Q, V from the items": (0.0, lambda noise, kld: cochran_q(noise).p),
        "residual Q, three shapes, V from the items": (LOSS, _residual_p),
    }
    return [
        Null(test, f"{quants} quants, {design.name}", _p_of(loss, quants, design, p_of), every=_every(design))
        for test, (loss, p_of) in tests.items()
        for quants, design in SIZED
    ]


def _residual_p(noise: NetNoise, kld: Floats) -> float:
    return max(left.p for left in residual_heterogeneity(noise, kld).values())


def _every(design: Design) -> int:
    return LARGE_EVERY if sum(design.items) >= 20_000 else 1


# --- the verdict ------------------------------------------------------------------------------------------------------

LEVERAGED = "one leveraged quant"
"""World of equal quants with KLD .03 to .05 and one broken file: KLD 11, 45 points down."""

BROKEN_KLD, BROKEN_NET = 11.0, -0.45

NO_ONE_QUANT = Bound("a claim about equal quants and one broken file with all the leverage", "at most", 0.05)

DECIDED = (
    *((n, SINGLE[items]) for n in (6, 8) for items in (98, 500, 8000)),
    *((n, SINGLE[items]) for n, items in ((12, 40), (12, 98), (20, 500), (41, 500))),
    *((12, COMPOSITES[i]) for i in (0, 2)),
    *((n, CLUSTERED[g]) for n, g in ((6, 10), (12, 5), (12, 10), (12, 57))),
    *((12, design) for design in (UNEQUAL, REPEATED)),
)
"""Quants and items of each place where verdicts are simulated, in every world of `DECIDED_WORLDS`."""

DECIDED_WORLDS = ("WN", "W1", "W2", "W3:.08", LEVERAGED)


@dataclass(frozen=True)
class FewCell:
    """Cohorts of one world whose quants answer the items of one design."""

    world: str
    quants: int
    design: Design
    runs: int


def few_cells(runs: int) -> list[FewCell]:
    """Every world with every place of `DECIDED`."""
    places = product(DECIDED_WORLDS, DECIDED)
    return [FewCell(world, n, design, runs) for world, (n, design) in places]


def _cohort(cell: FewCell, rng: np.random.Generator) -> Cohort:
    if cell.world != LEVERAGED:
        return draw_cohort(cell.world, cell.quants, cell.quants, rng=rng)
    kld = np.append(np.sort(rng.uniform(0.03, 0.05, cell.quants - 1)), BROKEN_KLD)
    return cohort_of_scores(np.append(np.zeros(cell.quants - 1), BROKEN_NET), kld)


def run_few(cell: FewCell, *, rng: np.random.Generator) -> list[dict[str, Any]]:
    """The headline in each cohort beside the truth."""
    records = []
    for _ in range(cell.runs):
        cohort = _cohort(cell, rng)
        r2, slope = true_r2(cohort.net, cohort.kld)
        records.append({"answer": _answer(cell.design.noise(cohort, rng=rng), cohort.kld), "r2": r2, "slope": slope})
    return records


def _answer(noise: NetNoise, kld: Floats) -> str:
    """The headline; nothing where no item tells the quants apart."""
    with suppress(StatisticsError):
        return headline(noise, kld)[0]
    return ""


def few_rates(cell: FewCell, runs: pd.DataFrame) -> pd.DataFrame:
    """Shares of the answers, and the counts that bounds are about."""
    key = {"world": cell.world, "quants": cell.quants, "design": cell.design.name}
    return pd.DataFrame([{**key, **answer_counts(runs)}])


def few_bounds(rates: pd.DataFrame) -> list[Checked]:
    """The verdict's bounds in every place; and that none is given for one quant with all the leverage."""
    checked: list[Checked] = []
    for row in rates.to_dict("records"):
        where = f"{row['world']}, {row['quants']} quants, {row['design']}"
        if row["world"] == LEVERAGED:
            found = NO_ONE_QUANT.check(where, row["claims"], row["runs"])
            checked += [found] if found else []
        else:
            checked += error_bounds(row, where, group="V from few items, clusters or repeats")
    return checked
