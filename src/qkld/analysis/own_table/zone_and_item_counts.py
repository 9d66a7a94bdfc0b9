"""What the command line says in words: a cut of the zone, and numbers of items."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from qkld.errors import TableError

_ZONE = re.compile(r"^\s*(?P<column>[^<>=]+?)\s*(?P<sign><=|<|>=|>)\s*(?P<cut>[^<>=]+?)\s*$")
_COMPARE: dict[str, Callable[[pd.Series, float], pd.Series]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
}


@dataclass(frozen=True)
class Zone:
    """A cut of one column in the table's own unit, for example ``kl_mean<=0.02``."""

    column: str
    sign: str
    cut: float

    def members(self, table: pd.DataFrame) -> pd.Series:
        """Which rows lie in the zone."""
        return self.holds(table[self.column])

    def holds(self, values: pd.Series) -> pd.Series:
        """Which values of its column lie in the zone."""
        return _COMPARE[self.sign](values, self.cut)


def parse_zone(text: str) -> Zone:
    """Read ``COLUMN<=NUMBER`` (or <, >=, >).

    Raises
    ------
    TableError
        If it is anything else.
    """
    match = _ZONE.match(text)
    try:
        return Zone(match["column"], match["sign"], float(match["cut"]))
    except (TypeError, ValueError):
        raise TableError(
            "The zone cannot be read.",
            expected='COLUMN<=NUMBER, for example "kl_mean<=0.02"',
            found=repr(text),
            do="give one column, one of <= < >= > and one number",
        ) from None


def parse_item_counts(text: str, scores: Sequence[str], *, of: str = "items") -> dict[str, int]:
    """Read ``mmlu=400,arc_challenge=299``: score column → items behind it, or choices of an item.

    Raises
    ------
    TableError
        If a part is no ``NAME=NUMBER``, a number is below 1, or a name is none of ``scores`` or given twice.
    """
    counts: dict[str, int] = {}
    for part in text.split(","):
        name, _, number = (piece.strip() for piece in part.partition("="))
        if name not in scores or name in counts or not number.isdigit() or int(number) < 1:
            raise TableError(
                f"The numbers of {of} cannot be read.",
                expected=f"NAME=NUMBER, separated by commas, each name once, from {list(scores)}",
                found=repr(part),
                do='write for example "mmlu=400,arc_challenge=299"',
            )
        counts[name] = int(number)
    return counts
