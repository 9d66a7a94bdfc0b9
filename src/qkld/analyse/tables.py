"""Anybody's table of quants, read and checked: labels, unit of the scores, what is missing, zero and negative KLD."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qkld.analyse.request import Zone
from qkld.errors import StatisticsError, TableError, explain
from qkld.statistics.checks import Missing, complete_quants, empty_columns, is_divergence, quants_of, score_column

LABELS = ("label", "quant", "model", "name")
"""Names of a label column, the first that is there; else the table's first column is it."""

ROLES = ("reference", "quant", "floor")
_NAMED = 8
"""Cells that a message names before it counts the rest."""


@dataclass(frozen=True)
class OwnTable:
    """A table in a cohort's form.

    Attributes
    ----------
    cohort : DataFrame
        ``label, role``, the fidelity column, ``score_<name>`` as fractions and their mean ``composite``; ``family`` and
        ``size`` where the table has them.
    scores : score columns that are analysed, by their names in the table
    unit : ``fraction`` or ``percent``, as the table has its scores
    falling : whether the fidelity column is the larger the nearer a quant is to the reference, as top-1 agreement is
    rounding : what the last decimal of a score stands for, a fraction of 1
    members : which rows are in the zone; none where no zone was given
    notes : what was left out, and what a reader should know of the table
    """

    cohort: pd.DataFrame
    fidelity: str
    scores: tuple[str, ...]
    unit: str
    falling: bool
    rounding: float
    members: pd.Series
    notes: tuple[str, ...]

    @property
    def reference(self) -> str | None:
        """Label of the reference's row, where there is one."""
        rows = self.cohort.loc[self.cohort["role"] == "reference", "label"]
        return None if rows.empty else str(rows.iloc[0])

    @property
    def quants(self) -> list[str]:
        return list(quants_of(self.cohort)["label"])

    @property
    def benchmarks(self) -> list[str]:
        """The scores, and ``composite`` where there are several."""
        return [*self.scores, "composite"] if len(self.scores) > 1 else list(self.scores)

    @property
    def headline(self) -> str:
        """The composite, or the one score."""
        return self.benchmarks[-1]


def read_own_table(
    path: Path,
    fidelity: str,
    scores: Sequence[str],
    *,
    reference: str | None = None,
    zone: Zone | None = None,
    missing: Missing = "refuse",
    size: str | None = None,
) -> OwnTable:
    """Read a CSV or Parquet file with one quant a row.

    A column ``role`` (reference, quant, floor) is heeded where there is one; else every row but ``reference`` is a
    quant. A score column without any value is left out by name.

    Raises
    ------
    TableError
        If the file, a column or the reference's row is missing, a label or a column is named twice, a cell is no finite
        number, the unit of the scores is not clear, or no quant has a value of the fidelity column or of any score.
    StatisticsError
        If single cells are empty and ``missing`` is "refuse", or a KLD is negative.
    """
    table = _read(path)
    _check_columns(fidelity, scores)
    wanted = [fidelity, *scores, *([zone.column] if zone else []), *([size] if size else [])]
    _check_numbers(path, table, wanted)
    label = _label_column(table, path)
    cohort = _models(table, label, reference)
    cohort = cohort.assign(**{fidelity: table[fidelity]}, **{score_column(s): table[s] for s in scores})
    if size:
        cohort["size"] = table[size]
    kept, notes = _without_empty(cohort, fidelity, scores)
    unit = score_unit(table[cohort["role"] != "floor"], kept)
    scale = 100 if unit == "percent" else 1
    cohort[[score_column(s) for s in kept]] /= scale
    cohort, gaps = _complete(cohort, fidelity, kept, missing)
    inside = zone.members(table.loc[cohort.index]) if zone else pd.Series(False, index=cohort.index)
    return OwnTable(
        cohort=cohort.assign(composite=cohort[[score_column(s) for s in kept]].mean(axis=1, skipna=False)),
        fidelity=fidelity,
        scores=tuple(kept),
        unit=unit,
        falling=falls_with_distance(cohort, fidelity, zone),
        rounding=_last_decimal(table[kept]) / scale,
        members=inside & (cohort["role"] == "quant"),
        notes=(*notes, *gaps, *_alike(cohort, fidelity, kept), *_zeros(cohort, fidelity)),
    )


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise TableError(
            explain(
                f"{path} can not be read.",
                expected="a CSV file with a header, or a Parquet file",
                found=error,
                do="mend the path",
            )
        ) from error
    if table.empty:
        raise TableError(explain(f"{path} is empty.", expected="one quant a row", found="no rows", do="fill it"))
    return table


