"""Measured figures of one quant: of a table, of the JSON that ``qkld compare`` writes, of a study, or measured now."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

from qkld.analysis.gate.judging import Estimate, Estimates
from qkld.analysis.gate.thresholds import KLD, LOSS, SHARES, TOP1, TOP1_NAMES, Threshold
from qkld.analysis.own_table.answers_by_item import Reading, load_items
from qkld.analysis.own_table.labels import labels_of
from qkld.analysis.own_table.measure import Columns, measured, usual_divergence
from qkld.analysis.own_table.number_columns import Numbers, read_numbers
from qkld.analysis.own_table.table_files import plain_name, read_table_file
from qkld.analysis.study import LoadedStudy
from qkld.errors import StatisticsError, TableError
from qkld.statistics.flips.design_effect import design_effects
from qkld.statistics.flips.flips import count_flips
from qkld.statistics.items.score_differences import difference_interval

LEVEL = 0.95
"""Confidence of intervals that are made here."""


# --- tables -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class QuantsTable:
    """A table of quants of any form, whose figures are read by metric and label.

    Intervals are columns ``<metric>_low`` and ``<metric>_high``, else made of a standard error: of windows
    (``<metric>_se_windows``) before that of tokens (``<metric>_se``, or ``value ± error`` in the cell).
    """

    path: Path
    cells: pd.DataFrame
    form: str
    labels: tuple[str, ...]
    columns: Columns

    @classmethod
    def read(cls, path: Path, *, label: Sequence[str] = (), unit: str | None = None) -> QuantsTable:
        """Read a table from any of `qkld.analysis.own_table.table_files`'s forms.

        Parameters
        ----------
        label : columns that make up a quant's label; none where the table is to say it
        unit : unit of the KL divergence, where its header does not name one

        Raises
        ------
        TableError
            If it cannot be read, or its rows have no labels of their own.
        """
        file = read_table_file(path, list(label))
        own = {plain_name(c): str(c) for c in file.cells}
        if missing := [name for name in label if plain_name(name) not in own]:
            raise TableError(
                f"{path} has no column {', '.join(missing)}.",
                expected="columns of the label",
                found=list(own.values()),
                do="name columns of the table with --label",
            )
        labels = tuple(labels_of(file.cells, [own[plain_name(name)] for name in label], path)[0])
        return cls(path, file.cells, file.form, labels, Columns(label, unit, divergence=True))

    def estimates(self, metric: str, reference: str | None = None) -> dict[str, Estimate]:
        """Label → its estimate of a metric; none of an empty cell or a metric without a column.

        Nor of a loss without the reference.

        A loss is taken as of independent scores, which is too wide for scores of the same items.

        Raises
        ------
        TableError
            If a cell is no number.
        """
        columns = _columns_of(metric, {plain_name(c): str(c) for c in self.cells})
        needed = [c for c in columns.values() if c is not None]
        if columns["value"] is None:
            return {}
        numbers = read_numbers(self.cells, needed, source=str(self.path), form=self.form)
        rows = {label: place for place, label in enumerate(self.labels)}
        scale = self._scale(metric, columns["value"], numbers[columns["value"]])
        found = {label: _of_row(metric, columns, numbers, rows, label, reference, scale) for label in self.labels}
        return {label: own for label, own in found.items() if own is not None and not math.isnan(own.value)}

    def _scale(self, metric: str, column: str, numbers: Numbers) -> float:
        """What a column's numbers are multiplied with: KLD to nats, shares to fractions of 1."""
        if metric == KLD:
            return measured(column, numbers, self.columns).scale
        percent = numbers.unit == "%" or numbers.values.max() > 1
        return 0.01 if metric.startswith(SHARES) and percent else 1.0


def of_table(
    table: QuantsTable, quant: str, reference: str | None, thresholds: Sequence[Threshold]
) -> tuple[Estimates, list[str]]:
    """What a table says of a quant, and the labels that it has; a metric without a column is not measured.

    Raises
    ------
    TableError
        As `QuantsTable.estimates`.
    """
    of_metric = {t.metric: table.estimates(t.metric, reference).get(quant) for t in thresholds}
    return {metric: [found] for metric, found in of_metric.items() if found is not None}, list(table.labels)


def _columns_of(metric: str, names: Mapping[str, str]) -> dict[str, str | None]:
    """The columns of a metric's value, error and interval."""
    plain = plain_name(metric.removeprefix(LOSS))
    value = names.get(plain)
    if value is None and metric == KLD:
        value = usual_divergence(list(names.values()))
    if value is None and metric == TOP1:
        value = next((names[name] for name in names if name in TOP1_NAMES), None)
    stem = plain if value is None else plain_name(value)
    errors = (names.get(f"{stem} {end}") for end in ("se windows", "se", "stderr"))
    ends = {end: names.get(f"{stem} {end}") for end in ("low", "high")}
    return {"value": value, "error": next((e for e in errors if e is not None), None), **ends}


def _of_row(
    metric: str,
    columns: Mapping[str, str | None],
    numbers: Mapping[str, Numbers],
    rows: Mapping[str, int],
    quant: str,
    reference: str | None,
    scale: float,
) -> Estimate | None:
    value, error = _cell(columns, numbers, rows[quant], scale)
    if metric.startswith(LOSS):
        return _loss(columns, numbers, rows, (value, error), reference, scale)
    low, high = (
        math.nan if columns[end] is None else float(numbers[columns[end]].values.iloc[rows[quant]]) * scale
        for end in ("low", "high")
    )
    return Estimate("", value, low, high) if not math.isnan(low) else _normal(value, error)


