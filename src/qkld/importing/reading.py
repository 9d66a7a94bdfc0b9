"""Reading JSON files of other tools, with the file and line named where one is not what it should be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qkld.errors import TableError, explain


def json_file(path: Path, *, expected: str) -> Any:
    """The content of a JSON file; a TableError that says what was expected where there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise unreadable(path, expected, error) from error


def json_lines(path: Path, *, expected: str) -> Iterator[tuple[int, Any]]:
    """(number of the line from 1, its value) for every line that is not blank."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise unreadable(path, expected, error) from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise unreadable(path, expected, error, line=number) from error


def unreadable(path: Path, expected: str, found: object, *, line: int | None = None) -> TableError:
    """The error of a file that another tool did not write so."""
    problem = f"{type(found).__name__}: {found}" if isinstance(found, Exception) else found
    place = f"{path}, line {line}," if line is not None else str(path)
    return TableError(
        explain(
            f"{place} can not be imported.",
            expected=expected,
            found=problem,
            do="give the file as the tool wrote it, and the format that it is of",
        )
    )
