"""Which rows of a table are models: not the headings between them, nor the averages and sums below."""

from __future__ import annotations

import re

import pandas as pd

from qkld.analysis.own_table.labels import folded

SUMMARY = re.compile(
    r"(?:(?:overall|grand|column)[ _-]?)?(?:average|avg\.?|mean|median|total|sum|minimum|maximum|min\.?|max\.?|range"
    r"|std\.?|std\.? ?dev\.?|stdev|variance|count|mittel|mittelwert|durchschnitt|schnitt|summe|gesamt"
    r"|moyenne|moy\.?|somme|écart[ -]type|media|promedio|totale|σ|μ|∑)(?: of all)?",
    re.IGNORECASE,
)
"""Labels of rows that sum others up."""

EMPTY = frozenset({"", "nan", "None", "<NA>", "NaT"})
"""Cells without anything in them, as text."""


def without_headings(table: pd.DataFrame, reference: str | None) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The table without rows that hold one cell alone, as headings between groups do; and what these were.

    A row named as the reference stays.
    """
    filled = table.map(lambda cell: str(cell).strip() not in EMPTY)
    counted = filled.sum(axis=1)
    named = [
        next((str(cell).strip() for cell in row if str(cell).strip() not in EMPTY), "") for row in table.to_numpy()
    ]
    own = pd.Series([name != "" and name == reference for name in named], index=table.index)
    headings = (counted == 1) & (counted.max() > 1) & ~own
    passed = [name for name, heading in zip(named, headings, strict=True) if heading]
    return table[~headings].reset_index(drop=True), _said("with nothing but a name", passed)


def without_summaries(
    table: pd.DataFrame, labels: pd.Series, reference: str | None
) -> tuple[pd.DataFrame, pd.Series, tuple[str, ...]]:
    """Table and labels without rows that sum the others up, by their label; and what these were.

    A table that says each row's role keeps all, and a row named as the reference stays.
    """
    own = None if reference is None else folded(reference)
    found = labels.map(lambda label: bool(SUMMARY.fullmatch(label.strip(" :*"))) and folded(label) != own)
    if "role" in table or found.all():
        return table, labels, ()
    kept = [part[~found].reset_index(drop=True) for part in (table, labels)]
    return *kept, _said("no quants but sums of others", list(labels[found]))


def _said(what: str, rows: list[str]) -> tuple[str, ...]:
    return (f"rows left out, {what}: {', '.join(rows[:8])}{' and more' if len(rows) > 8 else ''}",) if rows else ()