def _cell(
    columns: Mapping[str, str | None], numbers: Mapping[str, Numbers], row: int, scale: float
) -> tuple[float, float]:
    """(value, standard error) of a row in our unit; NaN where there is none."""
    own = numbers[columns["value"]]
    beside = numbers[columns["error"]].values if columns["error"] is not None else own.errors
    error = math.nan if beside is None else float(beside.iloc[row]) * scale
    return float(own.values.iloc[row]) * scale, error


def _loss(
    columns: Mapping[str, str | None],
    numbers: Mapping[str, Numbers],
    rows: Mapping[str, int],
    own: tuple[float, float],
    reference: str | None,
    scale: float,
) -> Estimate | None:
    if reference is None or reference not in rows:
        return None
    of_reference = _cell(columns, numbers, rows[reference], scale)
    found = _normal(of_reference[0] - own[0], math.hypot(own[1], of_reference[1]))
    note = "scores taken as independent: with --items the interval is narrower" if found.has_interval else ""
    return Estimate("", found.value, found.low, found.high, note)


def _normal(value: float, error: float) -> Estimate:
    reach = float(stats.norm.ppf(0.5 + LEVEL / 2)) * error
    return Estimate("", value, value - reach, value + reach)


# --- items ------------------------------------------------------------------------------------------------------------


def of_items(items: pd.DataFrame, quant: str, reference: str, scores: Iterable[str]) -> Estimates:
    """Each score's loss against the reference on the same items, with Tango's interval, widened by clusters of items.

    Raises
    ------
    StatisticsError
        If the two did not answer the same items.
    """
    found: dict[str, list[Estimate]] = {}
    for score in scores:
        own = items[items["benchmark"] == score].astype({"item": str})
        answers = {m: own[own["model"] == m].set_index("item")["correct"].sort_index() for m in (quant, reference)}
        if answers[quant].empty or answers[reference].empty:
            continue
        if not answers[quant].index.equals(answers[reference].index):
            raise StatisticsError(
                f"'{quant}' and '{reference}' were not tested on the same items of {score}.",
                expected=f"{len(answers[reference])} items, those of '{reference}'",
                found=f"{len(answers[quant])} items of '{quant}'",
                do="run both on the same items",
            )
        found[LOSS + score] = [_paired_loss(answers[quant], answers[reference], own)]
    return found


def _paired_loss(quant: pd.Series, reference: pd.Series, rows: pd.DataFrame) -> Estimate:
    flips = count_flips(reference, quant)
    widened = {}
    if "cluster" in rows:
        clusters = rows.drop_duplicates("item").set_index("item")["cluster"].reindex(quant.index).to_numpy()
        if len(set(clusters)) < len(clusters):
            values = {"score": (quant - reference).to_numpy(float)[:, None]}
            found = design_effects(values, {"score": clusters})
            widened = {"design_effect": float(found.effect[0]), "df": float(found.df[0])}
    ends = difference_interval([flips.leapfrogs], [flips.drops], [flips.items], LEVEL, **widened)
    low, high = (float(end.ravel()[0]) for end in ends)
    return Estimate("", float(-flips.net), -high, -low, f"{flips.items} items")


def read_items(path: Path, scores: Sequence[str] | None) -> pd.DataFrame:
    """Items of a file or folder, as ``qkld analyse --items`` reads them; None: of every benchmark."""
    return load_items(path, Reading(), scores).items


# --- comparisons and studies ------------------------------------------------------------------------------------------


def of_fidelity(fidelity: Sequence[Mapping[str, Any]], quant: str) -> tuple[Estimates, list[str]]:
    """Every metric of a quant in rows of schema ``fidelity``, by corpus and context; and the labels in them."""
    rows = [row for row in fidelity if row["quant"] == quant]
    places = {(row["corpus"], row["context"]) for row in rows}
    found: dict[str, list[Estimate]] = {}
    for row in rows:
        place = f"{row['corpus']}, context {row['context']}" if len(places) > 1 else ""
        ends = [math.nan if row[end] is None else float(row[end]) for end in ("estimate", "low", "high")]
        found.setdefault(row["metric"], []).append(Estimate(place, *ends, row.get("note") or ""))
    return found, list(dict.fromkeys(str(row["quant"]) for row in fidelity))


def of_comparison(value: Any, quant: str, source: Path) -> tuple[Estimates, list[str]]:
    """What the JSON of ``qkld compare`` says of a quant, and the labels that it has.

    Raises
    ------
    TableError
        If it has no rows of fidelity.
    """
    rows = value.get("fidelity") if isinstance(value, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "quant" in row for row in rows):
        raise TableError(
            f"{source} is not a comparison.",
            expected="the file of `qkld compare --json`, with rows of fidelity",
            found=type(value).__name__ if not isinstance(value, dict) else f"keys {list(value)[:6]}",
            do="name that file, or a table",
        )
    return of_fidelity(rows, quant)


def of_study(study: LoadedStudy, quant: str, thresholds: Sequence[Threshold]) -> tuple[Estimates, list[str]]:
    """A study's figures of a quant, with losses against its reference, and the study's labels."""
    found, labels = of_fidelity(study.fidelity.to_dict("records"), quant)
    scores = [t.score for t in thresholds if t.score is not None]
    losses = of_items(study.items, quant, study.params.reference.label, scores) if scores else {}
    return {**found, **losses}, labels
