"""A result table by its description: its key, its columns, and a frame that has them and no others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import pandas as pd

from qkld.errors import TableError
from qkld.study.column import WORDS, Column
from qkld.study.columns import COLUMNS

REMARK = "preregistration"
"""Last column of the files of a study that is not as it was preregistered: what is to be said of that."""


@dataclass(frozen=True)
class Table:
    """A result table: the notebook that makes it, the columns that tell its rows apart, its columns, what it says.

    ``key`` is in the order in which it stands in the key of a number; see `qkld.report.numbers`. A column that is the
    same in every row of a study, such as the metric, need not be part of it. ``notebook`` is None where only
    `qkld analyse` makes the table.

    Raises
    ------
    TableError
        If a column has no meaning or stands there twice, or a key is no column.
    """

    name: str
    notebook: str | None
    key: tuple[str, ...]
    columns: tuple[str, ...]
    says: str

    def __post_init__(self) -> None:
        unknown = [column for column in self.columns if column not in COLUMNS]
        if unknown:
            raise TableError(
                f"Columns of result table '{self.name}' have no meaning.",
                expected="every column in qkld.study.columns, with its meaning and unit",
                found=unknown,
                do="say there what they mean, or use the name of a column that means the same",
            )
        doubled = sorted({column for column in self.columns if self.columns.count(column) > 1})
        lacking = [column for column in self.key if column not in self.columns]
        if doubled or lacking:
            raise TableError(
                f"Result table '{self.name}' is not well described.",
                expected="every column once, and a key of some of them",
                found=f"twice: {doubled}, in the key alone: {lacking}",
                do="correct its entry in qkld.study.registry",
            )

    def described(self) -> dict[str, Column]:
        """Name → meaning and unit, in order."""
        return {column: COLUMNS[column] for column in self.columns}

    @property
    def words(self) -> list[str]:
        """Columns that hold words: empty ones are empty words, and no missing numbers."""
        return [name for name, column in self.described().items() if column.unit == WORDS]

    def empty(self) -> dict[str, Any]:
        """What stands in a row in which nothing is known beside the key."""
        return {column: COLUMNS[column].empty for column in self.columns if column not in self.key}

    def frame(self, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
        """The rows as a table with these columns in order; what a row does not say is empty in it.

        Raises
        ------
        TableError
            If a row lacks a part of its key, or has a column that the table has not.
        """
        rows = [{**self.empty(), **row} for row in rows]
        for row in rows:
            if set(row) != set(self.columns):
                self._refuse(list(row))
        return pd.DataFrame(rows, columns=list(self.columns))

    def read(self, source: IO[bytes]) -> pd.DataFrame:
        """A CSV file of the table, its words as they were written, also a quant called ``NA`` or ``8``.

        The column `REMARK`, where a file has it, is of the whole table and left out.
        """
        numbers = {column: [""] for column in self.columns if column not in self.words}
        words = dict.fromkeys(self.words, "str")
        table = pd.read_csv(source, dtype=words, keep_default_na=False, na_values=numbers)
        return table.drop(columns=REMARK, errors="ignore")

    def check(self, columns: Sequence[str]) -> None:
        """Refuse a table with other columns, or in another order.

        Raises
        ------
        TableError
            With both lists.
        """
        if tuple(columns) != self.columns:
            self._refuse(list(columns))

    def _refuse(self, found: list[str]) -> None:
        raise TableError(
            f"Result table '{self.name}' has other columns than its schema.",
            expected=list(self.columns),
            found=found,
            do="bring its entry in qkld.study.registry and what makes it together",
        )
