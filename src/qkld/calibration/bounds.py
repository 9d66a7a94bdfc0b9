"""Wanted bounds on simulated rates, each with an exact binomial test."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any, Literal

from scipy import stats

LEVEL = 0.05
"""A bound counts as broken where the exact binomial test of it has p below this; not adjusted for their number."""


@dataclass(frozen=True)
class Bound:
    """What is wanted of a rate: at most, or at least, a value, up to Monte-Carlo error."""

    what: str
    sense: Literal["at most", "at least"]
    value: float

    def check(self, where: str, hits: int, runs: int, *, group: str = "") -> Checked | None:
        """The bound against ``hits`` of ``runs``; None where nothing ran, as there is nothing to check then.

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
            passed=bool(test.pvalue >= LEVEL),
        )


@dataclass(frozen=True)
class Checked:
    """A bound that was checked: the rate with its exact 95 % interval, and p of the rate keeping the bound."""

    what: str
    where: str
    group: str
    wanted: str
    rate: float
    low: float
    high: float
    runs: int
    p: float
    passed: bool

    @property
    def error(self) -> float:
        """Monte-Carlo standard error of the rate."""
        return sqrt(self.rate * (1 - self.rate) / self.runs)

    @property
    def row(self) -> dict[str, Any]:
        """As one row of a table."""
        return asdict(self)
