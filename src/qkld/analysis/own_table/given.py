"""What an analysis was given: a table, items, or both, read and held against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from qkld.analysis.own_table.answers_by_item import Loaded, OwnItems, Reading, items_of, load_items
from qkld.analysis.own_table.checked_table import OwnTable, read_own_table
from qkld.analysis.own_table.items_alone import table_of_items
from qkld.analysis.own_table.measure import Columns
from qkld.analysis.own_table.zone_and_item_counts import parse_zone
from qkld.errors import TableError
from qkld.statistics.core.checks import Missing


@dataclass(frozen=True)
class Asked:
    """What of a table was asked for: columns by name, the reference's label, and the cut of the zone."""

    fidelity: str | None
    scores: Sequence[str]
    reference: str | None
    zone: str | None
    size: str | None
    columns: Columns


class Given(NamedTuple):
    """The file that the analysis is named by, its table, and the answers where there are any."""

    path: Path
    own: OwnTable
    items: OwnItems | None


def read_given(
    table: Path | str | None, items: Path | str | None, asked: Asked, *, reading: Reading, missing: Missing
) -> Given:
    """The table and its answers; without a table, what the items themselves say.

    Raises
    ------
    TableError, StatisticsError, BenchmarkError
        As `read_own_table` and `qkld.analysis.own_table.answers_by_item.load_items`; or if neither was given, or
        something of a table was asked for and there is none.
    """
    if table is None:
        return _items_alone(items, asked, reading, missing)
    own = read_own_table(
        Path(table),
        asked.fidelity,
        asked.scores,
        reference=asked.reference,
        zone=parse_zone(asked.zone) if asked.zone else None,
        missing=missing,
        size=asked.size,
        columns=asked.columns,
    )
    if items is None:
        return Given(Path(table), own, None)
    loaded = load_items(Path(items), reading, own.scores)
    return Given(Path(table), own, _of_table(loaded, own, missing))


def _items_alone(items: Path | str | None, asked: Asked, reading: Reading, missing: Missing) -> Given:
    of_table = {"--fidelity": asked.fidelity, "--zone": asked.zone, "--size": asked.size}
    named = [option for option, value in of_table.items() if value is not None]
    if items is None or named:
        raise TableError(
            "No table was given.",
            expected="a table, or --items alone" if items is None else "a table with these columns",
            found=", ".join(named) or "neither",
            do="give the table" if items is not None else "give one",
        )
    loaded = load_items(Path(items), reading, asked.scores or None)
    own = table_of_items(loaded, asked.scores, reference=asked.reference)
    return Given(Path(items), own, _of_table(loaded, own, missing))


def _of_table(loaded: Loaded, own: OwnTable, missing: Missing) -> OwnItems:
    return items_of(loaded, quants=own.quants, reference=own.reference, scores=own.scores, missing=missing)
