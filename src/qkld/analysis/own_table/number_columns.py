"""Columns of cells as numbers: one decimal sign and one unit a column, and what was read besides."""

from __future__ import annotations

import numbers
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from qkld.analysis.own_table.cells import BYTES, Cell, Unread, decimal_sign, number_of, parse_cell
from qkld.errors import TableError

NAMED = 8
"""Cells that a message names before it counts the rest."""

SIGNS = {".": "a decimal point", ",": "a decimal comma"}


@dataclass(frozen=True)
class Numbers:
    """A column as numbers.

    Attributes
    ----------
    values : NaN where a cell stands for no value
    errors : what stood after ±, in the same unit; None where no cell has one
    unit : as the cells have it, in lower case; ``bytes`` where they have several sizes; empty where they have none
    items : the number of items of shares written ``12/30``, where it is the same in every cell
    said : what was read besides digits, for a reader
    """

    values: pd.Series
    errors: pd.Series | None
    unit: str
    items: int | None
    said: tuple[str, ...]


@dataclass(frozen=True)
class _Bad:
    """A cell that is refused: its place, its text, and the readings that it leaves open."""

    column: str
    row: int
    text: object
    readings: tuple[str, ...] = ()

    def __str__(self) -> str:
        readings = f", either {' or '.join(self.readings)}" if self.readings else ""
        return f"{self.text!r} in {self.column}, row {self.row + 1}{readings}"


def read_numbers(table: pd.DataFrame, columns: Sequence[str], *, source: str, form: str) -> dict[str, Numbers]:
    """The named columns as numbers.

    A comma or point before three digits is a decimal sign or stands between thousands: the column's other cells decide,
    else all cells of the table, else a point is the decimal sign of a file without semicolons.

    Raises
    ------
    TableError
        Naming every cell that is no number, and both readings of every cell that has two.
    """
    usual = _decimal_of_table(table) or ("." if form != "semicolons" else None)
    only_points = _decimal_of_table(table) is None
    found, bad = {}, []
    for column in dict.fromkeys(columns):
        cells, wrong = _parsed(table[column], column)
        decimal, undecided = _decimal_of_column(cells, column, usual, only_points)
        bad += [*wrong, *undecided]
        if not (wrong or undecided):
            unit, mixed = _unit(cells, column, decimal)
            bad += mixed
            found[column] = _numbers(cells, table.index, decimal, unit)
    if bad:
        raise _refused(source, bad)
    return found


def _refused(source: str, bad: Sequence[_Bad]) -> TableError:
    more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
    twofold = any(cell.readings for cell in bad)
    what = "can be read in two ways" if all(cell.readings for cell in bad) else "are not numbers"
    return TableError(
        f"{source} has cells that {what}.",
        expected="finite numbers, optionally with ±, a unit or marks; or an empty cell",
        found="; ".join(map(str, bad[:NAMED])) + more,
        do="write these cells unambiguously"
        if twofold
        else "correct those cells, name another column, or empty them and leave these quants out with --missing drop",
    )


def _parsed(column: pd.Series, name: str) -> tuple[list[Cell | float | None], list[_Bad]]:
    """Each cell's parts, a number that is one already, or None; and the cells that are neither."""
    cells: list[Cell | float | None] = []
    bad = []
    for row, value in enumerate(column):
        try:
            cells.append(_cell(value))
        except Unread as error:
            cells.append(None)
            bad.append(_Bad(name, row, value, error.readings))
    return cells, bad


def _cell(value: object) -> Cell | float | None:
    if isinstance(value, str):
        cell = parse_cell(value)
        for digits in () if cell is None else (cell.value, cell.error):
            if digits is not None:
                decimal_sign(digits)  # refuses signs in places that no reading has
        return cell
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_):
        if np.isnan(float(value)):
            return None
        if np.isfinite(float(value)):
            return float(value)
    raise Unread


# --- decimal signs ----------------------------------------------------------------------------------------------------


def _signs(cells: Sequence[Cell | float | None]) -> set[str]:
    """The decimal signs that these cells show by their own form."""
    digits = [d for c in cells if isinstance(c, Cell) and c.of is None for d in (c.value, c.error) if d is not None]
    shown = {decimal_sign(d) for d in digits} & set(SIGNS)
    return shown | ({"."} if any(isinstance(c, float) for c in cells) else set())


def _decimal_of_table(table: pd.DataFrame) -> str | None:
    """The one decimal sign that cells of a table show; None where they show none or both."""
    shown = set().union(*(_signs(_parsed(table.iloc[:, i], "")[0]) for i in range(table.shape[1])))
    return shown.pop() if len(shown) == 1 else None


