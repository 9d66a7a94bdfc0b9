"""Every number that a report or the README prints, under one flat key each, and how it is printed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from qkld.errors import StageError, TableError
from qkld.statistics.prompts.prompt_rows import ALL_PAIRS
from qkld.study.registry import OF_STUDIES
from qkld.study.schemas import COHORT

SEPARATOR = "/"

KEYS: Mapping[str, tuple[str, ...]] = {
    COHORT.name: COHORT.key,
    **{name: table.key for name, table in OF_STUDIES.items()},
}
"""Table → the columns that tell its rows apart, in the order in which they stand in a key."""

NOT_AVAILABLE = "not available"


def _plain(value: Any) -> Any:
    """A JSON value: NaN and empty become None, an infinity its name."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return None if pd.isna(value) else value


def flat_numbers(tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """``table/key/…/column`` → value, for every cell of the tables that is not itself part of a key.

    A number that could not be computed is None; ``…/note`` beside it says why. Of the router only all pairs together
    enter: single pairs are in its CSV file.

    Raises
    ------
    TableError
        If a table is not one of `KEYS`, lacks a key column, or has two rows with one key.
    """
    numbers: dict[str, Any] = {}
    for name, table in tables.items():
        keys = _key_columns(name, table)
        rows = table[table["label_a"] == ALL_PAIRS] if name == "router" else table
        for row in rows.to_dict("records"):
            place = SEPARATOR.join([name, *(str(row[k]) for k in keys)])
            for column, value in row.items():
                if column not in keys:
                    numbers[f"{place}{SEPARATOR}{column}"] = _plain(value)
    return numbers


def _key_columns(name: str, table: pd.DataFrame) -> list[str]:
    missing = [k for k in KEYS.get(name, ()) if k not in table]
    if name not in KEYS or missing:
        raise TableError(
            f"Table '{name}' cannot be turned into numbers.",
            expected=f"one of {list(KEYS)} with its key columns {KEYS.get(name, ())}",
            found=f"columns {list(table.columns)}",
            do="make the table again with this version of qkld",
        )
    keys = list(KEYS[name])
    if table.duplicated(keys).any():
        raise TableError(
            f"Table '{name}' has the same key twice.",
            expected=f"one row for each {keys}",
            found=table.loc[table.duplicated(keys), keys].head(3).to_dict("records"),
            do="find the notebook that wrote both",
        )
    return keys


def number(numbers: Mapping[str, Any], *parts: str) -> Any:
    """The value under the key of these parts; None where it could not be computed.

    Raises
    ------
    StageError
        If there is no such key.
    """
    key = SEPARATOR.join(parts)
    if key not in numbers:
        near = [k for k in numbers if k.startswith(parts[0] + SEPARATOR) and k.endswith(SEPARATOR + parts[-1])][:3]
        raise StageError(
            f"There is no value named '{key}'.", expected=f"a key such as {near}", found=key, do="correct the key"
        )
    return numbers[key]


# --- printing ---------------------------------------------------------------------------------------------------------


def printed(value: Any, digits: int = 2, *, percent: bool = False) -> str:
    """A number as text with ``digits`` decimals and a true minus sign; None and NaN as `NOT_AVAILABLE`."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NOT_AVAILABLE
    if isinstance(value, str):
        return value
    return f"{100 * value if percent else value:.{digits}f}".replace("-", "−")


def significant(value: Any, digits: int = 3) -> str:
    """A positive quantity over many orders of magnitude, such as a KLD, with that many significant digits."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NOT_AVAILABLE
    if value == 0:
        return "0"
    return f"{value:#.{digits}g}".rstrip(".").replace("e-0", "e-").replace("-", "−")


def size_text(value: float) -> str:
    """A size to four digits; from 100,000, as bytes are, in whole numbers."""
    return f"{value:.4g}" if abs(value) < 1e5 else f"{value:,.0f}"


def p_value(value: Any) -> str:
    """A p as text: three decimals, and ``< 0.001`` below that."""
    if value is None or math.isnan(value):
        return NOT_AVAILABLE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def with_interval(row: Mapping[str, Any], column: str = "estimate", digits: int = 2, *, percent: bool = False) -> str:
    """``estimate [low, high]`` of a row; without the brackets where there is no interval."""
    middle = printed(row[column], digits, percent=percent)
    ends = [row.get("low"), row.get("high")]
    if middle == NOT_AVAILABLE or any(e is None or math.isnan(e) for e in ends):
        return middle
    return f"{middle} [{', '.join(printed(e, digits, percent=percent) for e in ends)}]"
