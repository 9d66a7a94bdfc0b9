"""Wanted bounds on simulated rates, each with an exact binomial test."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any, Literal

from scipy import stats

LEVEL = 0.05
"""A bound counts as broken where the exact binomial test of it has p below this; not adjusted for their number."""

LEAST_RUNS = 40
"""Cohorts of a class below which a bound on it is not tested: of 5, a rate of .2 is .200 ± .179."""


@dataclass(frozen=True)
class Bound:
    """What is wanted of a rate: at most, or at least, a value, up to Monte-Carlo error."""

    what: str
    sense: Literal["at most", "at least"]
    value: float

    def check(self, where: str, hits: int, runs: int, *, group: str = "") -> Checked | None:
        """The bound against ``hits`` of ``runs``; None where nothing ran, as there is nothing to check then.

        With fewer than `LEAST_RUNS` it is counted, and neither met nor not met.

        ``group`` names the places that a summary tells in one row.
        """
        if not runs:
            return None
        side = "greater" if self.sense == "at most" else "less"
        test = stats.binomtest(int(hits), int(runs), self.value, alternative=side)
        low, high = stats.binomtest(int(hits), int(runs)).proportion_ci(0.95, method="exact")
        return Checked(
            what=self.what,
            where=where,
            group=group,
            wanted=f"{self.sense} {self.value:g}",
            rate=hits / runs,
            low=float(low),
            high=float(high),
            runs=int(runs),
            p=float(test.pvalue),
            passed=bool(test.pvalue >= LEVEL) if runs >= LEAST_RUNS else None,
        )


@dataclass(frozen=True)
class Checked:
    """A bound that was checked: the rate with its exact 95 % interval, and p of the rate keeping the bound.

    ``passed`` is None where there were too few cohorts to test it.
    """

    what: str
    where: str
    group: str
    wanted: str
    rate: float
    low: float
    high: float
    runs: int
    p: float
    passed: bool | None

    @property
    def missed(self) -> bool:
        """Whether it was tested and does not hold."""
        return self.passed is False

    @property
    def error(self) -> float:
        """Monte-Carlo standard error of the rate."""
        return sqrt(self.rate * (1 - self.rate) / self.runs)

    @property
    def row(self) -> dict[str, Any]:
        """As one row of a table."""
        return asdict(self)
