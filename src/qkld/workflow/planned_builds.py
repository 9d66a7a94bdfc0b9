"""What a study's builds will resolve, and how many of each recipe resolve most in a given time.

Builds share items, so those that flip the same ones differ by less than is reckoned with here: the standard deviations
are upper estimates.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from scipy import stats

from qkld.errors import ParameterError
from qkld.statistics.builds.design import LEAST_RECIPES
from qkld.statistics.items.sample_size import POWER
from qkld.study.entries import AnyModel, Basis
from qkld.study.params import Study
from qkld.study.text_table import TextTable
from qkld.workflow.resolution import JUDGED_AT, entering, paired_error
from qkld.workflow.splitting import Pace, split

BUILDS_COMPARED = (2, 3, 4)
"""Builds of each recipe among which `builds_split_lines` compares."""

LEVEL = 0.05
"""Of the test of a variance between builds."""


@dataclass(frozen=True)
class Design:
    """Recipes and all their builds; of a line in √KLD between recipes and one within them.

    Fewer than `LEAST_RECIPES` recipes are not analysed and have no degrees of freedom.
    """

    recipes: int
    builds: int

    @property
    def within(self) -> int:
        """Degrees of freedom of the variance between builds of a recipe."""
        return self.builds - self.recipes - 1 if self.recipes >= LEAST_RECIPES else 0

    @property
    def between(self) -> int:
        """Degrees of freedom of the variance between recipes."""
        return self.recipes - 2 if self.recipes >= LEAST_RECIPES else 0


def variance_factors(freedom: int, confidence: float) -> tuple[float, float]:
    """Ends of a variance's interval over its estimate, on so many degrees of freedom (χ²)."""
    tails = (1 + confidence) / 2, (1 - confidence) / 2
    low, high = (freedom / stats.chi2.ppf(tail, freedom) for tail in tails)
    return float(low), float(high)


def deviation_seen(error: float, freedom: int, *, power: float = POWER) -> float:
    """Standard deviation between builds that a test at `LEVEL` finds with ``power``, in the unit of ``error``.

    σ² = SE² (χ²₁₋α / χ²₁₋power − 1) on the degrees of freedom: their mean square is that of σ² + SE².
    """
    ratio = stats.chi2.ppf(1 - LEVEL, freedom) / stats.chi2.ppf(1 - power, freedom)
    return error * math.sqrt(ratio - 1)


def recipes_of(study: Study) -> dict[str, list[AnyModel]]:
    """The builds of each recipe that has some."""
    found: dict[str, list[AnyModel]] = {}
    for quant in study.quants:
        if quant.basis:
            found.setdefault(quant.recipe_id or quant.label, []).append(quant)
    return found


def designs_of(study: Study) -> dict[str, Design]:
    """How many recipes have builds, and how many all together, of each kind of basis: kinds are never pooled."""
    kinds: dict[str, list[int]] = {}
    for own in recipes_of(study).values():
        kinds.setdefault(own[0].basis.kind, []).append(len(own))
    return {kind: Design(len(sizes), sum(sizes)) for kind, sizes in kinds.items()}


def with_builds(study: Study, builds: int) -> Study:
    """The study with so many builds of each recipe that has some: its first ones, and then other seeds of their kind.

    Recipes share bases where they can, since each basis has a floor row to be measured.
    """
    given = [quant for quant in study.quants if not quant.basis]
    made = [
        own[0].model_copy(update={"label": f"{recipe}-{basis.name}", "basis": basis})
        for recipe, own in recipes_of(study).items()
        for basis in itertools.islice(_bases(study, own), builds)
    ]
    return study.model_copy(update={"quants": (*given, *made)})


def _bases(study: Study, own: list[AnyModel]) -> Iterator[Basis]:
    """Bases for a recipe, without end: its own, the study's others of their kind, then seeds that nothing has yet."""
    kind = own[0].basis.kind
    given = [*(quant.basis for quant in own), *(basis for basis in study.bases if basis.kind == kind)]
    new = (Basis(**{kind: seed}) for seed in itertools.count(1) if seed != getattr(study.reference, kind))
    yield from dict.fromkeys(given)
    yield from (basis for basis in new if basis not in given)


def builds_lines(study: Study) -> list[str]:
    """What the builds of a study will resolve, for `qkld plan`; none where it has no builds."""
    designs, items = designs_of(study), entering(study)
    return [line for kind, design in designs.items() for line in _design_lines(study, kind, design, items)]


def _design_lines(study: Study, kind: str, design: Design, items: Mapping[str, int] | None) -> list[str]:
    lines = ["", f"Builds: {design.builds} of {design.recipes} recipes, by {kind}."]
    if design.recipes < LEAST_RECIPES:
        return [*lines, f"  - variances cannot be estimated: this needs {LEAST_RECIPES} recipes of one kind of basis"]
    for name, freedom in (("builds of a recipe", design.within), ("recipes", design.between)):
        lines.append(f"  - the variance between {name} " + _known(freedom, study.correlation.correlation_confidence))
    if items and design.within > 0:
        seen = 100 * deviation_seen(paired_error(JUDGED_AT, items.values()), design.within)
        lines.append(
            f"  - that between builds is told from none with power {POWER:g} from a standard deviation of {seen:.2f} "
            f"points of accuracy on, at {JUDGED_AT:.0%} flips"
        )
    return lines


def _known(freedom: int, confidence: float) -> str:
    if freedom < 1:
        return "cannot be estimated: it has no degree of freedom"
    low, high = variance_factors(freedom, confidence)
    return f"has {freedom} degrees of freedom: its interval goes from {low:.2f} to {high:.2f} of it"


def builds_split_lines(study: Study, hours: float, *, cores: int, flop_per_second: float) -> list[str]:
    """The split of a time for several numbers of builds a recipe, for `qkld plan --hours`; none without builds."""
    if not recipes_of(study):
        return []
    pace = Pace(cores, flop_per_second)
    seen = {builds: _split_with(study, builds, hours, pace) for builds in BUILDS_COMPARED}
    known = {builds: row[-1] for builds, row in seen.items() if row and row[-1] < math.inf}
    best = min(known, key=lambda builds: known[builds]) if known else None
    rows = [(str(builds), *_shown(row), "smallest" if builds == best else "") for builds, row in seen.items()]
    columns = ("builds a recipe", "quants", "items", "SE of a difference", "SD between builds seen", " ")
    title = f"The same {hours:g} hours with other numbers of builds, points of accuracy at {JUDGED_AT:.0%} flips:"
    return ["", title, *TextTable("", "", columns, tuple(rows)).lines()]


Row = tuple[int, int, float, float]
"""Quants, items, standard error of a paired difference, standard deviation between builds that is seen.

Where builds are of two kinds of bases, of the kind of which less is seen.
"""


def _split_with(study: Study, builds: int, hours: float, pace: Pace) -> Row | None:
    """None where the time is too short for so many builds."""
    try:
        proposed = split(with_builds(study, builds), hours, pace)
    except ParameterError:
        return None
    items, freedom = entering(proposed) or {}, min(design.within for design in designs_of(proposed).values())
    error = paired_error(JUDGED_AT, items.values())
    seen = deviation_seen(error, freedom) if freedom > 0 else math.inf
    return len(proposed.quants), sum(items.values()), error, seen


def _shown(row: Row | None) -> tuple[str, str, str, str]:
    if row is None:
        return "time too short", "", "", ""
    quants, items, error, seen = row
    return str(quants), str(items), f"{100 * error:.2f}", f"{100 * seen:.2f}" if seen < math.inf else "none"
