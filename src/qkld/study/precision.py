"""Numbers with fewer bits than double precision has, so that a table of them takes less space."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

DOUBLE = 53
"""Significant bits of double precision."""


def rounded(values: ArrayLike, bits: int) -> NDArray[np.float64]:
    """The nearest numbers with this many significant bits, ties to even; NaN, infinities and zeros stay.

    The relative error is at most 2^−bits. ``bits`` is between 1 and `DOUBLE`.
    """
    fraction, exponent = np.frexp(np.asarray(values, dtype=np.float64))
    return np.ldexp(np.rint(np.ldexp(fraction, bits)), exponent - bits)


def rounded_table(table: pd.DataFrame, bits: int | None) -> pd.DataFrame:
    """The table with `rounded` columns of floating-point numbers and of lists of them; as it is where ``bits`` is None.

    A column keeps its type: numbers in single precision stay in it.
    """
    if bits is None:
        return table
    return table.assign(**{name: _rounded_column(table[name], bits) for name in table if _has_floats(table[name])})


def _has_floats(column: pd.Series) -> bool:
    return pd.api.types.is_float_dtype(column.dtype) or _is_list(column)


def _is_list(column: pd.Series) -> bool:
    return column.dtype == object and any(isinstance(value, list | np.ndarray) for value in column)


def _rounded_column(column: pd.Series, bits: int) -> pd.Series:
    if _is_list(column):
        cells = [_rounded_cell(cell, bits) if isinstance(cell, list | np.ndarray) else cell for cell in column]
        return pd.Series(cells, index=column.index, dtype=object)
    return pd.Series(rounded(column, bits), index=column.index).astype(column.dtype)


def _rounded_cell(cell: list[float] | np.ndarray, bits: int) -> np.ndarray:
    own = np.asarray(cell)
    return rounded(own, bits).astype(own.dtype)
