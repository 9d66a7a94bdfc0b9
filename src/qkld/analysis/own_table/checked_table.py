"""Anybody's table of quants, read and checked: columns, labels, units, what is missing, zero and negative KLD."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qkld.analysis.own_table.cells import BYTES
from qkld.analysis.own_table.labels import labels_of, looks_like_reference, with_roles
from qkld.analysis.own_table.measure import (
    Columns,
    Measure,
    falls_with_distance,
    measured,
    usual_divergence,
    zone_example,
)
from qkld.analysis.own_table.model_rows import without_headings, without_summaries
from qkld.analysis.own_table.number_columns import Numbers, read_numbers
from qkld.analysis.own_table.score_columns import items_behind, items_in_name, last_decimal, likely_scores, score_unit
from qkld.analysis.own_table.table_files import FileTable, plain_name, read_table_file
from qkld.analysis.own_table.zone_and_item_counts import Zone
from qkld.errors import StatisticsError, TableError
from qkld.statistics.core.checks import (
    Missing,
    complete_quants,
    composite_score,
    empty_columns,
    quants_of,
    score_column,
)

ERRORS = (
    *("{}_se", "{}_stderr", "{}_err", "{}_std_err", "se_{}"),
    *("{} se", "{} stderr", "{} error", "{} ±", "± {}", "{} (±)"),
)
"""Names of a column that holds another one's standard error."""

_NAMED = 8
"""Cells that a message names before it counts the rest."""


@dataclass(frozen=True)
class OwnTable:
    """A table in a cohort's form.

    Attributes
    ----------
    cohort : DataFrame
        ``label, role``, the fidelity column, ``score_<name>`` as fractions and their mean ``composite``; ``family``,
        ``size``, the standard errors ``<fidelity>_se`` and ``se_<name>`` where the table has them.
    fidelity : its column, a KL divergence in nats; None where the table has none
    scores : score columns that are analysed, by their names in the table
    unit : ``fraction`` or ``percent``, as the table has its scores
    falling : whether the fidelity column is the larger the nearer a quant is to the reference, as top-1 agreement is
    rounding : what the last decimal of a score stands for, a fraction of 1
    members : which rows are in the zone; none where no zone was given
    cut : the zone's cut of the fidelity column, in the cohort's unit; None where the zone is none of it
    zone_example : how a zone of the fidelity column is asked for, in the table's name and unit; None without one
    size_name : the size column with its unit
    behind : score → items at which the standard errors of the table are those of shares
    read : what columns and cells were taken for, a line each
    notes : what was left out, and what a reader should know of the table
    """

    cohort: pd.DataFrame
    fidelity: str | None
    scores: tuple[str, ...]
    unit: str
    falling: bool
    rounding: float
    members: pd.Series
    cut: float | None = None
    zone_example: str | None = None
    size_name: str | None = None
    behind: Mapping[str, int] = field(default_factory=dict)
    read: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

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
    fidelity: str | None,
    scores: Sequence[str],
    *,
    reference: str | None = None,
    zone: Zone | None = None,
    missing: Missing = "refuse",
    size: str | None = None,
    columns: Columns | None = None,
) -> OwnTable:
    """Read a table with one quant a row from any of `qkld.analysis.own_table.table_files`'s forms.

    A column ``role`` (reference, quant, floor) is heeded where there is one; else every row but ``reference`` is a
    quant. A score column without any value is left out by name. ``fidelity`` None takes the one column that is a mean
    KL divergence by its name; without any, the table has none.

    Raises
    ------
    TableError
        If the file, a column or the reference's row is missing, a label or a column is named twice, a cell is no finite
        number or has two readings, the unit of the scores is not clear, a score is no accuracy, or no quant has a value
        of the fidelity column or of any score, or all have the same fidelity.
    StatisticsError
        If single cells are empty and ``missing`` is "refuse", or a KLD is negative.
    """
    columns = columns or Columns()
    more = [*([zone.column] if zone else []), *([size] if size else [])]
    file = read_table_file(path, [*_named(fidelity), *scores, *more, *columns.label])
    fidelity = fidelity or usual_divergence(list(map(str, file.cells)))
    numeric = [*_named(fidelity), *scores, *more]
    _check_columns(fidelity, scores, list(map(str, file.cells)))
    cells, headings = without_headings(file.cells, reference)
    table = _with_names(cells, [*numeric, *columns.label], path)
    labels, said = labels_of(table, columns.label, path)
    table, labels, sums = without_summaries(table, labels, reference)
    errors = _error_columns(table, numeric)
    numbers = read_numbers(table, [*numeric, *errors.values()], source=str(path), form=file.form)
    cohort = with_roles(labels, table.get("role"), reference)
    measure = measured(fidelity, numbers[fidelity], columns) if fidelity else None
    cohort = _filled(cohort, table, measure, {s: numbers[s] for s in scores}, numbers.get(size) if size else None)
    own = _own(cohort, measure, scores, numbers, zone=zone, missing=missing)
    known = {c: numbers[e].values for c, e in errors.items()}
    own = _with_errors(own, measure, numbers, known)
    if size and (more_said := numbers[size].said):
        said = (*said, f"'{size}': {'; '.join(more_said)}")
    of_metric = measure.said if measure else "no column is a KL divergence by its name, and none was named: --fidelity"
    read = (*_form_said(file), *said, of_metric, *_scores_said(own, numbers), *own.read)
    sized = _with_unit(size, numbers[size].unit) if size else None
    return replace(own, read=read, notes=(*sums, *headings, *own.notes), size_name=sized)


