"""Text files of tables: commas, semicolons, tabs, Markdown; cells stay the text that they are."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from qkld.errors import TableError
from qkld.study.texts import lines, read_text

DELIMITERS = {"\t": "tabs", ";": "semicolons", ",": "commas"}
"""Signs between cells, the likeliest to be meant where several occur first."""

_RULE = re.compile(r"^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$")
_BAR = re.compile(r"(?<!\\)\|")
_ESCAPED = re.compile(r"\\([*_`|~#\[\]])")
_EXCEL = re.compile(r"^sep=(.)$")


@dataclass(frozen=True)
class TableInText:
    """A table as it stands in a file.

    Attributes
    ----------
    cells : text cells under the header's names; empty where a row is short
    form : ``Markdown``, or the name of the sign between cells
    line : the header's line in the file, from 1
    """

    cells: pd.DataFrame
    form: str
    line: int


def read_text_tables(path: Path) -> list[TableInText]:
    """Every table of a text file: those of a Markdown file, else the file as one table.

    Raises
    ------
    TableError
        If the file cannot be read, holds no row, or a row has more cells than the header.
    """
    text = read_text(path, error=TableError)
    found = list(_markdown_tables(text, path)) or [_delimited_table(text, path)]
    whole = [table for table in found if len(table.cells)]
    if not whole:
        raise TableError(f"{path} is empty.", expected="a header and at least one row", found="no rows", do="fill it")
    return whole


# --- commas, semicolons, tabs -----------------------------------------------------------------------------------------


def _delimited_table(text: str, path: Path) -> TableInText:
    named = _EXCEL.match(text.partition("\n")[0])
    skipped = 1 if named else _title_lines(lines(text))
    rest = "\n".join(lines(text)[skipped:])
    sign = named[1] if named else _delimiter(rest)
    rows = _rows(rest, sign, path)
    if not rows:
        return TableInText(pd.DataFrame(), DELIMITERS.get(sign, sign), 1)
    return TableInText(_framed(rows, path), DELIMITERS.get(sign, repr(sign)), rows[0][0] + skipped)


def _title_lines(every: Sequence[str]) -> int:
    """How many lines stand above the header: those without any sign between cells, where later ones have some."""
    split = [any(sign in line for sign in DELIMITERS) for line in every]
    return split.index(True) if any(split) else 0


def _delimiter(text: str) -> str:
    """The sign that splits every line into as many cells as the header; else the header's most frequent."""
    header = next((line for line in lines(text) if line.strip()), "")
    present = [sign for sign in DELIMITERS if sign in header]
    for sign in present:
        try:
            widths = {len(row) for row in csv.reader(io.StringIO(text, newline=""), delimiter=sign) if any(row)}
        except csv.Error:
            continue
        if len(widths) == 1:
            return sign
    return max(present, key=header.count, default=",")


def _rows(text: str, sign: str, path: Path) -> list[tuple[int, list[str]]]:
    """(line, its cells) of every row that is not empty."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=sign, skipinitialspace=True)
    try:
        return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise _unreadable(path, reader.line_num, f"cells separated by {DELIMITERS.get(sign, sign)}", error) from error


# --- Markdown ---------------------------------------------------------------------------------------------------------


def _markdown_tables(text: str, path: Path) -> Iterator[TableInText]:
    """Tables whose header stands above a line of dashes and bars."""
    every = lines(text)
    for number, line in enumerate(every):
        above = every[number - 1] if number else ""
        if _RULE.match(line) and "|" in line + above and "-" in line and "|" in above:
            rows = [(number, _bars(above))]
            for below, row in enumerate(every[number + 1 :], start=number + 2):
                if "|" not in row:
                    break
                rows.append((below, _bars(row)))
            yield TableInText(_framed(rows, path), "Markdown", number)


def _bars(line: str) -> list[str]:
    inner = line.strip()
    inner = inner[1:] if inner.startswith("|") else inner
    inner = inner[:-1] if inner.endswith("|") and not inner.endswith("\\|") else inner
    return [_ESCAPED.sub(r"\1", cell.strip()) for cell in _BAR.split(inner)]


# --- rows under a header ----------------------------------------------------------------------------------------------


def _framed(rows: Sequence[tuple[int, list[str]]], path: Path) -> pd.DataFrame:
    """Rows under the header's names; columns without name and content are left out."""
    header = [name.strip() for name in rows[0][1]]
    cells = []
    for line, row in rows[1:]:
        if any(cell.strip() for cell in row[len(header) :]):
            raise _unreadable(path, line, f"{len(header)} cells, as the header has", f"{len(row)}: {row[:8]}")
        cells.append([*row[: len(header)], *[""] * (len(header) - len(row))])
    table = pd.DataFrame(cells, columns=range(len(header)), dtype=object)
    kept = [i for i, name in enumerate(header) if name or table[i].map(str.strip).any()]
    return table[kept].set_axis([header[i] for i in kept], axis=1)


def _unreadable(path: Path, line: int, expected: str, found: object) -> TableError:
    return TableError(
        f"{path}, line {line}, is not a row of the table.",
        expected=expected,
        found=found,
        do="correct the line; put a cell that contains the separator in quotes",
    )
