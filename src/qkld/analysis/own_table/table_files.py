"""Files of tables: CSV and its kin, Markdown, Parquet, JSON of one quant or several, and folders of JSON."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from qkld.analysis.importing.delimited import TableInText, read_text_tables
from qkld.analysis.importing.reading import json_file
from qkld.analysis.own_table.cells import INVISIBLE
from qkld.errors import TableError
from qkld.study.parquet import read_frame
from qkld.study.texts import json_lines

FILE = "file"
"""Column that names the file of a row, where a folder has one file a quant."""

HEADERS = 4
"""Rows below the first in which the names of the columns are looked for."""

_DRESS = re.compile(r"</?[a-z]+\b[^>]*>|\\(?:up|down)arrow|\\(?:text|math)[a-z]{2}|[*`_↑↓▲▼→$\\{}]", re.IGNORECASE)
_EMPTY = re.compile(r"\(\s*\)|\[\s*\]")

EXPECTED = "CSV, TSV, a Markdown table, Parquet, JSON with a quant or a list of them, or a folder of such JSON files"


@dataclass(frozen=True)
class FileTable:
    """A table as it stands in a file: one quant a row, cells as they are, and what form it had."""

    cells: pd.DataFrame
    form: str
    notes: tuple[str, ...] = ()


def read_table_file(path: Path, wanted: Sequence[str]) -> FileTable:
    """The table of a file or folder; of several Markdown tables the one that has the ``wanted`` columns.

    A table with a quant a column is turned round where the wanted names are those of its rows.

    Raises
    ------
    TableError
        If it cannot be read, has no row, or does not say which of its tables is meant.
    """
    if path.is_dir() or path.suffix.lower() in (".json", ".jsonl", ".ndjson"):
        found = FileTable(_json_rows(path), "JSON")
    elif path.suffix.lower() in (".parquet", ".pq"):
        found = FileTable(_parquet(path), "Parquet")
    else:
        table = _chosen(path, read_text_tables(path), wanted)
        found = _under_header(FileTable(table.cells, table.form), wanted)
    if found.cells.empty:
        raise TableError(f"{path} is empty.", expected="one quant per row", found="no rows", do="fill it")
    return _turned(found, wanted)


def _parquet(path: Path) -> pd.DataFrame:
    try:
        table = read_frame(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    return table.reset_index() if table.index.name else table.set_axis(map(str, table.columns), axis=1)


def _unreadable(path: Path, found: object) -> TableError:
    return TableError(f"{path} cannot be read.", expected=EXPECTED, found=found, do="correct the path")


def plain_name(name: object) -> str:
    """A column's name without emphasis, tags, arrows, case and doubled white space, as it is compared."""
    bare = _DRESS.sub(" ", INVISIBLE.sub("", html.unescape(str(name))))
    return " ".join(_EMPTY.sub(" ", bare).split()).casefold()


def _chosen(path: Path, tables: Sequence[TableInText], wanted: Sequence[str]) -> TableInText:
    """The one table that has the wanted columns, or rows of these names."""
    if len(tables) == 1:
        return tables[0]
    names = {plain_name(name) for name in wanted}
    fitting = [t for t in tables if names <= {plain_name(c) for c in t.cells}] or [
        t for t in tables if names <= {plain_name(c) for c in t.cells.iloc[:, 0]}
    ]
    if len(fitting) == 1:
        return fitting[0]
    shown = "; ".join(f"line {t.line}: {', '.join(map(str, t.cells))[:120]}" for t in (fitting or tables)[:5])
    raise TableError(
        f"{path} holds {len(tables)} tables; {len(fitting) or 'none'} of them have the columns that you named.",
        expected=f"one table with {', '.join(wanted)}",
        found=shown,
        do="copy the table you mean into its own file, or name columns of one table",
    )


def _under_header(table: FileTable, wanted: Sequence[str]) -> FileTable:
    """The table under the row that has the wanted names, where titles or names of groups of columns stand above it.

    A column that this row leaves without a name keeps the one above. Without wanted names it is the first row with
    more than one.
    """
    names, cells = {plain_name(name) for name in wanted}, table.cells
    header = [str(c) for c in cells]
    if _has(header, names) or (names and names <= {plain_name(c) for c in cells.iloc[:, 0]}):
        return table
    for place in range(min(HEADERS, len(cells) - 1)):
        header = [own.strip() or above for own, above in zip(cells.iloc[place], header, strict=True)]
        if _has(header, names):
            lower = cells.iloc[place + 1 :].reset_index(drop=True).set_axis(header, axis=1)
            return FileTable(
                lower, table.form, (*table.notes, f"the names of the columns are those of row {place + 2}")
            )
    return table


def _has(header: Sequence[str], names: set[str]) -> bool:
    return names <= {plain_name(c) for c in header} and sum(c != "" for c in header) > 1


def _turned(table: FileTable, wanted: Sequence[str]) -> FileTable:
    """The table turned round where it has a quant a column: the wanted names stand in its first column."""
    names = {plain_name(name) for name in wanted}
    cells = table.cells
    here = {plain_name(c) for c in cells}
    below = [plain_name(c) for c in cells.iloc[:, 0]]
    if names <= here or not names <= set(below) or len(set(below)) < len(below):
        return table
    turned = cells.set_index(cells.columns[0]).T.rename_axis(index="quant", columns=None).reset_index()
    return FileTable(turned, table.form, (*table.notes, "read with a quant a column, turned round"))


# --- JSON -------------------------------------------------------------------------------------------------------------


def _json_rows(path: Path) -> pd.DataFrame:
    """Rows of a JSON file, a line each in JSON lines; or of every JSON file of a folder.

    A file of one quant, and every file of a folder, is named in the column `FILE`.
    """
    if not path.is_dir():
        rows = _rows_of(path)
        return pd.DataFrame([{FILE: path.stem, **rows[0]}] if len(rows) == 1 else rows, dtype=object)
    files = sorted(p for p in path.iterdir() if p.suffix.lower() == ".json")
    if not files:
        found = ", ".join(sorted(p.name for p in path.iterdir())[:8]) or "nothing"
        raise _unreadable(path, f"a folder without JSON files: {found}")
    rows = [{FILE: file.stem, **row} for file in files for row in _rows_of(file)]
    return pd.DataFrame(rows, dtype=object)


def _rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix.lower() != ".json":
        values = [line.value for line in json_lines(path, error=TableError, expected="one quant per line, as JSON")]
    else:
        values = _quants(json_file(path, expected=EXPECTED))
    if not values or not all(isinstance(value, dict) for value in values):
        found = f"{type(values[0]).__name__}: {json.dumps(values[0])[:80]}" if values else "nothing"
        raise _unreadable(path, f"JSON that is no quant: {found}")
    return [_flat(value) for value in values]


def _quants(value: Any) -> list[Any]:
    """The quants of a JSON value: a list, an object's one list, an object's own objects by label, or the object."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        return [value]
    lists = [v for v in value.values() if isinstance(v, list) and v and all(isinstance(row, dict) for row in v)]
    if len(lists) == 1:
        return lists[0]
    inner = list(value.values())
    alike = len(inner) > 1 and all(isinstance(v, dict) and v.keys() & inner[0].keys() for v in inner)
    return [{"label": name, **row} for name, row in value.items()] if alike else [value]


def _flat(value: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Nested objects as columns ``outer.inner``."""
    flat = {}
    for name, cell in value.items():
        if isinstance(cell, dict):
            flat.update(_flat(cell, f"{before}{name}."))
        else:
            flat[f"{before}{name}"] = cell
    return flat