def _with_unit(name: str, unit: str) -> str:
    shown = unit.upper().replace("I", "i") if unit in BYTES and unit != "bytes" else unit
    return f"{name} ({shown})" if unit else name


def _own(
    cohort: pd.DataFrame,
    measure: Measure | None,
    scores: Sequence[str],
    numbers: Mapping[str, Numbers],
    *,
    zone: Zone | None,
    missing: Missing,
) -> OwnTable:
    """The cohort with its scores as fractions and its zone, complete quants only."""
    fidelity = measure.name if measure else None
    inside = zone.holds(numbers[zone.column].values) if zone else pd.Series(False, index=cohort.index)
    _check_quants(cohort)
    kept, notes = _without_empty(cohort, fidelity, scores)
    shown = pd.DataFrame({s: numbers[s].values for s in kept})
    unit = score_unit(shown[cohort["role"] != "floor"], kept, [s for s in kept if numbers[s].unit == "%"])
    scale = 100 if unit == "percent" else 1
    cohort[[score_column(s) for s in kept]] /= scale
    cohort, gaps = _complete(cohort, fidelity, kept, missing)
    _refuse_constant(cohort, fidelity)
    near = _looks(cohort, fidelity)
    of_metric = zone if zone and measure and zone.column == measure.column else None
    falling = fidelity is not None and falls_with_distance(cohort, fidelity, of_metric)
    return OwnTable(
        cohort=cohort.assign(composite=composite_score(cohort[[score_column(s) for s in kept]])),
        fidelity=fidelity,
        scores=tuple(kept),
        unit=unit,
        falling=falling,
        rounding=last_decimal(shown) / scale,
        members=inside.loc[cohort.index] & (cohort["role"] == "quant"),
        zone_example=zone_example(measure, falling) if measure else None,
        cut=of_metric.cut * measure.scale if of_metric and falling == (of_metric.sign in (">", ">=")) else None,
        notes=(*near, *notes, *gaps, *_alike(cohort, fidelity, kept), *_zeros(cohort, fidelity)),
    )


# --- columns ----------------------------------------------------------------------------------------------------------


