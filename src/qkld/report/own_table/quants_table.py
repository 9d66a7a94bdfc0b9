"""The table that a reader looks for first: every quant with its size, fidelity, score, flips and decision."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from qkld.analysis.own_table.checked_table import OwnTable
from qkld.report.figures.axes import metric_name
from qkld.report.numbers import printed, significant, size_text
from qkld.statistics.core.checks import is_divergence, score_column
from qkld.study.text_table import TextTable

COUNTS = ("volume", "leapfrogs", "drops")


def quants_table(own: OwnTable, tables: Mapping[str, pd.DataFrame], *, sizes: Mapping[str, int]) -> pd.DataFrame:
    """One row a model, the reference first, then from the nearest quant to the farthest.

    Columns: ``label, role``, ``size`` and the fidelity column with its ``fidelity_se`` where the table has them,
    ``score, score_se, difference`` (fractions of 1), the counts of `COUNTS` and ``decision`` where there are answers,
    ``in_zone``. ``sizes``: score → items behind it.
    """
    cohort = own.cohort.reset_index(drop=True)
    score = score_column(own.headline)
    rows = cohort[[c for c in ("label", "role", "size") if c in cohort]].copy()
    if own.fidelity is not None:
        rows["fidelity"] = cohort[own.fidelity]
        rows["fidelity_se"] = cohort.get(f"{own.fidelity}_se", np.nan)
    rows["score"], rows["score_se"] = cohort[score], standard_errors(own, sizes).to_numpy()
    of_reference = cohort.loc[cohort["role"] == "reference", score]
    rows["difference"] = cohort[score] - of_reference.iloc[0] if len(of_reference) else np.nan
    for name, columns in {"flips": COUNTS, "decision": ("decision",)}.items():
        if name in tables:
            table = tables[name]
            shown = table[table["benchmark"] == table["benchmark"].iloc[-1]].set_index("label")
            rows[list(columns)] = shown.reindex(rows["label"])[list(columns)].to_numpy()
    rows["in_zone"] = own.members.to_numpy()
    return rows.iloc[_order(own, rows)].reset_index(drop=True)


def _order(own: OwnTable, rows: pd.DataFrame) -> np.ndarray:
    """Reference, floors, quants; these by distance where there is a metric, else by falling score."""
    place = rows["role"].map({"reference": 0, "floor": 1, "quant": 2}).to_numpy()
    if own.fidelity is None:
        return np.lexsort((-rows["score"].to_numpy(), place))
    distance = -rows["fidelity"] if own.falling else rows["fidelity"]
    return np.lexsort((distance.to_numpy(), place))


def standard_errors(own: OwnTable, sizes: Mapping[str, int]) -> pd.Series:
    """Standard error of every row's headline score, a fraction of 1: as the table has it, else √(p(1 − p)/N).

    Of a mean of scores √Σse²/B. NaN where one of the scores has neither an error nor a number of items.
    """
    cohort, parts = own.cohort, []
    for score in own.scores:
        p = cohort[score_column(score)]
        of_items = np.sqrt(p * (1 - p) / sizes[score]) if score in sizes else pd.Series(np.nan, index=cohort.index)
        parts.append(cohort.get(f"se_{score}", of_items))
    return np.sqrt(sum(part**2 for part in parts)) / len(parts)


def quants_text(rows: pd.DataFrame, own: OwnTable, *, zone: str | None, margin: float) -> TextTable:
    """`quants_table` for readers; columns without any value are left out."""
    score = "mean score (%)" if len(own.scores) > 1 else f"{own.headline} (%)"
    columns = {
        "quant": _name,
        own.size_name or "size": lambda r: "" if pd.isna(r.get("size", np.nan)) else size_text(r["size"]),
        _fidelity_name(own): lambda r: _with_error(r.get("fidelity"), r.get("fidelity_se"), own.fidelity),
        "in the zone": lambda r: "yes" if r["in_zone"] else "",
        score: lambda r: _percent(r["score"], r["score_se"]),
        "difference (points)": lambda r: _points(r["difference"]) if r["role"] != "reference" else "",
        "changed": lambda r: _number(r.get("volume"), "{:,.0f}"),
        "gained": lambda r: _number(r.get("leapfrogs"), "{:,.0f}"),
        "lost": lambda r: _number(r.get("drops"), "{:,.0f}"),
        "decision": lambda r: r.get("decision") if isinstance(r.get("decision"), str) else "",
    }
    cells = [[make(row) for make in columns.values()] for row in rows.to_dict("records")]
    kept = [i for i in range(len(columns)) if any(row[i] for row in cells)]
    names = list(columns)
    return TextTable(
        "The quants",
        _note(
            own, zone, margin, names=[names[i] for i in kept], errors=any("±" in cell for row in cells for cell in row)
        ),
        tuple(names[i] for i in kept),
        tuple(tuple(row[i] for i in kept) for row in cells),
    )


def _fidelity_name(own: OwnTable) -> str:
    if own.fidelity is None:
        return "fidelity"
    return f"{metric_name(own.fidelity)} (nats)" if is_divergence(own.fidelity) else metric_name(own.fidelity)


def _name(row: Mapping) -> str:
    plain = row["role"] != "reference" or "reference" in row["label"].lower()
    return row["label"] if plain else f"{row['label']}, the reference"


def _note(own: OwnTable, zone: str | None, margin: float, *, names: list[str], errors: bool) -> str:
    """What the columns that are there mean."""
    sentences = []
    if own.fidelity is not None:
        sentences.append("From the nearest to the reference to the farthest.")
    if errors:
        sentences.append("± is one standard error of the figure beside it, where it is known.")
    if "in the zone" in names:
        sentences.append(f"Zone, the quants near the reference: {zone}.")
    if "changed" in names:
        sentences.append(
            "Changed: items that quant and reference answer differently (the volume); gained: the quant is right and "
            "the reference wrong (leapfrogs); lost: the other way round (drops)."
        )
    if "decision" in names:
        sentences.append(
            f"Decision: equivalent is shown to differ by less than {100 * margin:.4g} points from the reference, "
            "worse and better are shown to differ, undecided is neither; with these items, for all quants together."
        )
    return " ".join(sentences)


def _number(value: float | None, form: str) -> str:
    return "" if value is None or pd.isna(value) else form.format(value).replace("-", "−")


def _with_error(value: float | None, error: float | None, metric: str | None) -> str:
    if value is None or pd.isna(value):
        return ""
    shown = significant(value) if metric and is_divergence(metric) else _number(value, "{:.5g}")
    return shown if error is None or pd.isna(error) else f"{shown} ± {significant(error, 2)}"


def _percent(value: float, error: float) -> str:
    if pd.isna(value):
        return ""
    return printed(value, 2, percent=True) + ("" if pd.isna(error) else f" ± {printed(error, 2, percent=True)}")


def _points(value: float) -> str:
    if pd.isna(value):
        return ""
    shown = printed(value, 2, percent=True)
    if shown.strip("−") == "0.00":
        return "0.00"
    return shown if shown.startswith("−") else f"+{shown}"
