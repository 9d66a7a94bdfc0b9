"""What each part of the tests took beside what it may take: a report, which no slow machine turns into a failure."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from qkld.study.text_table import TextTable


@dataclass(frozen=True)
class Part:
    """A part of the tests: those with one of these markers, or in one of these files or folders.

    ``minutes`` are of one worker, three of which share two cores.
    """

    name: str
    minutes: float
    words: tuple[str, ...]

    def has(self, report: pytest.TestReport) -> bool:
        """Whether a test is of this part; one without words takes every test."""
        return not self.words or not report.keywords.keys().isdisjoint(self.words)


def parts(root: Path) -> list[Part]:
    """The parts that pyproject.toml names; a test is of the first that has it."""
    told = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["qkld"]["parts"]
    return [Part(part["name"], part["minutes"], tuple(part.get("words", ()))) for part in told]


def seconds_of(reports: Iterable[pytest.TestReport], named: Sequence[Part]) -> dict[str, float]:
    """Part → seconds that its tests took, fixtures and all, added over the workers."""
    seconds = dict.fromkeys((part.name for part in named), 0.0)
    for report in reports:
        seconds[next(part.name for part in named if part.has(report))] += report.duration
    return seconds


def lines(seconds: dict[str, float], named: Sequence[Part]) -> list[str]:
    """The table as lines, and a sentence about what is over its budget."""
    rows = [(p.name, f"{seconds[p.name] / 60:.1f}", f"{p.minutes:g}") for p in named if seconds[p.name]]
    over = [p.name for p in named if seconds[p.name] > 60 * p.minutes]
    table = TextTable("", "", ("part", "minutes of a worker", "budget"), tuple(rows))
    return [*table.lines(), f"over budget: {', '.join(over)}" if over else "every part is within its budget"]
