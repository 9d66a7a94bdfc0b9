"""What every statistic asks of its input, and how a table says that a number is not available."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from qkld.errors import StatisticsError

LEAST_QUANTS = 4
"""Quants that a correlation needs: with three, every interval of a rank correlation is the whole range."""

ROUNDING = 1e-7
"""How far below 0 a KLD, in nats, may lie by rounding."""

Missing = Literal["refuse", "drop"]
"""What to do where some quants, not all, have no value: name the cells and stop, or leave those quants out by name."""

_NAMED = 8
"""Cells or quants that a message names before it counts the rest."""


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
            f"{names[0]} and {names[1]} are not two columns of one table.",
            expected="two columns of equal length",
            found=f"shapes {x.shape} and {y.shape}",
            do="give one value per quant for both",
        )
    if x.size < least:
        raise StatisticsError(
            f"Too few quants for {names[0]} against {names[1]}.",
            expected=f"at least {least} quants",
            found=f"{x.size}",
            do="measure more quants, or widen the subset",
        )
    for name, column in zip(names, (x, y), strict=True):
        _refuse_missing_and_constant(name, column, least)
    return x, y


def _refuse_missing_and_constant(name: str, column: np.ndarray, least: int) -> None:
    missing = int((~np.isfinite(column)).sum())
    if missing:
        raise StatisticsError(
            f"Column '{name}' has missing values for some quants.",
            expected=f"a finite value for each of at least {least} quants",
            found=f"{missing} of {column.size} missing or not finite",
            do="leave out these quants, or measure them",
        )
    if (column == column[0]).all():
        raise StatisticsError(
            f"Column '{name}' is constant.",
            expected=f"at least 2 distinct values among at least {least} quants",
            found=f"{column[0]:g} for all {column.size} quants",
            do="use more items or other quants; a constant has no correlation",
        )


# --- fidelity ---------------------------------------------------------------------------------------------------------


_DIVERGENCE = re.compile(r"d?kl(d|ds|div|divergence|mean|median|max)?|kullback")
_NO_DIVERGENCE = frozenset({"log", "ln", "lg", "rank", "sqrt", "se", "sd", "std", "stderr", "err", "error"})


def is_divergence(metric: str) -> bool:
    """Whether a metric is a KL divergence by a word of its name (``kl_mean``, ``Mean KLD``, ``D_KL``): never negative.

    A logarithm, root, rank or error of one (``ln KLD``, ``kl_mean_se``) is none.
    """
    words = re.findall("[a-z]+", re.sub("(?<=[a-z])(?=[A-Z])", " ", metric).lower())
    return any(map(_DIVERGENCE.fullmatch, words)) and _NO_DIVERGENCE.isdisjoint(words)


def checked_kld(kld: ArrayLike, *, name: str = "KLD", labels: Sequence[str] | None = None) -> np.ndarray:
    """KLD in nats as float64; what lies below 0 by less than `ROUNDING` becomes 0, missing values stay.

    A KLD of 0 has a rank and no logarithm.

    Raises
    ------
    StatisticsError
        If a value is negative beyond rounding; the message names the quants where ``labels`` are given.
    """
    values = np.asarray(kld, dtype=float)
    bad = values < -ROUNDING
    if bad.any():
        cells = [f"{v:g}" for v in values[bad]]
        if labels is not None:
            cells = [f"{cell} ({label})" for cell, label in zip(cells, np.asarray(labels)[bad], strict=True)]
        raise StatisticsError(
            f"'{name}' is negative, which is impossible for a KL divergence.",
            expected=f"0 nats or more; down to {-ROUNDING:g} counts as 0",
            found=_some(cells),
            do="measure these quants again with exact reference logits, or leave them out",
        )
    return np.where(values < 0, 0.0, values)


# --- cohorts ----------------------------------------------------------------------------------------------------------


def quants_of(cohort: pd.DataFrame) -> pd.DataFrame:
    """The quants of a cohort: reference and floor rows never enter a correlation."""
    return cohort[cohort["role"] == "quant"].reset_index(drop=True)


COMPOSITE_DECIMALS = 12
"""Decimals of a mean of scores (fractions): coarser than what summing rounds away, finer than any difference."""


def composite_score(scores: pd.DataFrame) -> pd.Series:
    """The mean of each row's scores; NaN where one is missing. Means that are equal tie, in whatever order summed."""
    return scores.mean(axis=1, skipna=False).round(COMPOSITE_DECIMALS)


def score_column(benchmark: str) -> str:
    """The cohort's column of a benchmark's score; the composite's is ``composite``."""
    return benchmark if benchmark == "composite" else f"score_{benchmark}"


def _some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(map(str, names[:_NAMED])) + (f" and {more} more" if more > 0 else "")


_IDENTITY = ("label", "weights_sha256")
"""What tells one quant from another."""


def check_quants_distinct(cohort: pd.DataFrame) -> None:
    """Refuse one quant counted twice: a label twice, or two labels with the same ``weights_sha256``.

    Raises
    ------
    StatisticsError
        Naming the quants.
    """
    _refuse_doubled(quants_of(cohort[[c for c in ("role", *_IDENTITY) if c in cohort]]))


def _refuse_doubled(quants: pd.DataFrame) -> None:
    for column in (c for c in _IDENTITY if c in quants):
        values = quants[column]
        doubled = quants["label"][(values.notna() & values.duplicated(keep=False)).to_numpy()]
        if len(doubled):
            raise StatisticsError(
                "A quant is in the cohort twice.",
                expected=f"each {column} once",
                found=_some(list(doubled)),
                do="remove the copy; it would count as an independent quant",
            )


def empty_columns(cohort: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """The columns in which no quant has a value: they are left out of an analysis by name."""
    return _without_value(quants_of(cohort[["role", *dict.fromkeys(columns)]]), columns)


def _without_value(quants: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    return [column for column in columns if quants[column].isna().all()]


def complete_quants(
    cohort: pd.DataFrame, columns: Sequence[str], *, missing: Missing = "refuse"
) -> tuple[pd.DataFrame, str]:
    """The quants that have a value in every column, and a note that names those left out.

    A column without any value is not looked at: see `empty_columns`. KL divergences pass `checked_kld`.

    Raises
    ------
    StatisticsError
        If single values are missing and ``missing`` is "refuse", naming the cells; or a quant is there twice.
    """
    quants = quants_of(cohort)
    _refuse_doubled(quants)
    empty = _without_value(quants, columns)
    filled = [c for c in dict.fromkeys(columns) if c not in empty]
    gaps = quants[filled].isna()
    if gaps.to_numpy().any() and missing == "refuse":
        raise StatisticsError(
            "Some quants have missing values in a column to be correlated.",
            expected="a value in every cell, or none in the whole column",
            found=_some([f"{c} of {label}" for c in filled for label in quants.loc[gaps[c], "label"]]),
            do='measure these quants, or leave them out with missing="drop"',
        )
    left_out = gaps.any(axis=1)
    kept = quants[~left_out].reset_index(drop=True)
    divergences = {c: checked_kld(kept[c], name=c, labels=kept["label"]) for c in filled if is_divergence(c)}
    note = f"left out for missing values: {_some(list(quants.loc[left_out, 'label']))}" if left_out.any() else ""
    return kept.assign(**divergences), note


def joined(*notes: str) -> str:
    """Notes in one, without empty ones."""
    return " | ".join(note for note in notes if note)


# --- notes instead of numbers -----------------------------------------------------------------------------------------


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
