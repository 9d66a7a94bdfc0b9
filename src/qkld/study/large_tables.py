"""A table that may be longer than memory: written block by block to an Arrow file, read column by column from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from qkld.errors import TableError
from qkld.study.provenance import written_whole


@dataclass(frozen=True)
class SpooledTable:
    """A table in an Arrow file that is mapped, not read: what is resident are the columns that somebody holds.

    As of a data frame, ``table[name]`` is a column and ``table.columns`` are its names. The file may be deleted while
    this is held.
    """

    arrow: pa.Table

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return self.arrow.column_names

    def __len__(self) -> int:
        return self.arrow.num_rows

    def __getitem__(self, name: str) -> pd.Series:
        """One column, in memory: 8 bytes a row for a number."""
        return self.arrow[name].to_pandas()

    def where(self, **values: object) -> pd.DataFrame:
        """The rows on which these columns have these values, in memory."""
        rows = reduce(pc.and_, (pc.equal(self.arrow[name], value) for name, value in values.items()))
        return self.arrow.filter(rows).to_pandas()

    def whole(self) -> pd.DataFrame:
        """All columns, in memory."""
        return self.arrow.to_pandas()


def spooled(path: Path, blocks: Iterable[pd.DataFrame]) -> SpooledTable:
    """Blocks of rows, one below the other; one block is in memory at a time.

    Parameters
    ----------
    path : Path
        Of the Arrow file, written whole; the caller deletes it.
    blocks : iterable of DataFrame
        At least one, all with the columns and types of the first.

    Raises
    ------
    TableError
        If there is no block.
    DiskError
        If no space is left; ``path`` is then as it was before.
    """
    tables = (pa.Table.from_pandas(block, preserve_index=False).replace_schema_metadata(None) for block in blocks)
    first = next(tables, None)
    if first is None:
        raise TableError(
            "A table has no rows.", expected="at least one block", found="none", do="measure at least one window"
        )
    with written_whole(path) as temporary, pa.ipc.new_file(str(temporary), first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)
    return SpooledTable(pa.ipc.open_file(pa.memory_map(str(path))).read_all())
