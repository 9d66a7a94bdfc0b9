"""The calibration as Markdown and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from qkld.statistics.flips.decision import holm
from qkld.study.text_table import TextTable
from validation.calibration.runs import Calibration
from validation.calibration.targets import LEAST_RUNS, LEVEL, Checked
from validation.calibration.verdicts import CARRIED, LIMITED, MISSING

NO_VALUE = "–"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, its first column left and the others right."""
    return TextTable("", "", tuple(header), tuple(map(tuple, rows))).markdown()


def _rate(value: float, digits: int = 3) -> str:
    if not np.isfinite(value):
        return NO_VALUE
    text = f"{value:.{digits}f}"
    short = text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text
    return short.replace("-", "−")


def estimate_text(rate: float, error: float) -> str:
    """A simulated rate with its Monte-Carlo standard error."""
    return f"{_rate(rate)} ± {_rate(error)}"


def verdict_text(bounds: Sequence[Checked]) -> str:
    """Met in all places, or in how many it is not, also where p is adjusted by Holm's method for all these places.

    Places of fewer than `LEAST_RUNS` cohorts are not tested, and count in neither.
    """
    tested = [b for b in bounds if b.passed is not None]
    untested = f"; {len(bounds) - len(tested)} not tested" if len(tested) < len(bounds) else ""
    missed = sum(b.missed for b in tested)
    if not tested:
        return "not tested"
    if not missed:
        return f"met{untested}"
    if len(tested) == 1:
        return f"**not met**{untested}"
    adjusted = int((holm(np.array([b.p for b in tested])) < LEVEL).sum())
    return f"**not met** in {missed} of {len(tested)}, after Holm in {adjusted or 'none'}{untested}"


def worst_place(bounds: Sequence[Checked]) -> Checked:
    """The place with the smallest p, of those that were tested where there are any."""
    return min([b for b in bounds if b.passed is not None] or bounds, key=lambda b: b.p)


# --- bounds -----------------------------------------------------------------------------------------------------------


def bounds_table(bounds: Sequence[Checked]) -> str:
    """Every wanted bound in one row: where it was checked, its worst place, and in how many places it is not met."""
    rows = []
    for what in dict.fromkeys(b.what for b in bounds):
        own = [b for b in bounds if b.what == what]
        worst = worst_place(own)
        worst_text = f"{_rate(worst.rate)} [{_rate(worst.low)}, {_rate(worst.high)}] of {worst.runs:,}: {worst.where}"
        rows.append([what, own[0].wanted, str(len(own)), worst_text, f"{worst.p:.3f}", verdict_text(own)])
    header = ["wanted", "target", "places", "worst place, rate [exact 95 % interval] of runs", "p of it", "verdict"]
    return markdown_table(header, rows)


def places_table(bounds: Sequence[Checked]) -> str:
    """Every place where a bound is wanted: target, estimate, Monte-Carlo error, p and verdict."""
    rows = [
        [b.what, b.where, b.wanted, estimate_text(b.rate, b.error), f"{b.runs:,}", f"{b.p:.4f}", verdict_text([b])]
        for b in bounds
    ]
    return markdown_table(["wanted", "where", "target", "estimate ± error", "runs", "p", "verdict"], rows)


def missed_table(bounds: Sequence[Checked]) -> str:
    """The places where a bound is not met; a sentence where there is none."""
    missed = [b for b in bounds if b.missed]
    return places_table(missed) if missed else "Every bound that was tested is met."


# --- parts ------------------------------------------------------------------------------------------------------------


def verdict_table(rates: pd.DataFrame, condition: str) -> str:
    """Shares missing / carried / noise-limited for each world, zone and number of items, and the largest errors."""
    part = rates[rates["condition"] == condition]
    sizes = sorted(part["items"].unique())
    rows = []
    for (world, cohort, zone), cell in part.groupby(["world", "cohort", "zone"], sort=False):
        shares = cell.set_index("items")[[f"share {name}" for name in (MISSING, CARRIED, LIMITED)]]
        texts = ["/".join(_rate(v, 2) for v in shares.loc[n]) for n in sizes]
        errors = [_worst(cell, *names) for names in (("missing | high", "high"), ("carried | low", "low"))]
        both = cell.loc[cell["no difference"] > 0, "claims"] / cell.loc[cell["no difference"] > 0, "runs"]
        claims = _rate(both.max()) if len(both) else NO_VALUE
        held = _rate(cell["r2_coverage"].min(), 2)
        rows.append([world, f"{zone} of {cohort}", _rate(cell["median_r2"].iloc[0], 2), *texts, *errors, claims, held])
    header = [
        *("world", "zone", "median true R²"),
        *(f"{n:,}" for n in sizes),
        *("“missing”, R² ≥ .75", "“carried”, R² ≤ .25 or upward", "either, no differences"),
        "90 % interval holds true R²",
    ]
    return markdown_table(header, rows)


def _worst(cell: pd.DataFrame, hits: str, runs: str, least: int = 40) -> str:
    """Largest share over numbers of items with at least ``least`` such cohorts."""
    enough = cell[cell[runs] >= least]
    return _rate((enough[hits] / enough[runs]).max()) if len(enough) else NO_VALUE


