"""How to split a given time between texts and items: the smallest error of the score with KLD known well enough.

Texts get the fewest windows whose interval of mean KLD is `ENOUGH_KLD`, items the rest. Quants, controls and everything
that does not grow with texts or items stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from qkld.errors import ParameterError
from qkld.statistics.items.scores import least_items
from qkld.study.params import Benchmark, Corpus, Study
from qkld.study.text_table import TextTable
from qkld.workflow.plan import benchmark_costs, item_cost, items_of, items_there, known_shape, plan_jobs
from qkld.workflow.plan_report import in_time, seconds_by_rule
from qkld.workflow.resolution import (
    ENOUGH_KLD,
    ITEM_RULES,
    JUDGED_AT,
    PROBABILITY_RATIO,
    TEXT_RULES,
    entering,
    margin_met,
    paired_error,
    places_of,
)

_HALVINGS = 60
"""Bisection steps of the common factor of the numbers of items."""


@dataclass(frozen=True)
class Pace:
    """How fast a study runs: ``cores`` jobs side by side, each at ``flop_per_second``."""

    cores: int
    flop_per_second: float

    def seconds(self, study: Study) -> float:
        """Time of a whole study whose model and benchmarks are known."""
        return sum(self._by_rule(study).values())

    def of_texts(self, study: Study) -> float:
        """Time of the rules that run texts, with their starts."""
        return sum(s for rule, s in self._by_rule(study).items() if rule in TEXT_RULES)

    def an_item(self, study: Study, benchmark: Benchmark) -> float:
        """Time of one item of a benchmark in all models; it does not depend on the number of items."""
        started = self._by_rule(study, without=ITEM_RULES)
        grown = sum(s - started[rule] for rule, s in self._by_rule(study).items())
        shape, own, everything = known_shape(study), item_cost(study, benchmark), benchmark_costs(study)
        if not (shape and own and everything):
            return math.nan
        return grown * own.work(shape) / everything.work(shape)

    def _by_rule(self, study: Study, without: tuple[str, ...] = ()) -> dict[str, float]:
        """Seconds by rule; of those ``without`` tokens what their jobs take to start."""
        jobs = [replace(j, tokens=0.0, head_tokens=0.0) if j.rule in without else j for j in plan_jobs(study)]
        spent = seconds_by_rule(jobs, known_shape(study), self.flop_per_second, self.cores)
        return {rule: seconds for rule, seconds in spent.items() if seconds is not None}


def with_enough_texts(study: Study) -> Study:
    """The study with the fewest windows that give mean KLD to `ENOUGH_KLD`.

    The headline's corpus has them at the headline's context, another at its longest; `windows_at` is cut to them.
    """
    return study.model_copy(update={"corpora": tuple(_enough(study, corpus) for corpus in study.corpora)})


def _enough(study: Study, corpus: Corpus) -> Corpus:
    places = {place.context: place for place in places_of(study, corpus)}
    judged = study.headline.context if corpus.name == study.headline.corpus else max(places)
    windows = places[judged].windows_needed(study.quant_kld.confidence)
    fewer = {c: min(n, windows) for c, n in corpus.windows_at.items() if c != judged}
    return corpus.model_copy(update={"windows": windows, "windows_at": fewer})


def splittable(study: Study) -> list[Benchmark]:
    """Benchmarks of the composite whose files hold enough items to enter it, cheapest items first."""
    own = [b for b in study.benchmarks if b.role == "composite" and (items_there(b) or 0) >= least_items(b.chance)]
    return sorted(own, key=lambda b: cost.tokens if (cost := item_cost(study, b)) else math.inf)


def items_in(seconds: float, costs: Mapping[str, float], least: Mapping[str, int], most: Mapping[str, int]) -> dict:
    """Numbers of items with the smallest error of the benchmarks' mean that cost at most ``seconds``.

    Σ 1/N is smallest at a given Σ cost · N where N ∝ 1/√cost, within ``least`` and ``most``; all by benchmark.
    """

    def items(factor: float) -> dict[str, int]:
        return {b: min(most[b], max(least[b], int(factor / math.sqrt(cost)))) for b, cost in costs.items()}

    low, high = 0.0, max(most[b] * math.sqrt(cost) for b, cost in costs.items()) * (1 + 1e-9)
    if sum(costs[b] * n for b, n in items(high).items()) <= seconds:
        return items(high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        affordable = sum(costs[b] * n for b, n in items(middle).items()) <= seconds
        low, high = (middle, high) if affordable else (low, middle)
    return items(low)


def split(study: Study, hours: float, pace: Pace) -> Study:
    """The study with as many windows and items as make the error of its score smallest in this time.

    Raises
    ------
    ParameterError
        If no benchmark has enough items to enter the composite, or the time is too short for texts and for the fewest
        items with which each can.
    """
    shared = splittable(study)
    if not shared:
        raise ParameterError(
            f"Study '{study.study}' has no benchmark to give the time to.",
            expected="a benchmark of role composite with enough items to enter the composite",
            found=", ".join(f"{b.task}: {items_there(b)} items, {b.role}" for b in study.benchmarks),
            do="name one in the study's YAML",
        )
    least = {b.task: least_items(b.chance) for b in shared}
    smallest = _with_items(with_enough_texts(study), least)
    shortest = pace.seconds(smallest)
    if shortest > 3600 * hours:
        texts = pace.of_texts(smallest)
        raise ParameterError(
            f"The time is too short for one set of items of study '{study.study}'.",
            expected=f"at least {shortest / 3600:.3g} hours on {pace.cores} cores: {in_time(texts)} for texts, "
            f"{in_time(shortest - texts)} for everything else with {_listed(least)} items",
            found=f"{hours:g} hours",
            do="give more hours or cores, or take quants or benchmarks out of the study",
        )
    costs = {b.task: pace.an_item(study, b) for b in shared}
    left = 3600 * hours - shortest + sum(costs[task] * n for task, n in least.items())
    return _with_items(smallest, items_in(left, costs, least, {b.task: items_there(b) or 0 for b in shared}))


def _with_items(study: Study, items: Mapping[str, int]) -> Study:
    own = (b.model_copy(update={"limit": items.get(b.task, b.limit)}) for b in study.benchmarks)
    return study.model_copy(update={"benchmarks": tuple(own)})


def _listed(items: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {task}" for task, n in items.items())


def split_lines(study: Study, hours: float, *, cores: int, flop_per_second: float | None) -> list[str]:
    """`split` as lines for `qkld plan --hours`.

    Raises
    ------
    ParameterError
        As `split`, and where the model's size, a benchmark's length or the speed is unknown.
    """
    found = {
        "the reference's size": known_shape(study),
        "the benchmarks' lengths": benchmark_costs(study),
        "the speed": flop_per_second,
    }
    unknown = [name for name, value in found.items() if value is None]
    if unknown or flop_per_second is None:
        raise ParameterError(
            f"The time of study '{study.study}' is unknown and cannot be split.",
            expected="the reference's size, every benchmark's file and the speed",
            found=f"unknown: {', '.join(unknown)}",
            do="do what the plan says under 'Not known'",
        )
    pace = Pace(cores, flop_per_second)
    proposed = split(study, hours, pace)
    return [
        "",
        f"Split of {hours:g} hours on {cores} cores, KLD to ± {ENOUGH_KLD:.0%} and the smallest error of the score:",
        *_texts_table(study, proposed).lines(),
        "",
        *_items_table(study, proposed, pace).lines(),
        "",
        *_outcome(proposed, pace),
    ]


def _texts_table(study: Study, proposed: Study) -> TextTable:
    rows = [
        (new.name, str(old.windows), str(new.windows)) for old, new in zip(study.corpora, proposed.corpora, strict=True)
    ]
    return TextTable("", "", ("corpus", "windows", "proposed"), tuple(rows))


def _items_table(study: Study, proposed: Study, pace: Pace) -> TextTable:
    """Benchmarks that share the time, cheapest items first; the last column is what an hour of one alone resolves."""
    now = {b.task: b for b in study.benchmarks}
    rows = []
    for b in splittable(proposed):
        cost = item_cost(study, b)
        each = cost.tokens if cost else math.nan
        an_hour = paired_error(JUDGED_AT, [3600 / pace.an_item(study, b)])
        row = (b.task, f"{each:.0f}", str(items_of(now[b.task])), str(items_there(b)), str(items_of(b)))
        rows.append((*row, f"± {100 * an_hour:.2f}"))
    columns = ("benchmark", "tokens an item", "items", "there are", "proposed", "points after an hour of it")
    return TextTable("", "", columns, tuple(rows))


def _outcome(proposed: Study, pace: Pace) -> list[str]:
    """What the proposal resolves, and the time that it takes."""
    items = entering(proposed) or {}
    error = paired_error(JUDGED_AT, items.values())
    both = {"accuracy": error, "probability": error / PROBABILITY_RATIO[JUDGED_AT]}
    lines = [
        f"{name}: standard error {100 * e:.2f} points at {JUDGED_AT:.0%} flips, "
        f"margin it can meet {100 * margin_met(proposed, e):.2f}"
        for name, e in both.items()
    ]
    whole = all(items[b.task] == items_there(b) for b in splittable(proposed))
    rest = "; no file holds more items" if whole else ""
    return [*lines, f"time: {in_time(pace.seconds(proposed))}, of it texts {in_time(pace.of_texts(proposed))}{rest}"]
