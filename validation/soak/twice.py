"""One study started twice at once: one runs, the other says in a sentence who does."""

from __future__ import annotations

from pathlib import Path

from validation.soak.record import Count
from validation.soak.studies import StudyFolder, same_tables

REFUSED = "is in use by another process"


def started_twice(place: StudyFolder) -> tuple[int, int]:
    """Two runs started in the same moment: how many ended well, and how many were refused in a sentence."""
    logs = [place.folder / f"twice-{i}.txt" for i in range(2)]
    for log in logs:
        log.unlink(missing_ok=True)
    runs = [place.start(log=log) for log in logs]
    ended = [(run.wait(), log.read_text(errors="replace")) for run, log in zip(runs, logs, strict=True)]
    refused = sum(status == 2 and REFUSED in words and "Traceback" not in words for status, words in ended)
    return sum(status == 0 for status, _ in ended), refused


def twice_count(place: StudyFolder, unbroken: Path, number: int) -> Count:
    """Start a study twice, so many times; the row of the record."""
    outcomes = [started_twice(place) for _ in range(number)]
    tables = same_tables(unbroken, place.run)
    noticed = sum(outcome == (1, 1) for outcome in outcomes)
    harmless = sum(outcome == (2, 0) for outcome in outcomes)  # the first had ended before the second looked
    held = f"{tables} tables; the second names the first's process"
    return Count("one study started twice", number, noticed, harmless, number - noticed - harmless, held)
