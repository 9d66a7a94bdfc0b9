"""Logs of llama-perplexity → the runs in them: running table, closing figures, items, and what each says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qkld.analysis.importing.llama_lines import (
    BEGINS,
    CHUNK,
    ITEM,
    ITEM_OF_TWO,
    SECTION,
    WHOLE,
    Figure,
    facts_of,
    figures_of,
    log_lines,
    number,
    with_points,
)
from qkld.errors import TableError

HALF = 0.5000001
"""Half a unit of the last printed decimal, with room for the number's own rounding."""

KLD_STEP, PPL_STEP = 1e-5, 1e-4
"""Units of the last printed decimal of the running table."""

EXPECTED = "output of llama-perplexity: --kl-divergence, --hellaswag, --winogrande, --multiple-choice or perplexity"


class Window(NamedTuple):
    """One row of the running table: cumulative means up to this window, nats and shares; NaN where none is printed."""

    window: int
    ppl: float
    log_ppl_ratio: float
    kl_mean: float
    kl_mean_se: float
    dp_rms: float
    dp_rms_se: float
    top1_agreement: float
    top1_agreement_se: float


class Item(NamedTuple):
    """One item of a task: its place, whether it was answered rightly, and of two options scores and choice."""

    item: int
    correct: int
    scores: tuple[float, float] | None = None
    taken: int | None = None
    right: int | None = None


@dataclass
class Run:
    """What one run of the program printed.

    Attributes
    ----------
    path : the log; a log may hold several runs, one behind the other
    line : where the run begins in it, from 1
    facts : what the lines say of the run, see `qkld.analysis.importing.llama_lines.FACTS`
    windows : rows of the running table
    figures : closing figures by name
    items : items of a task
    share : the last running score that was printed, in percent
    """

    path: Path
    line: int
    facts: dict[str, str] = field(default_factory=dict)
    windows: list[Window] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)
    items: list[Item] = field(default_factory=list)
    share: float = 0.0

    @property
    def kind(self) -> str | None:
        """``kl``, ``items``, ``ppl``, or None where the program printed no result."""
        if self.items:
            return "items"
        if self.windows or "kl_mean" in self.figures:
            return "kl"
        return "ppl" if self.figures else None

    @property
    def closed(self) -> bool:
        """Whether its closing figures of the KL divergence are there."""
        return "kl_mean" in self.figures

    @property
    def whole_table(self) -> bool:
        """Whether every row of the running table from the first window on is there."""
        return [row.window for row in self.windows] == list(range(1, len(self.windows) + 1)) and bool(self.windows)

    @property
    def last_window(self) -> int | None:
        """The last window of which there is a figure."""
        return self.windows[-1].window if self.windows else None

    @property
    def place(self) -> str:
        return str(self.path) if self.line == 1 else f"{self.path}, run that begins in line {self.line}"


def read_log(path: Path) -> list[Run]:
    """The runs of a log that printed a result, in order.

    Raises
    ------
    TableError
        If the file cannot be read, holds no result, is of several runs that wrote at the same time, or its running
        table and closing figures are not of one run.
    """
    runs = [run for run in _runs(path) if run.kind is not None]
    if not runs:
        raise TableError(
            f"{path} holds no result of llama-perplexity.",
            expected=EXPECTED,
            found="no running table, no final figures and no item",
            do="give the program's complete output: `llama-perplexity … > quant.log 2>&1`",
        )
    for run in runs:
        _check_totals(run)
    return runs


def _runs(path: Path) -> Iterator[Run]:
    run, section, lines = Run(path, 1), None, log_lines(path)
    last = max((place for place, line in enumerate(lines, start=1) if line.strip()), default=0)
    for place, printed in enumerate(lines, start=1):
        line = with_points(printed)
        if heading := SECTION.search(line):
            section = heading["of"]
        facts, figures = dict(facts_of(printed)), list(figures_of(line, section=section))
        if place == last and run.figures and not WHOLE.search(line):
            figures = []  # the log was cut off in the middle of this line
        if _begins_anew(run, line, facts, figures):
            yield run
            run, section = Run(path, place), heading["of"] if heading else None
        for name, text in facts.items():
            run.facts.setdefault(name, text)
        for figure in figures:
            run.figures.setdefault(figure.name, figure)
        if not figures:
            _take_row(run, place, line)
    yield run


