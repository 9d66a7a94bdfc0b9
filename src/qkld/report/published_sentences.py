"""Which published cohorts collapse near the reference, which do not, and what they were measured with, in words."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from qkld.report.numbers import printed, significant
from qkld.report.sentences import count

CONDITIONS = {
    "Number of items": ("items", lambda value: f"{value:,.0f}"),
    "Families of quants in the zone": ("zone_families", lambda value: f"{value:.0f}"),
    "Highest divided by lowest mean KLD in the zone": ("ratio", lambda value: significant(value, 3)),
    "Range of the mean score in the zone, in points": ("zone_score_range", printed),
}
"""What may separate the cohorts → its column, and how a value of it is written."""


def published_sentences(rows: pd.DataFrame, conditions: pd.DataFrame) -> str:
    """Paragraphs on cohorts that still rank in the zone and on those that do not, as Markdown.

    Parameters
    ----------
    rows, conditions : `qkld.report.published.headline_rows` and `qkld.report.published.conditions`
    """
    zone = _with_ends(rows[rows["subset"] == "zone"]).set_index("cohort")
    whole = _with_ends(rows[rows["subset"] == "full"]).set_index("cohort")
    ranks = zone["upper"] < 0
    known = conditions.set_index("cohort")
    ratio = (known["zone_highest"] / known["zone_lowest"]).where(zone["fidelity"].str.startswith("kl"))
    known = known.assign(ratio=ratio)
    parts = [
        f"**In {ranks.sum()} of {count(len(zone), 'cohort')} the metric still ranks the quants of the zone**; the "
        f"interval of ρ is below 0: {_cohorts(zone[ranks])}.",
        f"**In {(~ranks).sum()} it does not**; the interval contains 0: {_cohorts(zone[~ranks])}."
        f"{_of_whole(whole, ranks)}",
    ]
    if ranks.any() and not ranks.all():
        parts.append("**What separates the two groups:**")
        parts.append("\n".join(_condition(name, known, ranks) for name in CONDITIONS))
        parts.append(_attainable(zone, ranks))
    return "\n\n".join(part for part in parts if part)


def _with_ends(rows: pd.DataFrame) -> pd.DataFrame:
    """The bootstrap interval, or Fisher's z where there are too few quants to resample."""
    bootstrapped = rows["low"].notna()
    return rows.assign(
        lower=rows["low"].where(bootstrapped, rows["zmax_low"]),
        upper=rows["high"].where(bootstrapped, rows["zmax_high"]),
    )


def _cohorts(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "none"
    return "; ".join(
        f"`{name}`, ρ = {printed(r['estimate'])} [{printed(r['lower'])}, {printed(r['upper'])}], {count(int(r['n']))}"
        for name, r in rows.iterrows()
    )


def _of_whole(whole: pd.DataFrame, ranks: pd.Series) -> str:
    """In how many of the cohorts that do not rank in the zone the whole cohort does not either."""
    neither = [f"`{name}`" for name in whole.index[~ranks & (whole["upper"] >= 0)]]
    return f" In {', '.join(neither)} the interval of the whole cohort contains 0 as well." if neither else ""


def _condition(name: str, known: pd.DataFrame, ranks: pd.Series) -> str:
    """One condition: its range in both groups, and whether the ranges are apart."""
    column, written = CONDITIONS[name]
    yes, no = (known.loc[ranks.index[of], column] for of in (ranks, ~ranks))
    unknown = [f"`{cohort}`" for cohort in known.index[known[column].isna()]]
    apart = yes.min() > no.max() or yes.max() < no.min()
    without = f" (without {', '.join(unknown)})" if unknown else ""
    said = "This separates the two groups." if apart else "The two ranges overlap."
    return (
        f"- {name}: {_range(yes, written)} where the metric still ranks, {_range(no, written)} where it does not"
        f"{without}. {said}"
    )


def _range(values: pd.Series, written: Callable[[float], str]) -> str:
    low, high = written(values.min()), written(values.max())
    return low if low == high else f"{low} to {high}"


def _attainable(zone: pd.DataFrame, ranks: pd.Series) -> str:
    """What a perfect metric could reach in the zone with these numbers of items."""
    ends = {of: zone.loc[ranks if of else ~ranks, "attainable_high"].dropna() for of in (True, False)}
    if ends[True].empty or ends[False].empty:
        return ""
    first, second = (_range(ends[of], printed) for of in (True, False))
    return (
        f"The number of items limits ρ: a perfect metric would reach |ρ| of at most {first} in the zone of the first "
        f"group and of at most {second} in that of the second. The cohorts differ in several conditions at once, so "
        "they cannot show which one is the cause."
    )
