"""Answers of a table's models, read and cut to the table as `qkld analyse --items` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qkld.analysis.own_table.answers_by_item import OwnItems, Reading, items_of, load_items


def read_own_items(
    path: Path,
    *,
    quants: Sequence[str],
    reference: str | None,
    scores: Sequence[str],
    missing: str = "refuse",
    reading: Reading | None = None,
) -> OwnItems:
    """What a file or folder has of these models and scores."""
    loaded = load_items(path, reading or Reading(), scores)
    return items_of(loaded, quants=quants, reference=reference, scores=scores, missing=missing)