def _some(cells: Sequence[str]) -> str:
    more = len(cells) - _NAMED
    return ", ".join(map(str, cells[:_NAMED])) + (f" and {more} more" if more > 0 else "")


def _check_columns(fidelity: str, scores: Sequence[str]) -> None:
    """Refuse a score that is named twice, or is the fidelity column: it would be correlated with itself."""
    doubled = sorted({s for s in scores if s == fidelity or list(scores).count(s) > 1})
    if doubled or not scores:
        raise TableError(
            explain(
                "The scores can not be used.",
                expected=f"one score column or more, each once, and none of them the fidelity column '{fidelity}'",
                found=f"{', '.join(doubled)} in more than one place" if doubled else "none",
                do="name every score once",
            )
        )


def _check_numbers(path: Path, table: pd.DataFrame, wanted: Sequence[str]) -> None:
    """Refuse columns that are missing, and cells that are words or infinite."""
    missing = [c for c in wanted if c not in table.columns]
    if missing:
        raise TableError(
            explain(
                f"{path} lacks columns that were named.",
                expected=list(wanted),
                found=f"missing {missing}; the table has {list(table.columns)}",
                do="name columns of the table",
            )
        )
    numbers = {c: pd.to_numeric(table[c], errors="coerce") for c in wanted}
    words = {c: table[c].notna() & ~np.isfinite(numbers[c]) for c in wanted}
    cells = [f"{v!r} in {c}, row {i + 1}" for c, bad in words.items() for i, v in enumerate(table[c]) if bad.iloc[i]]
    if cells:
        raise TableError(
            explain(
                f"{path} has cells that are no numbers.",
                expected="finite numbers, or an empty cell",
                found=_some(cells),
                do="empty those cells, or name another column",
            )
        )


def _label_column(table: pd.DataFrame, path: Path) -> str:
    named = [c for c in LABELS if c in table.columns]
    column = named[0] if named else table.columns[0]
    doubled = table[column][table[column].duplicated()]
    if len(doubled) or table[column].isna().any():
        found = f"{_some(list(doubled.unique()))} twice" if len(doubled) else "a row without a label"
        raise TableError(
            explain(
                f"{path} has a quant twice, or one without a label.",
                expected=f"each value of '{column}' once",
                found=found,
                do="give every quant its own label",
            )
        )
    return column


def _models(table: pd.DataFrame, label: str, reference: str | None) -> pd.DataFrame:
    """``label, role`` and ``family`` of every row."""
    cohort = pd.DataFrame({"label": table[label].astype(str)})
    if reference is not None and reference not in set(cohort["label"]):
        raise TableError(
            explain(
                f"There is no row '{reference}'.",
                expected=list(cohort["label"]),
                found=reference,
                do="name the reference as it is in the table, or leave --reference out",
            )
        )
    cohort["role"] = table["role"].astype(str) if "role" in table else "quant"
    if reference is not None:
        cohort.loc[cohort["role"] == "reference", "role"] = "floor"
        cohort.loc[cohort["label"] == reference, "role"] = "reference"
    _check_roles(cohort)
    if "family" in table:
        cohort["family"] = table["family"].astype(str)
    return cohort


def _check_roles(cohort: pd.DataFrame) -> None:
    unknown = sorted(set(cohort["role"]) - set(ROLES))
    references = cohort.loc[cohort["role"] == "reference", "label"]
    if unknown or len(references) > 1:
        raise TableError(
            explain(
                "The roles of the rows are not clear.",
                expected=f"each role one of {ROLES}, at most one reference",
                found=f"unknown {unknown}, references {list(references)}",
                do="mend the column 'role', or name the reference with --reference",
            )
        )


def score_unit(table: pd.DataFrame, scores: Sequence[str]) -> str:
    """``fraction`` where every score lies within 0 and 1, ``percent`` where every column passes 1 and none 100.

    Raises
    ------
    TableError
        If columns differ in unit or a value lies outside both.
    """
    high, low = table[list(scores)].max(), table[list(scores)].min()
    if (low >= 0).all() and (high <= 1).all():
        return "fraction"
    if (low >= 0).all() and (high > 1).all() and (high <= 100).all():
        return "percent"
    raise TableError(
        explain(
            "The unit of the scores is not clear.",
            expected="all scores within 0 and 1, or all in percent up to 100",
            found=", ".join(f"{c}: {low[c]:g} to {high[c]:g}" for c in scores),
            do="bring all score columns to one unit",
        )
    )


