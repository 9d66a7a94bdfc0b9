"""Reading JSON files of other tools: errors that name file and line, and a row a sample of an item."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qkld.errors import TableError
from qkld.study import texts
from qkld.study.texts import file_bytes, read_text


def json_file(path: Path, *, expected: str) -> Any:
    """The content of a JSON file; a TableError that says what was expected where there is none."""
    text = read_text(path, error=TableError)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise unreadable(path, expected, error) from error


def json_lines(path: Path, *, expected: str, packed: bool = False) -> Iterator[tuple[int, Any]]:
    """(number of the line from 1, its value) for every line that is not blank; a TableError for one that is no JSON."""
    for line in texts.json_lines(path, error=TableError, expected=expected, packed=packed):
        yield line.number, line.value


def json_rows(path: Path, *, expected: str) -> Iterator[tuple[int, Any]]:
    """(place from 1, value) of every row: a value a line, or one list of them; packed by gzip or not."""
    if not file_bytes(path, error=TableError, packed=True).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        yield from json_lines(path, expected=expected, packed=True)
        return
    try:
        yield from enumerate(json.loads(read_text(path, error=TableError, packed=True)), start=1)
    except (ValueError, RecursionError) as error:
        raise unreadable(path, expected, error) from error


def unreadable(path: Path, expected: str, found: object, *, line: int | None = None) -> TableError:
    """The error of a file that another tool did not write so."""
    problem = f"{type(found).__name__}: {found}" if isinstance(found, Exception) else found
    place = f"{path}, line {line}," if line is not None else str(path)
    return TableError(
        f"{place} cannot be imported.",
        expected=expected,
        found=problem,
        do="give the file as the tool wrote it, and name its format",
    )


def sample_rows(item: str, samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a sample; several are named ``item#0``, ``item#1`` … and are of one cluster, the item itself.

    Samples of one item share its difficulty, so they are no independent items: intervals cluster them.
    """
    several = len(samples) > 1
    return [{"item": f"{item}#{i}" if several else item, "cluster": item, **sample} for i, sample in enumerate(samples)]
