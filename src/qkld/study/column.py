"""What a column of a result table is: its meaning, its unit, and what stands in it where nothing is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

WORDS = "words"
"""Unit of a column that holds words."""


@dataclass(frozen=True)
class Column:
    """One column: its meaning, its unit (none for a pure number), and what stands in it where nothing is known.

    A count that is made before anything is estimated is 0 there, words are empty, any other number is missing.
    """

    meaning: str
    unit: str = ""
    empty: float | str = math.nan


def ends(stem: str) -> tuple[str, str]:
    """Names of an interval's two columns: ``zmax_low, zmax_high``."""
    return f"{stem}_low", f"{stem}_high"


def interval(name: str) -> tuple[str, str, str]:
    """Names of an estimate's column and its interval's: ``auroc, auroc_low, auroc_high``."""
    return name, *ends(name)


def columns_of(
    unit: str,
    meanings: Mapping[str, str],
    *,
    intervals: Mapping[str, str] | None = None,
    empty: float | str = math.nan,
) -> dict[str, Column]:
    """Columns of one unit by name. ``intervals`` says of what ``<name>_low`` and ``<name>_high`` are the ends."""
    found = dict(meanings)
    for stem, of_what in (intervals or {}).items():
        low, high = ends(stem)
        whole = f"{stem}'s {of_what.removeprefix('its ')}" if of_what.startswith("its ") else of_what
        found |= {high: f"upper end of {whole}", low: f"lower end of {whole}"}
    return {name: Column(meaning, unit, empty) for name, meaning in found.items()}
