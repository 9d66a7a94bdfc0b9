"""A table whose cells are text, and how it is written: as Markdown, and as lines for a terminal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TextTable:
    """One table; its first column names the row.

    Other columns are set right, as numbers are, but those of ``words``, which are set left. ``title`` and ``note`` may
    be empty.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: frozenset[str] = frozenset()

    def markdown(self) -> str:
        """Title, table and note as Markdown; a ``|`` in a cell is escaped, as else it would begin another cell."""
        marks = tuple("---" if left else "---:" for left in self._left)
        table = "\n".join(_markdown_line(row) for row in (self.columns, marks, *self.rows))
        return "\n\n".join(part for part in (self.title and f"**{self.title}.**", table, self.note) if part)

    def lines(self) -> list[str]:
        """Columns and rows as lines in which every column begins, or ends, below itself; without title and note."""
        shown = (self.columns, *self.rows)
        widths = [max(len(row[i]) for row in shown) for i in range(len(self.columns))]
        return ["  ".join(map(_padded, row, widths, self._left)).rstrip() for row in shown]

    @property
    def _left(self) -> list[bool]:
        """Whether each column is set left."""
        return [i == 0 or column in self.words for i, column in enumerate(self.columns)]


def table_of_words(columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> TextTable:
    """A table without title and note, all of whose columns are set left."""
    return TextTable("", "", columns, rows, words=frozenset(columns))


def _padded(cell: str, width: int, left: bool) -> str:
    return cell.ljust(width) if left else cell.rjust(width)


def _markdown_line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