def power_table(rates: pd.DataFrame) -> str:
    """What the outlier step costs, and what the verdict with 1.3 V would claim: W1 and W2 as they are, and WN."""
    part = rates[(rates["condition"] == "as it is") & rates["world"].isin(["WN", "W1", "W2"])]
    rows = [
        [
            f"{r['world']}, {r['zone']} of {r['cohort']}",
            f"{r['items']:,}",
            *(_rate(r[c], 2) for c in (f"share {MISSING}", "share missing on all quants", f"share {CARRIED}")),
            _rate(r["claims with 1.3 V"] / r["runs"], 2),
            _rate(r["share set aside"], 2),
        ]
        for r in part.to_dict("records")
    ]
    header = ["world", "items", "missing", "missing on all quants", "carried", "either, with 1.3 V", "quant set aside"]
    return markdown_table(header, rows)


def two_way_table(rates: pd.DataFrame) -> str:
    """Coverage of the expected ρ at this number of items, and of the error-free ρ, for both intervals."""
    rows = [
        [
            f"{r['world']}, {r['zone']} of {r['cohort']}",
            f"{r['items']:,}",
            f"{r['runs']:,}",
            _rate(r["expected"], 2),
            _rate(r["twoway_coverage"]),
            _rate(r["zmax_coverage"]),
            _rate(r["twoway_width"], 2),
            _rate(r["zmax_width"], 2),
            _rate(r["error_free"], 2),
            _rate(r["twoway_coverage_error_free"]),
            _rate(r["zmax_coverage_error_free"]),
        ]
        for r in rates.to_dict("records")
    ]
    header = [
        *("world", "items", "cohorts", "expected ρ", "two-way holds it", "z-max holds it", "two-way width"),
        *("z-max width", "error-free ρ", "two-way holds that", "z-max holds that"),
    ]
    return markdown_table(header, rows)


def items_verdict_table(rates: pd.DataFrame) -> str:
    """Shares missing / carried / noise-limited where V is estimated from the items, by number of items."""
    sizes = sorted(rates["items"].unique())
    rows = []
    for (world, cohort, zone), cell in rates.groupby(["world", "cohort", "zone"], sort=False):
        shares = cell.set_index("items")[[f"share {name}" for name in (MISSING, CARRIED, LIMITED)]]
        texts = ["/".join(_rate(v, 2) for v in shares.loc[n]) if n in shares.index else NO_VALUE for n in sizes]
        rows.append([f"{world}, {zone} of {cohort}", *texts])
    return markdown_table(["world", *(f"{n:,} items" for n in sizes)], rows)


def zmax_table(rates: pd.DataFrame, column: str = "coverage") -> str:
    """Coverage of an interval in the independent scenarios, by number of quants; those alone that have one."""
    known = rates[rates[column].notna()]
    sizes = sorted(known["quants"].unique())
    rows = []
    for scenario, cell in known.groupby("scenario", sort=False):
        by_n = cell.set_index("quants")[column]
        rows.append(
            [scenario, _rate(cell["rho"].iloc[0], 2), *(_rate(by_n[n]) if n in by_n else NO_VALUE for n in sizes)]
        )
    return markdown_table(["scenario", "ρ", *(f"{n} quants" for n in sizes)], rows)


def size_table(rates: pd.DataFrame) -> str:
    """Smallest and largest size of each test, and where the largest is."""
    rows = []
    for test, cell in rates.groupby("test", sort=False):
        worst = cell.loc[cell["size"].idxmax()]
        span = f"{_rate(cell['size'].min())} to {_rate(cell['size'].max())}"
        rows.append([test, str(len(cell)), span, worst["where"], worst["known"] or NO_VALUE])
    return markdown_table(["test", "worlds", "size", "largest in", "known to exceed .06"], rows)


def few_items_table(rates: pd.DataFrame) -> str:
    """Shares of each answer where V is estimated from few items, or clusters, or answers to the same items."""
    rows = [
        [
            f"{r['world']}, {r['quants']} quants",
            r["design"],
            f"{r['runs']:,}",
            _rate(r["median_r2"], 2),
            *(_rate(r[f"share {name}"], 2) for name in (MISSING, CARRIED, LIMITED)),
        ]
        for r in rates.to_dict("records")
    ]
    header = ["world", "items", "cohorts", "median true R²", "missing", "carried", "noise-limited"]
    return markdown_table(header, rows)


def temperature_table(rates: pd.DataFrame) -> str:
    """How often a change by one temperature is read as scale alone, and how often as of choices."""
    rows = [
        [
            f"scale {r['scale']:g}",
            f"{r['items']:,}",
            f"{r['runs']:,}",
            _rate(r["share"]),
            _rate(r["choices"] / r["runs"]),
        ]
        for r in rates.to_dict("records")
    ]
    return markdown_table(["world", "items", "quants", "scale; no choice changed", "choices"], rows)


