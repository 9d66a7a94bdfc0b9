"""A plain table: CSV, TSV or Parquet with a row a model, benchmark and item."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from qkld.errors import TableError
from qkld.importing.columns import COLUMNS, OPTIONAL
from qkld.importing.delimited import DELIMITERS

TEXTS = ("model", "benchmark", "item", "request", "metric", "metrics", "cluster", "answer")
"""Columns read as text, so that item 007 does not become 7."""


def read_long_table(path: Path, *, label: str | None = None) -> pd.DataFrame:
    """Items of a table; a file of one model may leave the column ``model`` out where a label is given.

    Optional columns without a value are left out.

    Raises
    ------
    TableError
        If the file can not be read, or a column of `COLUMNS` is missing.
    """
    try:
        items = pd.read_parquet(path) if path.suffix == ".parquet" else _read_delimited(path)
    except (OSError, ValueError) as error:
        raise TableError(
            f"{path} can not be read.",
            expected="a Parquet or CSV file, or a folder of lm-evaluation-harness samples",
            found=error,
            do="mend the path",
        ) from error
    if label is not None and "model" not in items:
        items = items.assign(model=label)
    lacking = [c for c in COLUMNS if c not in items]
    if lacking or items.empty:
        raise TableError(
            f"{path} is no table of items.",
            expected=f"columns {COLUMNS}, one row a model, benchmark and item",
            found=f"missing {lacking}, {len(items)} rows",
            do="bring it into this long form",
        )
    return items[[*COLUMNS, *(c for c in OPTIONAL if c in items and items[c].notna().any())]]


def _read_delimited(path: Path) -> pd.DataFrame:
    """The rows of a text file, its cells between commas, semicolons or tabs, as its header has them."""
    with path.open(encoding="utf-8-sig") as file:
        header = file.readline()
    sign = max(DELIMITERS, key=header.count)
    return pd.read_csv(path, sep=sign, dtype=dict.fromkeys(TEXTS, str), decimal="," if sign == ";" else ".")
