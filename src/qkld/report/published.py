"""Published figures of real cohorts, ``published.yaml``: what they say, analysed like anybody's table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from qkld.analysis.own_table.zone_and_item_counts import parse_zone
from qkld.errors import TableError
from qkld.report.figures.axes import metric_name
from qkld.report.numbers import NOT_AVAILABLE, p_value, printed, with_interval
from qkld.report.own_table.run import PAPER, analyse_table
from qkld.statistics.core.resampling import Resampling
from qkld.study.checking import read_yaml, validated
from qkld.study.provenance import write_json, written_whole
from qkld.study.text_table import TextTable


class PublishedCohort(BaseModel):
    """One table of figures that others published, where it is from, and how it is analysed.

    ``families`` says how each quant's bits are spread: family → patterns of labels. ``n_items`` is left out where the
    source does not say it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    table: str
    model: str
    source: str
    fidelity: str
    scores: tuple[str, ...] = Field(min_length=1)
    families: Mapping[str, tuple[str, ...]] = Field(min_length=1)
    reference: str | None = None
    zone: str | None = None
    size: str | None = None
    n_items: Mapping[str, PositiveInt] = {}
    notes: tuple[str, ...] = ()


class Published(BaseModel):
    """The published cohorts of the project."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cohorts: tuple[PublishedCohort, ...] = Field(min_length=1)


def published_cohorts() -> tuple[PublishedCohort, ...]:
    """The cohorts of the package's ``published.yaml``."""
    with as_file(files("qkld.report") / "published.yaml") as path:
        return validated(Published, read_yaml(path), source=str(path)).cohorts


def analyse_cohort(
    cohort: PublishedCohort, out: Path | None = None, *, resampling: Resampling = PAPER
) -> dict[str, Any]:
    """Analyse one published cohort, as `analyse_table` does; its table lies in the package."""
    with as_file(files("qkld.report") / "published_tables" / cohort.table) as table:
        return analyse_table(
            table,
            cohort.fidelity,
            cohort.scores,
            cohort.reference,
            cohort.zone,
            out,
            n_items=cohort.n_items,
            size=cohort.size,
            remarks=(f"{cohort.model}; source: {cohort.source}", *cohort.notes),
            resampling=resampling,
        )


def analyse_published(out: Path, *, resampling: Resampling = PAPER) -> dict[str, dict[str, Any]]:
    """Analyse every published cohort into a folder of its own below ``out``; name → summary.

    ``out`` also gets ``published.csv``, the headline of each, ``conditions.csv``, what they were measured with, and
    ``published.json`` with all summaries.
    """
    summaries = {c.name: analyse_cohort(c, out / c.name, resampling=resampling) for c in published_cohorts()}
    with written_whole(out / "published.csv") as temporary:
        headline_rows(summaries).to_csv(temporary, index=False)
    write_json(out / "published.json", summaries)
    with written_whole(out / "conditions.csv") as temporary:
        conditions(published_cohorts()).to_csv(temporary, index=False)
    return summaries


def conditions(cohorts: Iterable[PublishedCohort]) -> pd.DataFrame:
    """What each cohort was measured with: families, items, and how far apart the quants of the zone are.

    Columns: ``cohort, families, zone_families, items, zone_lowest, zone_highest, zone_score_range``; ``items`` are of
    all benchmarks together, empty where the source does not say them; lowest and highest are of the fidelity metric in
    its unit, the range of the mean score is in points.
    """
    return pd.DataFrame([_condition(cohort) for cohort in cohorts])


def _condition(cohort: PublishedCohort) -> dict[str, Any]:
    with as_file(files("qkld.report") / "published_tables" / cohort.table) as path:
        table = pd.read_csv(path)
    quants = table[table["quant"] != cohort.reference]
    zone = quants if cohort.zone is None else quants[parse_zone(cohort.zone).members(quants)]
    scores = zone[list(cohort.scores)].dropna(axis="columns").mean(axis="columns")
    points = 1 if scores.max() > 1 else 100
    return {
        "cohort": cohort.name,
        "families": len({family_of(label, cohort) for label in quants["quant"]}),
        "zone_families": len({family_of(label, cohort) for label in zone["quant"]}),
        "items": sum(cohort.n_items.values()) or None,
        "zone_lowest": zone[cohort.fidelity].min(),
        "zone_highest": zone[cohort.fidelity].max(),
        "zone_score_range": round(points * (scores.max() - scores.min()), 4),
    }


def family_of(label: str, cohort: PublishedCohort) -> str:
    """The one family whose patterns fit a label.

    Raises
    ------
    TableError
        If none or several fit.
    """
    fitting = [name for name, patterns in cohort.families.items() if any(fnmatchcase(label, p) for p in patterns)]
    if len(fitting) != 1:
        raise TableError(
            f"Quant '{label}' of '{cohort.name}' does not match exactly one family.",
            expected=f"one of {list(cohort.families)}",
            found=fitting or "none",
            do="correct the patterns of `families` in published.yaml",
        )
    return fitting[0]


def headline_rows(summaries: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """ρ of fidelity with the headline score of each cohort, full and zone, and the largest |ρ| its items allow.

    Columns: ``cohort, fidelity, zone, benchmark, subset, n, estimate, low, high, zmax_low, zmax_high, p,
    attainable_low, attainable_high``; the last two are empty without numbers of items.
    """
    rows = []
    for name, summary in summaries.items():
        benchmark = summary["correlations"][-1]["benchmark"]
        noise = {(r["benchmark"], r["subset"]): r for r in summary["score_noise"] or ()}
        for row in summary["correlations"]:
            if row["benchmark"] == benchmark:
                ends = noise.get((benchmark, row["subset"]), {})
                rows.append(
                    {
                        "cohort": name,
                        "fidelity": summary["fidelity"],
                        "zone": summary["zone"],
                        **{c: row[c] for c in ("benchmark", "subset", "n", "estimate", "low", "high")},
                        **{c: row[c] for c in ("zmax_low", "zmax_high", "p")},
                        **{c: ends.get(c) for c in ("attainable_low", "attainable_high")},
                    }
                )
    return pd.DataFrame(rows)


def published_table(rows: pd.DataFrame) -> TextTable:
    """`headline_rows` as a table for readers: one cohort a row, all quants beside the zone."""
    cells = []
    for name, part in rows.groupby("cohort", sort=False):
        full, zone = (part[part["subset"] == subset].iloc[0] for subset in ("full", "zone"))
        ends = [printed(zone[c]) for c in ("attainable_low", "attainable_high")]
        cells.append(
            (
                str(name),
                metric_name(full["fidelity"]),
                str(int(full["n"])),
                with_interval(full),
                str(zone["zone"]),
                str(int(zone["n"])),
                with_interval(zone),
                p_value(zone["p"]),
                " to ".join(ends) if NOT_AVAILABLE not in ends else "",
            )
        )
    return TextTable(
        "Published cohorts",
        "Spearman's ρ of fidelity with the mean of the published benchmarks, with the bootstrap interval over quants; "
        "the last column is the range in which the largest |ρ| lies that a perfect metric could be expected to show in "
        "the zone with these numbers of items.",
        ("cohort", "fidelity", "n", "ρ", "zone", "n in zone", "ρ in zone", "p", "largest |ρ| in zone"),
        tuple(cells),
    )
