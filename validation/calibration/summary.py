"""The calibration in one table: what is wanted, what was found, its Monte-Carlo error, and whether it is met."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from qkld.study.text_table import TextTable
from validation.calibration.runs import Calibration
from validation.calibration.table import estimate_text, verdict_text, worst_place
from validation.calibration.targets import LEAST_RUNS, LEVEL, Checked

HEADER = ("wanted", "target", "places", "worst estimate ± its error", "of runs", "where", "verdict")


def summary_rows(bounds: Sequence[Checked]) -> list[tuple[str, ...]]:
    """One row a wanted bound and group of places, the place farthest on the wrong side standing for them."""
    groups: dict[tuple[str, str], list[Checked]] = {}
    for bound in bounds:
        groups.setdefault((bound.what, bound.group), []).append(bound)
    return [_row(what, group, own) for (what, group), own in groups.items()]


def _row(what: str, group: str, own: Sequence[Checked]) -> tuple[str, ...]:
    worst = worst_place(own)
    name = f"{what}: {group}" if group else what
    estimate = estimate_text(worst.rate, worst.error)
    return (name, worst.wanted, str(len(own)), estimate, f"{worst.runs:,}", worst.where, verdict_text(own))


def listed_rows(sizes: pd.DataFrame) -> list[tuple[str, ...]]:
    """The procedures known to exceed their size: listed with the largest of their worlds, and asked for nothing."""
    rows = []
    for (test, known), cell in sizes[sizes["known"] != ""].groupby(["test", "known"], sort=False):
        worst = cell.loc[cell["size"].idxmax()]
        error = (worst["size"] * (1 - worst["size"]) / worst["runs"]) ** 0.5
        name, estimate = f"size, listed and promised nowhere: {test}", estimate_text(worst["size"], error)
        rows.append((name, "none", str(len(cell)), estimate, f"{worst['runs']:,}", worst["where"], f"listed: {known}"))
    return rows


def summary_markdown(found: Calibration, made: dict[str, Any]) -> str:
    """The table with its numbers of places, and where every place stands."""
    rows = summary_rows(found.bounds)
    if "size" in found.tables:
        rows += listed_rows(found.tables["size"])
    missed, untested = sum(b.missed for b in found.bounds), sum(b.passed is None for b in found.bounds)
    minutes = sum(found.seconds.values()) / 60
    note = (
        f"{len(found.bounds):,} places, {missed} not met: there the exact binomial test of the target has p < "
        f"{LEVEL:g}; {untested} not tested, as fewer than {LEAST_RUNS} cohorts are of that class; after Holm: adjusted "
        "for the places of the row. A row shows its place with the smallest p; the error is the Monte-Carlo standard "
        f"error of {made['runs']:,} simulated cohorts a place, fewer where said. "
        f"Seed {made['seed']}; {minutes:.0f} processor minutes. Every place, and the tables of verdicts, coverage "
        "and sizes, stand in `calibration.md`, which `make calibrate` writes."
    )
    return TextTable("Calibration", note, HEADER, tuple(rows)).markdown() + "\n"
