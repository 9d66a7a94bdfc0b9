"""Items in rounds: how often any decision about any file is wrong, how many are decided, and how many items that takes.

Each cohort of files is decided by every rule of `RULES` on the same items, and by the fixed plan that gives all items
to all files. Files differ from the reference in flips that are correlated, in changes of heavy tails, or in a few large
changes; variances are estimated. A file leaves as in ``qkld pick``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from qkld.statistics.flips.decision import EQUIVALENT, UNDECIDED
from qkld.statistics.items.covariance import Floats
from qkld.statistics.rounds.deciding import DOUBLING, Rule, decided
from qkld.statistics.rounds.looks import Look, accuracy_look, mean_look
from qkld.statistics.rounds.mixture import MixtureRule
from qkld.statistics.rounds.spending import SpendingRule, obrien_fleming, pocock
from validation.calibration.probability import equal_differences
from validation.calibration.targets import Bound, Checked
from validation.calibration.worlds import cohort_of_scores

LEVEL = 0.05
ITEMS = 6400
"""Items there are: 200 in the first of six rounds."""

MARGINS = {"accuracy": 0.02, "probability": 0.01}
FILES = (2, 6, 15, 40)
KLD_RANGE = (0.001, 0.3)
QUIET = 0.02
"""Standard deviation of the changes of a file that loses by rare breaks, beside these."""

EVERY = 2
"""One in so many of the asked runs is done."""

FIXED = "fixed plan"

RULES: tuple[Rule, ...] = (
    SpendingRule(FIXED, (1.0,), obrien_fleming),
    SpendingRule("O'Brien–Fleming", DOUBLING, obrien_fleming),
    SpendingRule("Pocock", DOUBLING, pocock),
    MixtureRule("confidence sequence", DOUBLING),
)

NO_WRONG = Bound("any wrong decision over all rounds, files and both families", "at most", LEVEL)


# --- worlds: true differences of files, in margins --------------------------------------------------------------------


def _at_the_edges(files: int) -> Floats:
    """Half of the files equal the reference, half lose exactly the margin: every decision but "worse" is wrong."""
    return np.where(np.arange(files) % 2 == 0, 0.0, -1.0)


def _folder(files: int) -> Floats:
    """Files from no loss to eight margins, more of them near the reference."""
    return -8 * np.linspace(0, 1, files) ** 2


WORLDS: dict[str, Callable[[int], Floats]] = {
    "at the edges": _at_the_edges,
    "rare breaks": _at_the_edges,
    "a folder": _folder,
}


@dataclass(frozen=True)
class RoundsCell:
    """Cohorts of so many files of one world, decided by one score."""

    score: str
    world: str
    files: int
    runs: int

    @property
    def margin(self) -> float:
        return MARGINS[self.score]

    @property
    def true(self) -> Floats:
        """True differences of the files."""
        return self.margin * WORLDS[self.world](self.files)


def rounds_cells(runs: int) -> list[RoundsCell]:
    """Every world and number of files in both scores; rare breaks as changes of probability alone."""
    places = product(MARGINS, WORLDS, FILES)
    return [RoundsCell(*place, max(1, runs // EVERY)) for place in places if place[:2] != ("accuracy", "rare breaks")]


def _changes(cell: RoundsCell, rng: np.random.Generator) -> Floats:
    """Changes against the reference, (items, files): −1, 0 and 1 of right answers, or of a probability."""
    kld = np.exp(rng.uniform(*np.log(KLD_RANGE), cell.files))
    if cell.score == "accuracy":
        answers = cohort_of_scores(cell.true, kld).answers(ITEMS, rng=rng).astype(float)
        return answers[:, 1:] - answers[:, :1]
    if cell.world == "rare breaks":
        noise = QUIET * rng.standard_normal((ITEMS, cell.files))
        return noise - (rng.random((ITEMS, cell.files)) < -cell.true)
    return equal_differences(kld, ITEMS, rng=rng) + cell.true


def _look(changes: Floats, cell: RoundsCell) -> Look:
    if cell.score == "probability":
        return mean_look({"task": changes}, cell.margin)
    up, down = ((sign * changes > 0).sum(axis=0).astype(float)[:, None] for sign in (1, -1))
    return accuracy_look(up, down, np.array([float(len(changes))]), cell.margin)


def _without(look: Look, left: np.ndarray) -> Look:
    """The look with nothing of the files that have left."""
    return Look(*(np.where(left, np.nan, values) for values in look))


# --- running ----------------------------------------------------------------------------------------------------------


def run_rounds(cell: RoundsCell, *, rng: np.random.Generator) -> list[dict[str, Any]]:
    """What each rule makes of each cohort: whether any decision is wrong, how many are made, and on how many items."""
    records = []
    for run in range(cell.runs):
        changes = _changes(cell, rng)
        looks = {share: _look(changes[: round(share * ITEMS)], cell) for share in DOUBLING}
        records += [{"run": run, "rule": rule.name, **_by_rule(rule, looks, cell)} for rule in RULES]
    return records


def _by_rule(rule: Rule, looks: dict[float, Look], cell: RoundsCell) -> dict[str, Any]:
    seen: list[Look] = []
    left, items, wrong = np.zeros(cell.files, dtype=bool), 0, False
    for number, share in enumerate(rule.shares):
        items += int((~left).sum()) * round((share - (rule.shares[number - 1] if number else 0.0)) * ITEMS)
        seen.append(_without(looks[share], left))
        found = decided(seen, rule, margin=cell.margin, level=LEVEL)
        wrong, left = wrong or bool(_wrong(found.decision, cell.true, cell.margin).any()), left | found.leaves
    open_still = int((found.decision == UNDECIDED).sum())
    return {"wrong": wrong, "decided": cell.files - open_still, "items": items}


def _wrong(decision: np.ndarray, true: Floats, margin: float) -> np.ndarray:
    """An equal file called anything but equivalent, or one that loses the margin or more called so."""
    at_margin = true <= -margin * (1 - 1e-9)
    called = ~np.isin(decision, (EQUIVALENT, UNDECIDED))
    return np.where(true == 0, called, at_margin & (decision == EQUIVALENT))


def rounds_rates(cell: RoundsCell, runs: pd.DataFrame) -> pd.DataFrame:
    """A row a rule: wrong cohorts, share of files decided, and share of the fixed plan's items that it took."""
    rows = []
    for name, own in runs.groupby("rule", sort=False):
        rows.append(
            {
                "score": cell.score,
                "world": cell.world,
                "files": cell.files,
                "rule": name,
                "runs": len(own),
                "wrong": int(own["wrong"].sum()),
                "error": float(own["wrong"].mean()),
                "decided": float(own["decided"].mean() / cell.files),
                "items": float(own["items"].mean() / (cell.files * ITEMS)),
            }
        )
    return pd.DataFrame(rows)


def rounds_bounds(rates: pd.DataFrame) -> list[Checked]:
    """The stated error rate in every place and for every rule."""
    checked = [
        NO_WRONG.check(
            f"{r['score']}, {r['world']}, {r['files']} files, {r['rule']}", r["wrong"], r["runs"], group=r["rule"]
        )
        for r in rates.to_dict("records")
    ]
    return [c for c in checked if c is not None]