def some(cells: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(cells) - _NAMED
    return ", ".join(map(str, cells[:_NAMED])) + (f" and {more} more" if more > 0 else "")


def _check_columns(fidelity: str | None, scores: Sequence[str], present: Sequence[str]) -> None:
    """Refuse a score that is named twice, or is the fidelity column: it would be correlated with itself."""
    doubled = sorted({s for s in scores if s == fidelity or list(scores).count(s) > 1})
    if not scores:
        raise TableError(
            "No score column was named or recognized.",
            expected="at least one column of benchmark scores",
            found=f"none; the table has {list(present)}",
            do=f'name them, for example --scores "{",".join(likely_scores(present)[:4]) or "mmlu"}"',
        )
    if doubled:
        raise TableError(
            "The scores cannot be used.",
            expected=f"at least one score column, each once, and not the fidelity column {fidelity!r}",
            found=f"{', '.join(doubled)} more than once",
            do="name every score once",
        )


def _with_names(table: pd.DataFrame, wanted: Sequence[str], path: Path) -> pd.DataFrame:
    """The table with its columns under the names that were asked for, which may differ in case, emphasis and spaces.

    A benchmark is found in a study's cohort too, as ``score_<benchmark>``.
    """
    names = [str(c) for c in table]
    found, missing, doubled = {}, [], []
    for name in dict.fromkeys(wanted):
        plain = (plain_name(name), plain_name(score_column(name)))
        alike = ([i for i, c in enumerate(names) if plain_name(c) == p] for p in plain)
        places = [i for i, c in enumerate(names) if c == name] or next(filter(None, alike), [])
        missing += [] if places else [name]
        doubled += [name] if len(places) > 1 else []
        found |= {places[0]: name} if places else {}
    if missing or doubled:
        near = [repr(c) for name in missing for c in names if plain_name(name) in plain_name(c)]
        meant = f", perhaps {' or '.join(near[:4])}" if near else ", whose first line is its header"
        raise TableError(
            f"{path} lacks columns that you named." if missing else f"{path} has a column twice.",
            expected=list(wanted),
            found=f"missing {missing}; the table has {names}" if missing else f"twice {doubled}",
            do=f"name columns of the table{meant}",
        )
    named = [found.get(i, c) for i, c in enumerate(names)]
    again = [named[:i].count(c) for i, c in enumerate(named)]
    return table.set_axis([c if not n else f"{c} ({n + 1})" for c, n in zip(named, again, strict=True)], axis=1)


def _error_columns(table: pd.DataFrame, columns: Sequence[str]) -> dict[str, str]:
    """Column → the column of its standard error, where the table has one by a usual name."""
    plain = {plain_name(c): c for c in table}
    pairs = ((c, plain.get(plain_name(form.format(c)))) for c in columns for form in ERRORS)
    return {column: error for column, error in pairs if error is not None and error not in columns}


def _filled(
    cohort: pd.DataFrame,
    table: pd.DataFrame,
    measure: Measure | None,
    scores: Mapping[str, Numbers],
    size: Numbers | None,
) -> pd.DataFrame:
    metric = {measure.name: measure.values} if measure else {}
    cohort = cohort.assign(**metric, **{score_column(s): n.values for s, n in scores.items()})
    family = next((c for c in table if plain_name(c) == "family"), None)
    if family is not None:
        cohort["family"] = table[family].astype(str)
    if size is not None:
        cohort["size"] = size.values
    return cohort


def _with_errors(
    own: OwnTable, measure: Measure | None, numbers: Mapping[str, Numbers], beside: Mapping[str, pd.Series]
) -> OwnTable:
    """The table with standard errors, from cells ``value ± error`` or a column of errors beside."""
    cohort, behind, said = own.cohort.copy(), {}, []
    scale = 100 if own.unit == "percent" else 1
    for column in (*([measure.column] if measure else []), *own.scores):
        given = numbers[column].errors if numbers[column].errors is not None else beside.get(column)
        if given is None or given.loc[cohort.index].isna().all():
            continue
        if measure and column == measure.column:
            cohort[f"{own.fidelity}_se"] = given * measure.scale
            continue
        cohort[f"se_{column}"] = given / scale
        items = items_behind(cohort[score_column(column)], cohort[f"se_{column}"])
        behind |= {column: items} if items else {}
        of_items = f": that of {items:,} items or about so many" if items else ", of no one number of items"
        said.append(f"the error of '{column}' is taken as its standard error{of_items}")
    behind |= {s: numbers[s].items for s in own.scores if numbers[s].items}
    headed = {s: n for s in own.scores if s not in behind and (n := items_in_name(s))}
    said += [f"'{s}' says how many items are behind it: {n:,}" for s, n in headed.items()]
    return replace(own, cohort=cohort, behind=behind | headed, read=tuple(said))


def _form_said(file: FileTable) -> tuple[str, ...]:
    forms = {"semicolons": "cells between semicolons", "tabs": "cells between tabs", "Markdown": "a Markdown table"}
    return (*((forms[file.form],) if file.form in forms else ()), *file.notes)


def _scores_said(own: OwnTable, numbers: Mapping[str, Numbers]) -> list[str]:
    """One line on all scores, and one on each that held more than digits."""
    said = [f"'{s}': {'; '.join(more)}" for s in own.scores if (more := [p for p in numbers[s].said if p != "in %"])]
    return [f"scores are read as {'percent' if own.unit == 'percent' else 'fractions of 1'}", *said]


# --- what is missing, doubled or zero ---------------------------------------------------------------------------------


def _check_quants(cohort: pd.DataFrame) -> None:
    if not (cohort["role"] == "quant").any():
        raise TableError(
            "The table has no quant.",
            expected="a row for each quant besides the reference",
            found=list(cohort["label"]),
            do="add the rows of the quants",
        )


def _without_empty(cohort: pd.DataFrame, fidelity: str | None, scores: Sequence[str]) -> tuple[list[str], list[str]]:
    """The scores of which some quant has a value, and a note that names the others."""
    empty = empty_columns(cohort, [*_named(fidelity), *(score_column(s) for s in scores)])
    kept = [s for s in scores if score_column(s) not in empty]
    if fidelity in empty or not kept:
        raise TableError(
            "A required column is empty for every quant.",
            expected=f"values of {fidelity}, and of at least one of {list(scores)}",
            found=f"all empty: {', '.join(c.removeprefix('score_') for c in empty)}",
            do="name other columns",
        )
    dropped = [s for s in scores if s not in kept]
    return kept, [f"left out, without any value: {', '.join(dropped)}"] if dropped else []


def _complete(
    cohort: pd.DataFrame, fidelity: str | None, scores: Sequence[str], missing: Missing
) -> tuple[pd.DataFrame, list[str]]:
    """The cohort with complete quants only, its index that of the table; reference and floor rows stay as they are."""
    is_quant = cohort["role"] == "quant"
    columns = [*_named(fidelity), *(score_column(s) for s in scores)]
    gaps = cohort.loc[is_quant, columns].isna()
    if gaps.to_numpy().any() and missing == "refuse":
        cells = [f"{c.removeprefix('score_')} of {cohort.at[i, 'label']}" for c in columns for i in gaps.index[gaps[c]]]
        raise StatisticsError(
            "Some quants have missing values.",
            expected="a value for every quant, or an empty column",
            found=f"empty: {some(cells)}",
            do="name the reference's row with --reference, fill the cells, or leave these quants out with "
            "--missing drop",
        )
    kept, note = complete_quants(cohort, columns, missing="drop")
    rows = cohort.index[is_quant][~gaps.any(axis=1)]
    whole = pd.concat([cohort[~is_quant], kept.set_axis(rows)]).sort_index()
    return whole, [note] if note else []


def _named(fidelity: str | None) -> list[str]:
    return [fidelity] if fidelity else []


def _refuse_constant(cohort: pd.DataFrame, fidelity: str | None) -> None:
    if fidelity is None:
        return
    values = quants_of(cohort)[fidelity]
    if len(values) > 1 and values.nunique() == 1:
        raise TableError(
            f"'{fidelity}' has the same value for all quants.",
            expected="at least two different values among the quants",
            found=f"{values.iloc[0]:g} for all {len(values)} quants",
            do="name another column as --fidelity",
        )


def _alike(cohort: pd.DataFrame, fidelity: str | None, scores: Sequence[str]) -> list[str]:
    """A note on quants whose figures are the same in every column named: one file under two labels counts twice."""
    quants = quants_of(cohort)
    columns = [*_named(fidelity), *(score_column(s) for s in scores)]
    groups = [list(g["label"]) for _, g in quants.groupby(columns) if len(g) > 1]
    return [f"the same figures in every column, perhaps one quant twice: {', '.join(g)}" for g in groups]


def _zeros(cohort: pd.DataFrame, fidelity: str | None) -> list[str]:
    if fidelity is None:
        return []
    at_zero = list(quants_of(cohort).loc[lambda q: q[fidelity] == 0, "label"])
    return [f"{fidelity} is 0 for {some(at_zero)}: ranked, and in no logarithm"] if at_zero else []


def _looks(cohort: pd.DataFrame, fidelity: str | None) -> list[str]:
    label = looks_like_reference(cohort, fidelity)
    if label is None:
        return []
    return [f"'{label}' looks like the reference and is ranked as a quant here: if it is, say --reference '{label}'"]


def describe_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values: NaN becomes None."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{k: v.item() if isinstance(v, np.generic) else v for k, v in row.items()} for row in rows]