def _begins_anew(run: Run, line: str, facts: dict[str, str], figures: list[Figure]) -> bool:
    """Whether a line belongs to another run than those before it."""
    if run.kind is None:
        return False
    if any(name in facts for name in BEGINS) or any(
        run.facts.get(n, text) != text for n, text in facts.items() if n == "model"
    ):
        return True
    if (row := CHUNK.search(line)) and not figures:
        return bool(run.figures) or (int(row["window"]) == 1 and bool(run.windows))
    again = [f for f in figures if f.name in run.figures and run.figures[f.name] != f]
    if again and not run.items:
        return True
    item = ITEM_OF_TWO.search(line) or ITEM.search(line)
    return item is not None and int(item["item"]) == 1 and bool(run.items)


# --- rows -------------------------------------------------------------------------------------------------------------


def _take_row(run: Run, place: int, line: str) -> None:
    """Put a row of a running table, or an item, to its run."""
    if row := CHUNK.search(line):
        _check_next(run, place, int(row["window"]), run.last_window, gaps=True)
        run.windows.append(_window(row))
    elif (item := ITEM_OF_TWO.search(line)) or (item := ITEM.search(line)):
        own = int(item["item"])
        _check_next(run, place, own, run.items[-1].item if run.items else 0, gaps=False)
        correct = _correct(run, place, own, float(item["share"]))
        run.items.append(_item_of_two(run, place, item, correct) if "first" in item.groupdict() else Item(own, correct))


def _window(row: dict[str, str]) -> Window:
    numbers = {name: number(row[name]) if row[name] else np.nan for name in row.groupdict() if name != "percent"}
    scale = 0.01 if row["percent"] else 1.0  # a fraction in January to April 2024
    return Window(
        int(numbers["window"]),
        numbers["ppl"],
        numbers["ratio"],
        numbers["kl"],
        numbers["kl_se"],
        numbers["rms"] * 0.01,
        numbers["rms_se"] * 0.01,
        numbers["same"] * scale,
        numbers["same_se"] * scale,
    )


def _check_next(run: Run, place: int, own: int, last: int | None, *, gaps: bool) -> None:
    """Refuse rows that go back or, but for shortened tables, leave some out: two programs wrote into one file."""
    if last is None or own == last + 1 or (gaps and own > last):
        return
    raise TableError(
        f"{run.path}, line {place}, does not continue the row before it.",
        expected=f"row {last + 1}",
        found=f"row {own}: the output of several runs at once, or a damaged file",
        do="write one log per run",
    )


def _correct(run: Run, place: int, item: int, share: float) -> int:
    """Whether an item was answered rightly: what its running score adds to the one before."""
    before = round(run.share * (item - 1) / 100)
    right = share * item / 100
    if abs(right - round(right)) > 0.01 or round(right) - before not in (0, 1):
        raise TableError(
            f"{run.path}, line {place}: the running score belongs to another run.",
            expected=f"{before} or {before + 1} right answers of {item}",
            found=f"{share} % of {item}",
            do="write one log per run",
        )
    run.share = share
    return round(right) - before


def _item_of_two(run: Run, place: int, item: dict[str, str], correct: int) -> Item:
    taken, right = int(item["taken"]), int(item["right"])
    if correct != int(taken == right):
        raise TableError(
            f"{run.path}, line {place}: the answer contradicts the running score.",
            expected=f"a running score that {'rises' if taken == right else 'falls'}",
            found=line_of(item),
            do="write one log per run",
        )
    return Item(int(item["item"]), correct, (number(item["first"]), number(item["second"])), taken - 1, right - 1)


def line_of(found: dict[str, str]) -> str:
    """A matched row, its white space made plain."""
    return " ".join(found[0].split())


def _check_totals(run: Run) -> None:
    """Refuse closing figures that the last row of the running table contradicts: they are of another run."""
    if not run.windows or not run.closed:
        return
    last = run.windows[-1]
    pairs = {"kl_mean": (last.kl_mean, KLD_STEP), "ppl": (last.ppl, PPL_STEP)}
    for name, (running, step) in pairs.items():
        closing = run.figures.get(name)
        if closing is not None and abs(closing.value - running) > HALF * step * 1.1 and last.window >= _windows(run):
            raise TableError(
                f"{run.place}: the running table and the final figures belong to different runs.",
                expected=f"{name} {running:g} as after window {last.window}, the last",
                found=f"{closing.value:g} in the final figures",
                do="write one log per run",
            )


def _windows(run: Run) -> int:
    return int(run.facts.get("windows", 0))
