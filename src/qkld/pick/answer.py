"""The answer: one row a file, by size, and the sentences below the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from qkld.report.numbers import significant
from qkld.statistics.flips.decision import EQUIVALENT, UNDECIDED, WORSE
from qkld.study.text_table import TextTable

Interval = tuple[float, float, float]
"""An estimate with the ends of its interval."""

Speeds = tuple[tuple[int, float, float], ...]
"""At each length of prompt: its tokens, and tokens a second of the prompt and of what is written behind it."""

NONE = "–"
LEFT_OUT = "left out"
"""Decision about a file that was given no items."""


@dataclass(frozen=True)
class Row:
    """What is known of one file; None for what was not measured. Scores are differences to the reference's."""

    label: str
    kind: str
    size: int | None
    bits: float
    kld: Interval | None = None
    top1: float | None = None
    accuracy: Interval | None = None
    probability: Interval | None = None
    items: int = 0
    decision: str = LEFT_OUT
    items_needed: float | None = None
    note: str = ""
    speed: Speeds | None = None


@dataclass(frozen=True)
class Answer:
    """The rows, by falling size, and everything that is said below them.

    ``seconds_an_item`` is of the slowest file, and None where none was run here. ``speed_of_reference`` and
    ``speed_measured`` are the reference's speed, and where all of them were measured, where they were asked for.
    """

    rows: tuple[Row, ...]
    reference: str
    margin: float
    primary: str
    confidence: float
    notes: tuple[str, ...] = ()
    seconds_an_item: float | None = None
    made_by: dict[str, Any] | None = None
    speed_of_reference: Speeds | None = None
    speed_measured: tuple[str, ...] = ()

    @property
    def sentences(self) -> list[str]:
        """What to take, and what would settle the rest."""
        return [self._shown(), self._not_worse(), *self._open(), *self.notes]

    def _shown(self) -> str:
        found = [row for row in self.rows if row.decision == EQUIVALENT]
        within = f"shown equivalent to {self.reference}, within {_points(self.margin)}"
        if not found:
            return f"No file is {within}."
        return f"Smallest file {within}: {_named(_smallest(found))}."

    def _not_worse(self) -> str:
        asked = [row for row in self.rows if row.decision != LEFT_OUT]
        found = [row for row in asked if row.decision != WORSE]
        if not found:
            return "Every file that was asked is shown worse." if asked else "No file was asked any item."
        smallest = _smallest(found)
        still = ", but undecided" * (smallest.decision == UNDECIDED)
        return f"Smallest file not shown worse: {_named(smallest)}{still}."

    def _open(self) -> list[str]:
        undecided = [row for row in self.rows if row.decision == UNDECIDED]
        if not undecided:
            return []
        each = "; ".join(self._settles(row) for row in undecided)
        return [f"Undecided, and how many more items would decide it if the difference seen is the true one: {each}."]

    def _settles(self, row: Row) -> str:
        if not row.items:
            return f"{row.label} (none asked yet)"
        if row.items_needed is None or not np.isfinite(row.items_needed):
            return f"{row.label} (no number)"
        more = max(0.0, row.items_needed - row.items)
        time = "" if self.seconds_an_item is None else f", {duration(2 * more * self.seconds_an_item)} here"
        return f"{row.label} (about {_about(more)}{time})"

    def lines(self) -> list[str]:
        """Table and sentences for a terminal."""
        return [*self.table.lines(), *self._below]

    def page(self, command: str) -> str:
        """The same as Markdown: the table as a terminal shows it below the command, and what follows as a quotation."""
        table, below = "\n".join(self.table.lines()), "\n>\n".join(f"> {line}" for line in self._below)
        return f"```text\n$ {command}\n{table}\n```\n\n{below}"

    @property
    def _below(self) -> list[str]:
        return [*self._explained(), *self._speed_note(), *self.sentences]

    def _explained(self) -> list[str]:
        """What the columns and the decisions are, for who sees nothing but these lines."""
        level = f"{100 * self.confidence:g} %"
        return [
            f"Bits are per weight. KLD is the divergence from {self.reference} per token; top-1, how often both have "
            "the same most likely token. Accuracy and probability, that of the right choice, are differences to "
            f"{self.reference} in points. In brackets: {level} intervals of each file alone.",
            f"Decisions are by {WORDS[self.primary]}. Equivalent: the difference is shown to be below "
            f"{_points(self.margin)}; worse: a loss is shown; undecided: neither is shown. With {level} confidence no "
            "decision is wrong, over all files and rounds.",
        ]

    def _speed_note(self) -> list[str]:
        if not self.speed_measured:
            return []
        prefill, decoding = _speed_cells(self.speed_of_reference)
        return [
            f"Speed is in tokens a second: prefill of prompts of {self._lengths} tokens, and decoding behind each; it "
            f"is in no decision. Measured here in {'; '.join(self.speed_measured)}. "
            f"The reference: {prefill}; {decoding}."
        ]

    @property
    def _lengths(self) -> str:
        known = next(speed for speed in (self.speed_of_reference, *(row.speed for row in self.rows)) if speed)
        return " and ".join(f"{prompt}" for prompt, *_ in known)

    @property
    def table(self) -> TextTable:
        size = ("GB",) if self._has_sizes else ()
        header = ("file", *size, "bits", "KLD, nats", "top-1, %", "accuracy, points", "probability, points", "items")
        speed = ("prefill", "decoding") if self.speed_measured else ()
        cells = tuple(
            (
                *_cells(row, sized=self._has_sizes),
                *(_speed_cells(row.speed) if speed else ()),
                f"{row.decision}{_in_brackets(row.note)}",
            )
            for row in self.rows
        )
        return TextTable("", "", (*header, *speed, "decision"), cells, words=frozenset({"decision"}))

    @property
    def _has_sizes(self) -> bool:
        """Whether a file's size is known: studies and tables have bits per weight alone."""
        return any(row.size is not None for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values; what is not known, or not finite, is null."""
        rows = [{name: _known(value) for name, value in asdict(row).items()} for row in self.rows]
        return {**asdict(self), "rows": rows, "sentences": self.sentences}


WORDS = {"accuracy": "accuracy", "probability": "the probability of the right choice"}


def _cells(row: Row, *, sized: bool) -> tuple[str, ...]:
    size = (NONE if row.size is None else f"{row.size / 1e9:.3g}",) if sized else ()
    return (
        row.label,
        *size,
        f"{row.bits:.2f}" if np.isfinite(row.bits) else NONE,
        _interval(row.kld, 1, significant),
        NONE if row.top1 is None else f"{100 * row.top1:.1f}",
        _interval(row.accuracy, 100, _signed),
        _interval(row.probability, 100, _signed),
        f"{row.items:,}",
    )


def _speed_cells(speeds: Speeds | None) -> tuple[str, str]:
    """Prefill and decoding at both lengths, three digits each."""
    if speeds is None:
        return NONE, NONE
    prefill, decoding = (" / ".join(_digits(speed[at]) for speed in speeds) for at in (1, 2))
    return prefill, decoding


def _digits(number: float) -> str:
    return f"{number:.3g}" if number < 1000 else f"{float(f'{number:.3g}'):,.0f}"


def _in_brackets(note: str) -> str:
    return f" ({note})" if note else ""


def _smallest(rows: Sequence[Row]) -> Row:
    """The last: rows are by falling size."""
    return rows[-1]


def _named(row: Row) -> str:
    known = [f"{row.size / 1e9:.3g} GB"] if row.size else []
    known += [f"{row.bits:.2f} bits"] if np.isfinite(row.bits) else []
    return f"{row.label} ({', '.join(known)})" if known else row.label


def _interval(values: Interval | None, scale: float, shown: Any) -> str:
    if values is None:
        return NONE
    middle, low, high = (shown(scale * v) for v in values)
    return f"{middle} [{low}, {high}]"


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _points(share: float) -> str:
    return f"{100 * share:g} point{'' if share == 0.01 else 's'}"


def _about(number: float) -> str:
    """A count to two digits."""
    return f"{float(f'{number:.2g}'):,.0f}"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
