"""A plain table: CSV, TSV, JSON lines or Parquet with a row a model, benchmark and item."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from qkld.analysis.importing.choice_columns import with_probabilities
from qkld.analysis.importing.delimited import DELIMITERS
from qkld.analysis.importing.imported_items import COLUMNS, OPTIONAL
from qkld.analysis.importing.reading import json_file, json_lines, unreadable
from qkld.errors import TableError
from qkld.study.parquet import read_frame

TEXTS = ("model", "benchmark", "item", "request", "metric", "metrics", "cluster", "answer")
"""Columns read as text, so that item 007 does not become 7."""


WORDS = dict.fromkeys(("yes", "y", "true", "t", "right", "correct", "pass", "passed"), 1) | dict.fromkeys(
    ("no", "n", "false", "f", "wrong", "incorrect", "fail", "failed"), 0
)
"""Words for a right and a wrong answer, in lower case."""

EXPECTED = "a CSV, JSON lines or Parquet file, or a folder of lm-evaluation-harness samples"


def read_long_table(path: Path, *, label: str | None = None) -> pd.DataFrame:
    """Items of a table; a file of one model may leave the column ``model`` out where a label is given.

    Names of columns may differ in case and in their spaces; ``correct`` may be yes and no, true and false, right and
    wrong, or passed and failed. Optional columns without a value are left out. Columns of each choice give the
    probability of the right one: see `with_probabilities`.

    Raises
    ------
    TableError
        If the file cannot be read, a column of `COLUMNS` is missing, or as `with_probabilities`.
    """
    items = _named(_read(path))
    if label is not None and "model" not in items:
        items = items.assign(model=label)
    lacking = [c for c in COLUMNS if c not in items]
    if lacking or items.empty:
        raise TableError(
            f"{path} is not a table of items.",
            expected=f"columns {COLUMNS}, one row per model, benchmark and item",
            found=f"missing {lacking}, {len(items)} rows; the file has {[str(c) for c in items][:12]}",
            do="convert it to this long form",
        )
    items = with_probabilities(items.assign(correct=_answers(items["correct"])), source=str(path))
    return items[[*COLUMNS, *(c for c in OPTIONAL if c in items and items[c].notna().any())]]


def _read(path: Path) -> pd.DataFrame:
    kind = path.suffix.lower()
    if kind in (".jsonl", ".ndjson", ".json"):
        return _read_json(path)
    try:
        return read_frame(path) if kind == ".parquet" else _read_delimited(path)
    except (OSError, ValueError) as error:
        raise TableError(f"{path} cannot be read.", expected=EXPECTED, found=error, do="correct the path") from error


def _read_json(path: Path) -> pd.DataFrame:
    """A row of every object: one a line, or those of a list."""
    expected = "an object a line, or a list of objects, each an item with its model, benchmark and correct"
    if path.suffix.lower() == ".json":
        rows = json_file(path, expected=expected)
    else:
        rows = [value for _, value in json_lines(path, expected=expected)]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise unreadable(path, expected, type(rows).__name__ if not isinstance(rows, list) else "other values")
    return pd.DataFrame(rows)


def _named(items: pd.DataFrame) -> pd.DataFrame:
    """Columns under the names of `COLUMNS` and `OPTIONAL` where they differ in case, spaces or hyphens alone."""
    known = {c: name for c in items if (name := _plain(c)) in (*COLUMNS, *OPTIONAL) and name not in items}
    return items.rename(columns=known) if len(set(known.values())) == len(known) else items


def _plain(column: object) -> str:
    return "_".join(str(column).lower().replace("-", " ").split())


def _answers(correct: pd.Series) -> pd.Series:
    """Words for right and wrong as 1 and 0; anything else as it is, for the check of items to judge."""
    if pd.api.types.is_numeric_dtype(correct) or pd.api.types.is_bool_dtype(correct):
        return correct
    words = correct.map(lambda value: WORDS.get(str(value).strip().lower(), value))
    numbers = pd.to_numeric(words, errors="coerce")
    return numbers if (numbers.notna() == words.notna()).all() else words


def _read_delimited(path: Path) -> pd.DataFrame:
    """The rows of a text file, its cells between commas, semicolons or tabs, as its header has them."""
    with path.open(encoding="utf-8-sig") as file:
        header = file.readline()
    sign = max(DELIMITERS, key=header.count)
    names = pd.read_csv(path, sep=sign, nrows=0).columns
    texts = {name: str for name in names if _plain(name) in TEXTS}
    return pd.read_csv(path, sep=sign, dtype=texts, decimal="," if sign == ";" else ".")