def tau_table(rates: pd.DataFrame) -> str:
    """Coverage of τ's interval, and its width, by true τ."""
    rows = [
        [
            f"{r['quants']} quants, {r['design']}",
            _rate(r["tau"]),
            f"{r['runs']:,}",
            _rate(r["coverage"]),
            _rate(r["estimate"]),
            _rate(r["width"]),
        ]
        for r in rates.to_dict("records")
    ]
    return markdown_table(["quants and items", "true τ", "cohorts", "holds it", "mean estimate", "mean width"], rows)


def builds_table(rates: pd.DataFrame) -> str:
    """Coverage, rejections and estimates of each component of replicate builds; variances in squared points."""
    rows = [
        [
            f"{r['recipes']} × {r['builds']}",
            str(r["component"]),
            _rate(r["between"]),
            _rate(r["within"]),
            f"{r['runs']:,}",
            _rate(r["coverage"]),
            _rate(r["rejection"]),
            _rate(1e4 * r["mean_moment"], 2),
            _rate(1e4 * r["moment_error"], 2),
            _rate(100 * r["mean_sd"], 2),
            _rate(100 * r["median_high"], 2),
        ]
        for r in rates.to_dict("records")
    ]
    header = ["recipes × builds", "component", "σ_u", "σ_w", "cohorts", "holds it", "rejects 0"]
    more = ["mean unbiased variance", "± its error", "mean fitted sd", "median upper end"]
    return markdown_table([*header, *more], rows)


def rounds_table(rates: pd.DataFrame) -> str:
    """Cohorts with any wrong decision, files decided, and items taken as a share of the fixed plan's, by rule."""
    rows = [
        [
            f"{r['score']}, {r['world']}",
            str(r["files"]),
            str(r["rule"]),
            f"{r['runs']:,}",
            _rate(r["error"]),
            _rate(r["decided"]),
            _rate(r["items"], 2),
        ]
        for r in rates.to_dict("records")
    ]
    return markdown_table(["score and world", "files", "rule", "cohorts", "any wrong", "decided", "items"], rows)


# --- whole ------------------------------------------------------------------------------------------------------------

_SECTIONS = {
    "verdict": [
        ("Verdict", lambda t: verdict_table(t, "as it is")),
        ("Verdict with one broken quant, 3 points down", lambda t: verdict_table(t, "one broken quant")),
        ("Verdict with V too small by 1.3", lambda t: verdict_table(t, "V too small by 1.3")),
        ("What the outlier step and 1.3 V cost", power_table),
    ],
    "second_score": [("Verdict by the probability of the right choice, V from the items", items_verdict_table)],
    "temperature": [("What is read where one temperature is all that changed", temperature_table)],
    "two_way": [
        ("Intervals of ρ in the worlds, item by item", two_way_table),
        ("Verdict with V from the items", items_verdict_table),
    ],
    "zmax": [
        ("z-max interval, independent quants; up to 7 the exact one", zmax_table),
        ("Percentile interval, independent quants", lambda t: zmax_table(t, "percentile_coverage")),
        ("BCa interval, independent quants", lambda t: zmax_table(t, "bca_coverage")),
    ],
    "few_items": [("Verdict on few items, clusters or repeats, V from them", few_items_table)],
    "builds": [("Components of replicate builds, V from the items, in points", builds_table)],
    "rounds": [("Items in rounds: every rule on the same items", rounds_table)],
    "tau": [("Interval of τ, V from the items", tau_table)],
    "size": [("Size of every test, nominal .05", size_table)],
}

_CELLS = (
    "Cells of a verdict table: share direction missing / carried / noise-limited, the rest undetermined. "
    "Errors are the largest over numbers of items with 40 such cohorts or more, coverage the smallest."
)


def calibration_markdown(found: Calibration, made: dict[str, Any]) -> str:
    """The whole calibration: bounds first, then every table."""
    failed, untested = sum(b.missed for b in found.bounds), sum(b.passed is None for b in found.bounds)
    text = [
        "# Calibration",
        f"{len(found.bounds):,} places where a bound is wanted, {failed} not met; {untested} of them, of fewer than "
        f"{LEAST_RUNS} cohorts, not tested. A bound counts as not met where the exact binomial test of the simulated "
        f"rate has p < {LEVEL:g}, not adjusted for their number. "
        f"{made['runs']:,} cohorts a cell unless said; seed {made['seed']}. Errors are Monte-Carlo standard errors.",
        bounds_table(found.bounds),
        "## Not met",
        missed_table(found.bounds),
        f"## Tables\n\n{_CELLS}",
    ]
    for part, table in found.tables.items():
        for title, draw in _SECTIONS[part]:
            text += [f"### {title}", draw(table)]
    text += ["## Every place", places_table(found.bounds)]
    return "\n\n".join(text) + "\n"


def calibration_json(found: Calibration, made: dict[str, Any]) -> dict[str, Any]:
    """Everything as JSON values: bounds, tables and the seconds of each part; NaN becomes None."""
    tables = {
        name: table.astype(object).where(table.notna(), None).to_dict("records") for name, table in found.tables.items()
    }
    return {"made_by": made, "seconds": found.seconds, "bounds": [b.row for b in found.bounds], "tables": tables}
