"""The answer of an analysis in words, for somebody who has never read of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from qkld.analysis.own_table.checked_table import OwnTable, some
from qkld.report.numbers import printed, size_text
from qkld.report.sentences import VERDICTS, count
from qkld.statistics.core.checks import LEAST_QUANTS, is_divergence
from qkld.statistics.flips.decision import UNDECIDED

SIGNIFICANT = 0.05
"""p from which a relation is not shown."""

STRENGTHS = ((0.9, "almost without exception"), (0.7, "well"), (0.4, "roughly"), (0.0, "weakly"))
"""|ρ| from which a ranking is called so."""

ENOUGH = 0.7
"""Least |ρ| of a perfect metric from which noise of the scores does not hide a relation."""

FEW_QUANTS = 8
"""Quants below which |ρ| has to be about .8 or more to be more than chance."""


@dataclass(frozen=True)
class Answer:
    """An answer in sentences.

    Attributes
    ----------
    headline : whether the fidelity metric tells good quants from bad, over all of them and near the reference
    decides : what limits or carries that answer
    smallest : the smallest quant that is shown to be equivalent to the reference, or what it would take
    decisions : how many quants are equivalent, worse, better and undecided; empty without a test
    order : how many pairs of quants the items put in order; empty without items
    second : what the other score says beside the primary one; empty where items have no second score
    """

    headline: str
    decides: str
    smallest: str
    decisions: str = ""
    order: str = ""
    second: str = ""

    def entries(self) -> dict[str, str]:
        """The sentences by name, as ``summary.json`` holds them."""
        return asdict(self)


def answer_of(
    own: OwnTable,
    tables: Mapping[str, pd.DataFrame],
    *,
    zone: str | None,
    sizes: Mapping[str, int] | None,
    margin: float,
) -> Answer:
    """Put the result tables into words; ``sizes`` are the items of each score where there are answers item by item."""
    decided = _headline_rows(tables.get("decision"))
    return Answer(
        headline=_headline(own, tables, zone, decided, margin),
        decides=_decides(own, tables, zone, sizes),
        smallest=_smallest(own, decided, margin, has_items=sizes is not None),
        decisions="" if decided is None else _decisions(decided, margin),
        order=_order(tables.get("pairs")),
        second=_second(tables, "full" if zone is None else "zone"),
    )


def metric_of(own: OwnTable) -> str:
    """The fidelity metric as sentences name it."""
    return "KLD" if is_divergence(own.fidelity) else own.fidelity


def _headline_rows(table: pd.DataFrame | None) -> pd.DataFrame | None:
    """The rows of the score that headlines are about: the composite or the one score, which stands last."""
    return None if table is None else table[table["benchmark"] == table["benchmark"].iloc[-1]]


def _row(tables: Mapping[str, pd.DataFrame], name: str, subset: str) -> dict[str, Any] | None:
    table = _headline_rows(tables.get(name))
    rows = [] if table is None else table[table["subset"] == subset].to_dict("records")
    return rows[0] if rows else None


def _second(tables: Mapping[str, pd.DataFrame], subset: str) -> str:
    """The verdict by both scores, and how many quants they decide otherwise."""
    row, decided = _row(tables, "two_scores", subset), _headline_rows(tables.get("probability"))
    said = [] if row is None else [row["says"]]
    if decided is not None:
        other = decided.loc[decided["says"] != "", "label"].tolist()
        otherwise = f"Decided otherwise by the other score: {some(other)}."
        said.append(otherwise if other else "Both scores decide every quant alike.")
    return " ".join(said)


# --- does the metric rank the scores ----------------------------------------------------------------------------------


def _headline(
    own: OwnTable, tables: Mapping[str, pd.DataFrame], zone: str | None, decided: pd.DataFrame | None, margin: float
) -> str:
    if own.fidelity is None:
        return "There is no fidelity metric: only the answers are compared" + (
            "." if decided is None else f". {_decisions(decided, margin)}."
        )
    every = "Over all" if len(own.quants) > 1 else "Of"
    whole = f"{every} {count(len(own.quants))} {_said(own, tables, 'full')}"
    if zone is None:
        return f"{whole}."
    return f"{whole}; near the reference ({zone}, {count(int(own.members.sum()))}) {_said(own, tables, 'zone')}."


def _said(own: OwnTable, tables: Mapping[str, pd.DataFrame], subset: str) -> str:
    """The relation in one subset, with the verdict where there is one."""
    relation = relation_of(own, _row(tables, "correlation", subset))
    verdict = _row(tables, "verdict", subset)
    if verdict is None or not verdict["verdict"]:
        return relation
    return f"{relation}: {VERDICTS[verdict['verdict']].format(metric=metric_of(own))}"


def relation_of(own: OwnTable, row: Mapping[str, Any] | None) -> str:
    """Whether the metric ranks these quants by score, with ρ, its interval and p."""
    metric = metric_of(own)
    if row is None or pd.isna(row["estimate"]):
        few = row is None or row["n"] < LEAST_QUANTS
        why = f"a correlation needs at least {LEAST_QUANTS}" if few else "the scores or the metric are all alike"
        return f"nothing can be said of {metric} and score ({why})"
    rho, p = row["estimate"], row["p"]
    expected = (rho > 0) if own.falling else (rho < 0)
    if row["n"] <= LEAST_QUANTS and not p < SIGNIFICANT:
        said = f"no relation of {metric} and score can be shown, whatever ρ is: {count(row['n'])} are too few"
    elif pd.isna(p) or p >= SIGNIFICANT:
        said = f"no relation of {metric} and score is shown"
    elif not expected:
        said = f"those farther from the reference by {metric} score higher"
    else:
        said = f"{metric} ranks the quants by score {next(word for least, word in STRENGTHS if abs(rho) >= least)}"
    return f"{said} ({numbers_of(row)})"


def numbers_of(row: Mapping[str, Any]) -> str:
    """ρ with its interval, where there is one, and p."""
    known = not (pd.isna(row["low"]) or pd.isna(row["high"]))
    interval = f", 95 % interval {printed(row['low'])} to {printed(row['high'])}" if known else ""
    p = "" if pd.isna(row["p"]) else f", p {'< 0.001' if row['p'] < 0.001 else printed(row['p'], 3)}"
    nearly = 0.995 <= abs(row["estimate"]) < 1
    return f"Spearman's ρ {printed(row['estimate'], 3 if nearly else 2)}{interval}{p}"


# --- what decides -----------------------------------------------------------------------------------------------------


def _decides(
    own: OwnTable, tables: Mapping[str, pd.DataFrame], zone: str | None, sizes: Mapping[str, int] | None
) -> str:
    if own.fidelity is None:
        return f"No metric was given; the answers compared are {sum((sizes or {}).values()):,} items per model."
    subset = "zone" if zone is not None else "full"
    where = "near the reference" if zone is not None else "over all quants"
    verdict, noise = _row(tables, "verdict", subset), _row(tables, "score_noise", subset)
    if verdict is not None:
        return f"{_of_verdict(verdict, sizes, where)}."
    if sizes is not None:
        return f"{_of_items(sizes)}; whether noise or {metric_of(own)} is to blame is judged for a KL divergence only."
    row = _row(tables, "correlation", subset)
    if row is not None and row["n"] < LEAST_QUANTS:
        few = "Too few quants" if zone is None else f"Too few quants {where}"
        return f"{few}: {row['n']}, and a correlation needs at least {LEAST_QUANTS}."
    if row is not None and row["n"] == LEAST_QUANTS:
        return f"Too few quants {where}: with {LEAST_QUANTS}, chance alone often puts all in order."
    if row is not None and row["p"] < SIGNIFICANT:
        unknown = "" if noise is not None else "; without --items or --n-items the size of that noise is unknown"
        return f"The relation {where} exceeds chance, so it is visible despite the noise in the scores{unknown}."
    if noise is not None and not pd.isna(noise["attainable_high"]):
        return f"{_of_noise(noise, where)}."
    few = row is not None and row["n"] < FEW_QUANTS
    more = f"with {count(row['n'])} only an almost perfect order is more than chance; and " if few else ""
    return (
        f"Not known: {more}from a table alone a missing relation may be noise of the scores or a failure of the "
        "metric. Answers item by item (--items) tell the two apart; numbers of items (--n-items) bound the noise."
    )


def _of_items(sizes: Mapping[str, int]) -> str:
    return f"the {sum(sizes.values()):,} items behind the scores".capitalize()


def _of_verdict(row: Mapping[str, Any], sizes: Mapping[str, int] | None, where: str) -> str:
    items = _of_items(sizes or {})
    needed = row["items_to_settle"]
    more = f" {about(needed).capitalize()} would settle it" if not pd.isna(needed) and math.isfinite(needed) else ""
    if row["verdict"] == "noise-limited":
        return f"{items} are too few to tell the quants apart {where}.{more}".rstrip(".")
    if row["verdict"] in ("carried", "direction missing"):
        share = f"{100 * row['r2_low']:.0f} to {100 * row['r2_high']:.0f} %"
        return f"True differences: {share} of their variance {where} lies along √KLD (90 % interval)"
    if row["verdict"] == "undetermined":
        return f"{items} show differences {where}, and not what they follow.{more}".rstrip(".")
    return f"{items} give no verdict {where}: too few quants or items"


def _of_noise(row: Mapping[str, Any], where: str) -> str:
    low, high, items = row["attainable_low"], row["attainable_high"], f"{int(row['items']):,} items"
    if low >= ENOUGH:
        return (
            f"Noise of the scores is not what hides a relation: with {items} behind them a perfect metric would show "
            f"|ρ| of {printed(low)} or more {where}. There are {count(row['n'])}"
        )
    return (
        f"Not known: with {items} behind the scores even a perfect metric would show |ρ| of only {printed(low)} to "
        f"{printed(high)} {where}, depending on how alike the quants answer. Answers item by item (--items) would tell "
        "noise from a failure of the metric"
    )


def about(items: float) -> str:
    """A number of items that is an estimate, to two digits."""
    return f"about {float(f'{items:.2g}'):,.0f}"


# --- what can be shipped ----------------------------------------------------------------------------------------------


def points(margin: float) -> str:
    """A difference of scores in points."""
    value = f"{100 * margin:.4g}"
    return f"{value} point" if value == "1" else f"{value} points"


def _smallest(own: OwnTable, decided: pd.DataFrame | None, margin: float, *, has_items: bool) -> str:
    if decided is None:
        items = [] if has_items else ["answers item by item (--items)"]
        lacking = [*items, *([] if own.reference else ["the reference named (--reference)"])]
        return f"Not tested; this needs {' and '.join(lacking) or 'the answers of the reference too'}."
    equivalent = decided[decided["decision"] == "equivalent"]
    if equivalent.empty:
        return _none_equivalent(decided, margin)
    smallest = equivalent[equivalent["smallest"].astype(bool)]
    if smallest.empty:
        names = some(list(equivalent["label"]))
        return f"Within {points(margin)} of the reference: {names}; --size COLUMN says which is the smallest."
    row = smallest.iloc[0]
    names = " and ".join(smallest["label"])
    return f"{names} ({own.size_name} {size_text(row['size'])}): shown to be within {points(margin)} of the reference."


def _none_equivalent(decided: pd.DataFrame, margin: float) -> str:
    none = f"No quant is shown to be within {points(margin)} of the reference"
    open_ = decided[(decided["decision"] == UNDECIDED) & decided["items_needed"].map(math.isfinite)]
    if open_.empty:
        return f"{none}."
    row = open_.loc[open_["items_needed"].idxmin()]
    return f"{none}; {row['label']} would take {about(row['items_needed'])} items, {int(row['items']):,} are there."


def _decisions(decided: pd.DataFrame, margin: float) -> str:
    counted = decided["decision"].value_counts()
    parts = [f"{counted[d]} {d}" for d in ("equivalent", "better", "worse", UNDECIDED) if d in counted]
    return f"{', '.join(parts)}, with a margin of {points(margin)}"


def _order(pairs: pd.DataFrame | None) -> str:
    if pairs is None:
        return ""
    ordered = int((pairs["order"] != "not ordered").sum())
    return f"{ordered:,} of {count(len(pairs), 'pair')} of quants are put in order by these items"


def lines_of(summary: Mapping[str, Any], *, report: str | None) -> list[str]:
    """The ten lines that ``qkld analyse`` prints; one more where the items have a second score."""
    answer, notes = summary["answer"], summary["notes"]
    scores = summary["scores"]
    mean = f"mean of {len(scores)} scores" if len(scores) > 1 else "score"
    reference = f"reference {summary['reference']}" if summary["reference"] else "no reference named"
    more = f" (and {len(notes) - 1} more in the report)" if len(notes) > 1 else ""
    items = summary["items"] or summary["n_items"]
    counted = f"; {sum(items.values()):,} items" if items else ""
    rows: Sequence[tuple[str, str]] = (
        ("table", f"{summary['table']}: {count(summary['quants'])}, {reference}; {mean}: {some(scores)}{counted}"),
        ("answer", answer["headline"]),
        ("zone", _inside(summary)),
        ("decides", answer["decides"] or "nothing was asked of a metric"),
        ("smallest", answer["smallest"]),
        ("decisions", answer["decisions"] or "none: they need --items and --reference"),
        ("order", answer["order"] or ("one quant alone" if summary["items"] else "not tested: this needs --items")),
        ("read as", "; ".join(summary["read"])),
        ("mind", f"{notes[0]}{more}" if notes else "nothing unusual was found in the table"),
        ("report", report or "not written"),
    )
    second = [("second", answer["second"])] if answer.get("second") else []
    return [f"{name:10}{text}" for name, text in (*rows[:-3], *second, *rows[-3:])]


def _inside(summary: Mapping[str, Any]) -> str:
    """The zone and how many quants are in it."""
    if summary["zone"]:
        return f"{summary['zone']}: {count(len(summary['zone_quants']))}"
    if not summary["zone_example"]:
        return "none: this needs a table" if summary["fidelity"] else "none: there is no metric"
    return f'none given; name one before looking at the scores, such as --zone "{summary["zone_example"]}"'
