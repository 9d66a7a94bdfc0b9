"""`qkld analyse`: a fidelity metric against scores in anybody's table, over all quants and inside a zone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qkld.errors import StatisticsError, TableError, explain
from qkld.provenance import made_by, sha256_of_file, write_json, written_whole
from qkld.statistics.correlation import Resampling
from qkld.statistics.zone import full_and_zone, zone_curve

PAPER = Resampling(confidence=0.95, resamples=10_000, permutations=9_999, seed=2606)
"""The paper's bootstrap (percentile, B = 10,000, 95 %), with permutations and a seed of this project."""

LABELS = ("label", "quant", "model", "name")
CURVE_LEAST = 8
"""Fewest quants at or below a cut for a point of the curve."""

COMPOSITE = "unweighted mean of the score columns; whether each is above chance can not be seen from a table"

_ZONE = re.compile(r"^\s*(?P<column>[^<>=]+?)\s*(?P<sign><=|<|>=|>)\s*(?P<cut>[^<>=]+?)\s*$")
_COMPARE = {"<=": np.less_equal, "<": np.less, ">=": np.greater_equal, ">": np.greater}


@dataclass(frozen=True)
class Zone:
    """A cut of one column, for example ``kl_mean<=0.02``."""

    column: str
    sign: str
    cut: float

    def members(self, table: pd.DataFrame) -> pd.Series:
        """Which rows lie in the zone."""
        return pd.Series(_COMPARE[self.sign](table[self.column], self.cut), index=table.index)


def parse_zone(text: str) -> Zone:
    """Read ``COLUMN<=NUMBER`` (or <, >=, >)."""
    match = _ZONE.match(text)
    try:
        return Zone(match["column"], match["sign"], float(match["cut"]))
    except (TypeError, ValueError):
        raise TableError(
            explain(
                "The zone can not be read.",
                expected='COLUMN<=NUMBER, for example "kl_mean<=0.02"',
                found=repr(text),
                do="give one column, one of <= < >= >, and one number",
            )
        ) from None


def _read(path: Path, wanted: Sequence[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise TableError(
            explain(f"{path} can not be read.", expected="a CSV file with a header", found=error, do="mend the path")
        ) from error
    missing = [c for c in wanted if c not in table.columns]
    words = [c for c in wanted if c in table.columns and not pd.api.types.is_numeric_dtype(table[c])]
    if missing or words:
        raise TableError(
            explain(
                f"{path} lacks columns of numbers that were named.",
                expected=list(wanted),
                found=f"missing {missing}, not numbers {words}; the table has {list(table.columns)}",
                do="name columns of the table",
            )
        )
    return table


def _label_column(table: pd.DataFrame, path: Path) -> str:
    named = [c for c in LABELS if c in table.columns]
    column = named[0] if named else table.columns[0]
    doubled = table[column][table[column].duplicated()]
    if len(doubled):
        raise TableError(
            explain(
                f"{path} has a quant twice.",
                expected=f"each value of '{column}' once",
                found=", ".join(map(str, doubled.unique()[:3])),
                do="give every quant its own label",
            )
        )
    return column


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


def _cohort(
    table: pd.DataFrame, label: str, fidelity: str, scores: Sequence[str], reference: str | None
) -> pd.DataFrame:
    """The table in a cohort's form: role, family, ``score_<name>`` as fractions and their mean as ``composite``."""
    if reference is not None and reference not in set(table[label].astype(str)):
        raise TableError(
            explain(
                f"There is no row '{reference}'.",
                expected=list(table[label].astype(str)),
                found=reference,
                do="name the reference as it is in the table, or leave --reference out",
            )
        )
    cohort = pd.DataFrame({"label": table[label].astype(str)})
    cohort["role"] = np.where(cohort["label"] == reference, "reference", "quant")
    if "family" in table:
        cohort["family"] = table["family"].astype(str)
    empty = cohort.loc[(cohort["role"] == "quant") & table[[fidelity, *scores]].isna().any(axis=1), "label"]
    if len(empty):
        raise StatisticsError(
            explain(
                "Some quants have no value in a column that was named.",
                expected=f"{fidelity}, {', '.join(scores)} for every row but the reference",
                found=f"empty for {', '.join(empty)}",
                do="name the reference row with --reference, and take rows without values out of the table",
            )
        )
    scale = 100 if score_unit(table, scores) == "percent" else 1
    columns = {f"score_{s}": table[s] / scale for s in scores}
    cohort = cohort.assign(**{fidelity: table[fidelity]}, **columns)
    return cohort.assign(composite=cohort[list(columns)].mean(axis=1, skipna=False))


def analyse_table(
    table_path: Path | str,
    fidelity: str,
    scores: Sequence[str],
    reference: str | None = None,
    zone: str | None = None,
    out: Path | str | None = None,
    *,
    resampling: Resampling = PAPER,
) -> dict[str, Any]:
    """Spearman of a fidelity column with each score column and their mean, over all quants and inside a zone.

    ``table_path`` is a CSV with one quant a row, labelled by its column label, quant, model or name, else its first.
    Scores are fractions, or percent, which is recognised and stated. The row ``reference`` enters no correlation.
    ``zone`` is ``COLUMN<=NUMBER``, to be fixed before looking at scores. Into the folder ``out``, if one is given, go
    ``summary.json``, ``correlation.csv`` and ``zone_curve.csv``.

    Returns what ``summary.json`` holds: file and hash, unit, sizes, zone, and one entry a score and subset, where a
    number that can not be computed is None and ``note`` says why. Raises TableError or StatisticsError if a column or
    row is missing, a unit is not clear, or a quant has no value.
    """
    path = Path(table_path)
    cut = parse_zone(zone) if zone else None
    table = _read(path, [fidelity, *scores, *([cut.column] if cut else [])])
    cohort = _cohort(table, _label_column(table, path), fidelity, scores, reference)
    members = (cohort["role"] == "quant") & (cut.members(table) if cut else False)
    correlations, curve = _tables(cohort, members, fidelity, scores, resampling)
    if cut is None:
        correlations = correlations[correlations["subset"] == "full"]
    summary = {
        "table": path.name,
        "table_sha256": sha256_of_file(path),
        "fidelity": fidelity,
        "scores": list(scores),
        "score_unit": score_unit(table, scores),
        "composite": COMPOSITE,
        "reference": reference,
        "quants": int((cohort["role"] == "quant").sum()),
        "zone": zone,
        "zone_quants": list(cohort.loc[members, "label"]) if cut else None,
        "correlations": _json_rows(correlations),
    }
    if out is not None:
        _write(Path(out), summary, {"correlation": correlations, "zone_curve": curve})
    return summary


def _tables(
    cohort: pd.DataFrame, members: pd.Series, fidelity: str, scores: Sequence[str], resampling: Resampling
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Correlations over all quants and in the zone, and the curve of the composite; one score is its own composite."""
    benchmarks = [*scores, "composite"] if len(scores) > 1 else list(scores)
    correlations = full_and_zone(cohort, members, [fidelity], benchmarks, resampling=resampling)
    curve = zone_curve(cohort, least=CURVE_LEAST, resampling=resampling, metric=fidelity, benchmark=benchmarks[-1])
    return correlations, curve


def _json_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values: NaN becomes None."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{k: v.item() if isinstance(v, np.generic) else v for k, v in row.items()} for row in rows]


def _write(out: Path, summary: dict[str, Any], tables: dict[str, pd.DataFrame]) -> None:
    for name, table in tables.items():
        with written_whole(out / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
    write_json(out / "summary.json", {**summary, "made_by": made_by()})