_NEARER = frozenset({"top", "agreement", "agree", "match", "same", "cosine", "acceptance", "accept", "overlap"})
"""Words in names of metrics that are the larger the nearer a quant is to the reference."""


def falls_with_distance(cohort: pd.DataFrame, fidelity: str, zone: Zone | None) -> bool:
    """Whether more of a fidelity metric is nearer to the reference.

    A KL divergence rises. Of others the zone's sign says it, else the reference's own value, else the metric's name.
    """
    if is_divergence(fidelity):
        return False
    if zone is not None and zone.column == fidelity:
        return zone.sign in (">", ">=")
    quants, own = quants_of(cohort)[fidelity], cohort.loc[cohort["role"] == "reference", fidelity].dropna()
    if len(own) and not quants.min() < own.iloc[0] < quants.max():
        return bool(own.iloc[0] >= quants.max())
    return not _NEARER.isdisjoint(re.findall("[a-z]+", fidelity.lower()))


# --- what is missing, doubled or zero ---------------------------------------------------------------------------------


def _without_empty(cohort: pd.DataFrame, fidelity: str, scores: Sequence[str]) -> tuple[list[str], list[str]]:
    """The scores of which some quant has a value, and a note that names the others."""
    empty = empty_columns(cohort, [fidelity, *(score_column(s) for s in scores)])
    kept = [s for s in scores if score_column(s) not in empty]
    if fidelity in empty or not kept:
        raise TableError(
            explain(
                "A column that is needed has no value for any quant.",
                expected=f"values of {fidelity}, and of at least one of {list(scores)}",
                found=f"all empty: {', '.join(c.removeprefix('score_') for c in empty)}",
                do="name other columns",
            )
        )
    dropped = [s for s in scores if s not in kept]
    return kept, [f"left out, without any value: {', '.join(dropped)}"] if dropped else []


def _complete(
    cohort: pd.DataFrame, fidelity: str, scores: Sequence[str], missing: Missing
) -> tuple[pd.DataFrame, list[str]]:
    """The cohort with complete quants only, its index that of the table; reference and floor rows stay as they are."""
    is_quant = cohort["role"] == "quant"
    columns = [fidelity, *(score_column(s) for s in scores)]
    gaps = cohort.loc[is_quant, columns].isna()
    if gaps.to_numpy().any() and missing == "refuse":
        cells = [f"{c.removeprefix('score_')} of {cohort.at[i, 'label']}" for c in columns for i in gaps.index[gaps[c]]]
        raise StatisticsError(
            explain(
                "Some quants have no value in a column that was named.",
                expected="a value in every cell of a quant, or none in the whole column",
                found=f"empty: {_some(cells)}",
                do="name the reference's row with --reference, fill the cells, or leave these quants out with "
                "--missing drop",
            )
        )
    kept, note = complete_quants(cohort, columns, missing="drop")
    rows = cohort.index[is_quant][~gaps.any(axis=1)]
    whole = pd.concat([cohort[~is_quant], kept.set_axis(rows)]).sort_index()
    return whole, [note] if note else []


def _alike(cohort: pd.DataFrame, fidelity: str, scores: Sequence[str]) -> list[str]:
    """A note on quants whose figures are the same in every column named: one file under two labels counts twice."""
    quants = quants_of(cohort)
    columns = [fidelity, *(score_column(s) for s in scores)]
    groups = [list(g["label"]) for _, g in quants.groupby(columns) if len(g) > 1]
    return [f"the same figures in every column, perhaps one quant twice: {', '.join(g)}" for g in groups]


def _zeros(cohort: pd.DataFrame, fidelity: str) -> list[str]:
    at_zero = list(quants_of(cohort).loc[lambda q: q[fidelity] == 0, "label"])
    return [f"{fidelity} is 0 for {_some(at_zero)}: ranked, and in no logarithm"] if at_zero else []


def _last_decimal(scores: pd.DataFrame) -> float:
    """The unit of the last decimal that any score is printed with."""
    decimals = [len(repr(float(v)).partition(".")[2]) for v in np.ravel(scores.to_numpy(dtype=float)) if np.isfinite(v)]
    return 10.0 ** -max(decimals)


def describe_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values: NaN becomes None."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{k: v.item() if isinstance(v, np.generic) else v for k, v in row.items()} for row in rows]
