"""Results for people: figures, tables as text, sentences, reports, model cards, and all of `qkld analyse`."""

from __future__ import annotations

import importlib
from typing import Any

_OF_ANALYSE = {
    "PAPER": "qkld.report.own_table.run",
    "Columns": "qkld.analysis.own_table.measure",
    "Reading": "qkld.analysis.own_table.answers_by_item",
    "analyse_published": "qkld.report.published",
    "analyse_table": "qkld.report.own_table.run",
    "lines_of": "qkld.report.own_table.answer_in_words",
    "parse_item_counts": "qkld.analysis.own_table.zone_and_item_counts",
    "parse_zone": "qkld.analysis.own_table.zone_and_item_counts",
}
"""Name → module of what `qkld analyse` is made of: what imports a figure should not import all of that first."""

__all__ = sorted(_OF_ANALYSE)


def __getattr__(name: str) -> Any:
    if name not in _OF_ANALYSE:
        raise AttributeError(f"module 'qkld.report' has no attribute {name!r}")
    return getattr(importlib.import_module(_OF_ANALYSE[name]), name)
