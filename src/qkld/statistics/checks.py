"""What every statistic asks of its input, and how a table says that a number can not be had."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from qkld.errors import StatisticsError, explain

LEAST_QUANTS = 4
"""Quants that a correlation needs: with three, every interval of a rank correlation is the whole range."""


def paired_columns(
    x: ArrayLike, y: ArrayLike, *, names: tuple[str, str] = ("x", "y"), least: int = LEAST_QUANTS
) -> tuple[np.ndarray, np.ndarray]:
    """Two columns, one value a quant, as float64 arrays (n,) that a correlation can be taken of.

    Raises
    ------
    StatisticsError
        If lengths differ, fewer than ``least`` rows are given, a value is missing, or a column is constant.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.ndim != 1 or x.shape != y.shape:
        raise StatisticsError(
            explain(
                f"{names[0]} and {names[1]} are not two columns of one table.",
                expected="two columns of equal length",
                found=f"shapes {x.shape} and {y.shape}",
                do="give one value a quant for both",
            )
        )
    if x.size < least:
        raise StatisticsError(
            explain(
                f"Too few quants for {names[0]} against {names[1]}.",
                expected=f"at least {least} quants",
                found=f"{x.size}",
                do="measure more quants, or widen the subset",
            )
        )
    for name, column in zip(names, (x, y), strict=True):
        _refuse_missing_and_constant(name, column, least)
    return x, y


def _refuse_missing_and_constant(name: str, column: np.ndarray, least: int) -> None:
    missing = int((~np.isfinite(column)).sum())
    if missing:
        raise StatisticsError(
            explain(
                f"Column '{name}' has no number for some quants.",
                expected=f"a finite value for each of at least {least} quants",
                found=f"{missing} of {column.size} missing or not finite",
                do="leave those quants out by name, or measure them",
            )
        )
    if (column == column[0]).all():
        raise StatisticsError(
            explain(
                f"Column '{name}' is constant.",
                expected=f"at least 2 distinct values among at least {least} quants",
                found=f"{column[0]:g} for all {column.size} quants",
                do="a constant has no correlation; use more items or other quants",
            )
        )


def one_line(error: Exception) -> str:
    """An error's message as one line, for the ``note`` of a table."""
    lines = [" ".join(line.split()) for line in str(error).splitlines()]
    return "; ".join(line for line in lines if line and not line.startswith("do:"))


def noted(compute: Callable[[], dict[str, Any]], empty: dict[str, Any]) -> dict[str, Any]:
    """What ``compute`` returns with an empty ``note``; or ``empty`` with a note that says why there is no number."""
    try:
        return {**empty, "note": "", **compute()}
    except StatisticsError as error:
        return {**empty, "note": one_line(error)}


def quants_of(cohort: pd.DataFrame) -> pd.DataFrame:
    """The quants of a cohort: reference and floor rows never enter a correlation."""
    return cohort[cohort["role"] == "quant"].reset_index(drop=True)


def score_column(benchmark: str) -> str:
    """The cohort's column of a benchmark's score; the composite's is ``composite``."""
    return benchmark if benchmark == "composite" else f"score_{benchmark}"
