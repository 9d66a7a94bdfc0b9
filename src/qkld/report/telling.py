"""What a section of a notebook shows: the sentences that answer its question, and the first rows of a table."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from qkld.report.text_tables import TEXTS
from qkld.study.text_table import TextTable

if TYPE_CHECKING:
    from IPython.display import Markdown

LONGEST = 10
"""Most rows of a table in a notebook; its file has all of them."""


def tell(*sentences: str) -> None:
    """Show sentences as one paragraph of text, which a page wraps; a printed line would be cut."""
    from IPython.display import Markdown, display

    display(Markdown(" ".join(sentence for sentence in sentences if sentence)))


def rows_of(name: str, table: pd.DataFrame) -> Markdown | None:
    """The first rows of a result table as the report shows it; None where it has no row to show."""
    return first_rows(TEXTS[name](table))


def first_rows(table: TextTable) -> Markdown | None:
    """At most `LONGEST` rows of a table, with a line that says how many more there are."""
    from IPython.display import Markdown

    more = len(table.rows) - LONGEST
    note = f"{table.note} The first {LONGEST} of {len(table.rows)} rows." if more > 0 else table.note
    return Markdown(replace(table, rows=table.rows[:LONGEST], note=note).markdown()) if table.rows else None