def _decimal_of_column(
    cells: Sequence[Cell | float | None], name: str, usual: str | None, only_points: bool
) -> tuple[str, list[_Bad]]:
    shown = _signs(cells)
    if len(shown) == 1:
        return shown.pop(), []
    open_ = [(row, c) for row, c in enumerate(cells) if isinstance(c, Cell) and _is_open(c)]
    if len(shown) == 2:
        rows = {sign: next(r for r, c in enumerate(cells) if sign in _signs([c])) for sign in SIGNS}
        both = f"{SIGNS['.']} as in row {rows['.'] + 1}", f"{SIGNS[',']} as in row {rows[','] + 1}"
        return ".", [_Bad(name, row, c.value, both) for row, c in open_] or [
            _Bad(name, rows[","], cells[rows[","]].value, ("a decimal comma", "a comma between thousands"))
        ]
    if usual is None or (only_points and any("," in (c.value + (c.error or "")) for _, c in open_)):
        return ".", [_Bad(name, row, c.value, _readings(c)) for row, c in open_]
    return usual, []


def _is_open(cell: Cell) -> bool:
    return "?" in {decimal_sign(d) for d in (cell.value, cell.error) if d is not None}


def _readings(cell: Cell) -> tuple[str, str]:
    digits = next(d for d in (cell.value, cell.error) if d is not None and decimal_sign(d) == "?")
    return f"{number_of(digits, '.'):.10g}", f"{number_of(digits, ','):.10g}"


# --- units ------------------------------------------------------------------------------------------------------------


def _unit(cells: Sequence[Cell | float | None], name: str, decimal: str) -> tuple[str, list[_Bad]]:
    """The unit of a column, and the cells that do not fit it."""
    units = {row: c.unit if isinstance(c, Cell) else "" for row, c in enumerate(cells) if c is not None}
    present = sorted(set(units.values()) - {""})
    if not present:
        return "", []
    bare = [row for row, unit in units.items() if not unit]
    if len(present) == 1 and not bare:
        return present[0], []
    if present == ["%"]:
        low = [row for row in bare if abs(_value(cells[row], decimal)) <= 1]
        return "%", [_Bad(name, r, _text(cells[r]), ("a fraction", "percent, as other cells say")) for r in low]
    if set(present) <= set(BYTES) and not bare:
        return "bytes", []
    odd = bare or [row for row, unit in units.items() if unit != present[0]]
    readings = (f"{present[0]}, as other cells", f"{units[odd[0]] or 'another unit'}")
    return present[0], [_Bad(name, row, _text(cells[row]), readings) for row in odd]


def _text(cell: Cell | float) -> object:
    return f"{cell.value} {cell.unit}".strip() if isinstance(cell, Cell) else cell


def _value(cell: Cell | float | None, decimal: str) -> float:
    if cell is None:
        return np.nan
    if not isinstance(cell, Cell):
        return cell
    return float(cell.value) if cell.of is not None else number_of(cell.value, decimal)


def _numbers(cells: Sequence[Cell | float | None], index: pd.Index, decimal: str, unit: str) -> Numbers:
    scale = [BYTES[c.unit] if unit == "bytes" and isinstance(c, Cell) else 1 for c in cells]
    given = [c.error if isinstance(c, Cell) else None for c in cells]
    errors = [np.nan if e is None else number_of(e, decimal) for e in given]
    sizes = {c.of if isinstance(c, Cell) else None for c in cells if c is not None}
    return Numbers(
        values=pd.Series(np.multiply([_value(c, decimal) for c in cells], scale), index=index, dtype=float),
        errors=pd.Series(np.multiply(errors, scale), index=index) if any(e is not None for e in given) else None,
        unit=unit,
        items=next(iter(sizes)) if len(sizes) == 1 else None,
        said=_said(cells, decimal, unit),
    )


def _said(cells: Sequence[Cell | float | None], decimal: str, unit: str) -> tuple[str, ...]:
    """Counted phrases on what stood beside the digits."""
    texts = [c for c in cells if isinstance(c, Cell)]
    counted = Counter(phrase for c in texts for phrase in dict.fromkeys(c.said))
    said = [f"{n} {'cell' if n == 1 else 'cells'} with {phrase}" for phrase, n in _merged(counted).items()]
    if any(decimal == "," and "," in c.value for c in texts):
        said.append("decimal commas")
    if any(("," if decimal == "." else ".") in c.value and c.of is None for c in texts):
        said.append("thousands set apart")
    if unit:
        said.append("sizes in bytes" if unit == "bytes" else f"in {unit}")
    return tuple(said)


def _merged(counted: Mapping[str, int]) -> dict[str, int]:
    """Marks of every kind under one phrase, and likewise second numbers."""
    merged: dict[str, int] = {}
    marks = sorted({p.removeprefix("mark ") for p in counted if p.startswith("mark ")})
    for phrase, n in counted.items():
        kind = f"marks ({' '.join(marks[:5])})" if phrase.startswith("mark ") else phrase
        kind = "a second number in brackets, left out" if phrase.startswith("a second number") else kind
        merged[kind] = merged.get(kind, 0) + n
    return merged
