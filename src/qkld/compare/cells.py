"""Numbers and rows of a comparison as cells of text and of JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from qkld.report.numbers import significant


def signed(value: float) -> str:
    """Four significant digits with a true minus sign."""
    return ("−" if value < 0 else "") + significant(abs(value), 4)


def ends(row: Mapping[str, Any], prefix: str = "", *, scale: float = 1) -> str:
    """``[low, high]`` of a row, or nothing where there is no interval."""
    low, high = (scale * row[f"{prefix}{end}"] for end in ("low", "high"))
    return "" if math.isnan(low) or math.isnan(high) else f"[{signed(low)}, {signed(high)}]"


def aligned(rows: list[tuple[str, ...]]) -> str:
    """Rows as lines whose columns begin below each other."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def plain_rows(table: pd.DataFrame | None) -> list[dict[str, Any]] | None:
    """Rows as JSON values: an empty number is null, an infinite one ``"inf"``."""
    if table is None:
        return None
    return [{name: _plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
