"""The fidelity column: whether it is a KL divergence, in which unit, and which way it runs."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from qkld.analysis.own_table.cells import evened
from qkld.analysis.own_table.number_columns import Numbers
from qkld.analysis.own_table.zone_and_item_counts import Zone
from qkld.errors import TableError
from qkld.statistics.core.checks import is_divergence, quants_of

NATS = {"nats": 1.0, "bits": math.log(2), "mnats": 1e-3, "mbits": 1e-3 * math.log(2)}
"""Units of a KL divergence → nats."""

NEAR_NATS = 0.02
"""A cut of the silent zone that is shown as an example, in nats."""

_MILLI = re.compile(r"(?<![a-z])m(?:illi)?[ -]?(?=(?:nat|bit)s?(?![a-z]))")
_FACTOR = re.compile(
    r"(?:[×x*·/]\s*(?:10\s*\^\s*|1(?:\.0)?e)[+-]?|(?<![\w.])(?:10\s*\^\s*|1(?:\.0)?e)-)(?P<power>\d)(?!\w)"
    r"|[×x*·]\s*1,?(?P<zeros>0+)(?!\w)",
    re.IGNORECASE,
)
_PERCENT = re.compile(r"[(\[]\s*(?:in )?%\s*[)\]]|\bin %|\bpercent\b", re.IGNORECASE)


@dataclass(frozen=True)
class Columns:
    """How columns of a table are to be read.

    Attributes
    ----------
    label : columns that make up a quant's label; none where the table is to say it
    unit : unit of the KL divergence, a key of `NATS`; None where header or cells are to say it, else nats
    divergence : whether the fidelity column is a KL divergence although its name does not say so
    """

    label: Sequence[str] = ()
    unit: str | None = None
    divergence: bool = False


@dataclass(frozen=True)
class Measure:
    """The fidelity column: its name in the table and here, its numbers in the unit here, and what it was taken for."""

    column: str
    name: str
    scale: float
    values: pd.Series
    said: str


_MEANS = frozenset({"mean", "avg", "average"})
_PLAIN = frozenset({"kld", "kl", "dkl", "kldivergence", "kldiv"})
_ENDS = frozenset({"low", "high", "lower", "upper"})


def usual_divergence(columns: Sequence[str]) -> str | None:
    """The one column that is a mean KL divergence by its name; None where none or several are.

    Where several are divergences, that of the mean is meant, or the one with no word beside it; ends of intervals are
    none.
    """
    words = {c: re.findall("[a-z]+", c.lower()) for c in columns}
    known = [c for c in columns if is_divergence(c) and _ENDS.isdisjoint(words[c])]
    means = [c for c in known if not _MEANS.isdisjoint(words[c])]
    plain = [c for c in known if "".join(words[c]) in _PLAIN]
    return next((found[0] for found in (known, means, plain) if len(found) == 1), None)


def measured(column: str, numbers: Numbers, columns: Columns) -> Measure:
    """A KL divergence in nats, whatever unit the table has; any other metric as it is."""
    more = "".join(f"; {phrase}" for phrase in numbers.said)
    if not (is_divergence(column) or columns.divergence):
        taken = (
            f"'{column}' is read as it stands: by its name it is no KL divergence (--divergence says that it is one)"
        )
        return Measure(column, column, 1.0, numbers.values, taken + more)
    unit, power = (columns.unit, 0) if columns.unit else (_unit_of(column, numbers), _power_of(column))
    converted = "" if unit == "nats" else f", converted from {unit}"
    factor = f", its numbers times 10^-{power} as the header says" if power else ""
    said = f"'{column}' is taken as a KL divergence in nats{converted}{factor}{more}"
    scale = NATS[unit] * 10.0**-power
    return Measure(column, _in_nats(column, unit, power), scale, numbers.values * scale, said)


def zone_example(measure: Measure, falling: bool) -> str:
    """A zone as ``--zone`` takes it: this column at `NEAR_NATS` in its own unit, or at a number to be chosen."""
    if is_divergence(measure.name):
        return f"{measure.column}<={NEAR_NATS / measure.scale:.3g}"
    return f"{measure.column}{'>=' if falling else '<='}NUMBER"


def _in_nats(column: str, unit: str, power: int) -> str:
    """The column's name once it is in nats: that unit in the place of its own, and no factor."""
    name = _FACTOR.sub("", evened(column)) if power else column
    if unit != "nats":
        name = re.sub(rf"(?<![A-Za-z0-9]){unit}?(?![A-Za-z0-9])", "nats", _MILLI.sub("m", name))
    name = " ".join(re.sub(r"\(\s*\)|\[\s*\]", "", name).split()) if power else name
    return name if is_divergence(name) else f"KLD ({name})"


def _power_of(column: str) -> int:
    """The power of ten by which a divergence is less than its numbers: 3 of ``KLD ×10⁻³``, and of ``KLD × 1000``.

    Either way of writing it means that the numbers are a thousand times the divergence.
    """
    factor = _FACTOR.search(evened(column))
    if factor is None:
        return 0
    return len(factor["zeros"]) if factor["zeros"] else int(factor["power"])


def _unit_of(column: str, numbers: Numbers) -> str:
    """The unit of a KL divergence, by its cells or its header; nats where neither says one.

    Raises
    ------
    TableError
        If cells or header have a unit that no divergence has.
    """
    units = {unit: unit for unit in NATS} | {unit.removesuffix("s"): unit for unit in NATS}
    odd = numbers.unit if numbers.unit and numbers.unit not in units else "%" if _PERCENT.search(column) else None
    if odd:
        raise TableError(
            f"'{column}' is not a KL divergence, judging by its unit.",
            expected=f"nats or bits, or no unit; one of {list(NATS)}",
            found=odd,
            do="name another column as --fidelity, or state the unit with --unit",
        )
    words = [numbers.unit, *re.findall("[a-z0-9]+", _MILLI.sub("m", column.lower()))]
    return next((units[word] for word in words if word in units), "nats")


_NEARER = frozenset({"top", "agreement", "agree", "match", "same", "cosine", "acceptance", "accept", "overlap"})
"""Words in names of metrics that are the larger the nearer a quant is to the reference."""


def falls_with_distance(cohort: pd.DataFrame, fidelity: str, zone: Zone | None) -> bool:
    """Whether more of a fidelity metric is nearer to the reference.

    A KL divergence rises. Of others the sign of a zone of this metric says it, else the reference's own value, else the
    metric's name.
    """
    if is_divergence(fidelity):
        return False
    if zone is not None:
        return zone.sign in (">", ">=")
    quants, own = quants_of(cohort)[fidelity], cohort.loc[cohort["role"] == "reference", fidelity].dropna()
    if len(own) and not quants.min() < own.iloc[0] < quants.max():
        return bool(own.iloc[0] >= quants.max())
    return not _NEARER.isdisjoint(re.findall("[a-z]+", fidelity.lower()))
