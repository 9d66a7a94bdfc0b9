"""What was tried and what became of it: one count a kind of fault, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qkld.study.provenance import made_by, write_json, written_whole
from qkld.study.text_table import TextTable

COLUMNS = ("fault", "tried", "noticed", "no effect", "lost", "what was held to it")


@dataclass(frozen=True)
class Count:
    """What became of one kind of fault.

    Attributes
    ----------
    fault : str
        In words.
    tried : int
        How many were made.
    noticed : int
        Those that were reported in a message of ours, or, of kills, that took a job which was made again.
    harmless : int
        Those after which every number was as before, without a message.
    lost : int
        All others: a number that changed without a word, finished work that was gone, or an error without a message.
    held : str
        What was compared.
    """

    fault: str
    tried: int
    noticed: int
    harmless: int
    lost: int
    held: str

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        return (self.fault, *(f"{n:,}" for n in (self.tried, self.noticed, self.harmless, self.lost)), self.held)


def table(counts: Sequence[Count]) -> str:
    """The counts as Markdown."""
    return TextTable("", "", COLUMNS, tuple(c.cells() for c in counts), words=frozenset({COLUMNS[-1]})).markdown()


def write_record(folder: Path, counts: Sequence[Count], more: dict[str, Any]) -> str:
    """``soak.json`` with every number and what made it, and ``soak.md``; returns the latter's text."""
    text = table(counts) + "\n"
    write_json(folder / "soak.json", {"counts": [asdict(c) for c in counts], "made_by": made_by(), **more})
    with written_whole(folder / "soak.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return text
