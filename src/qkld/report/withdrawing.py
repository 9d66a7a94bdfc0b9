"""Taking back tables of a study's figures that are known to be wrong and cannot be made again yet.

The table's numbers go, and the reason stands where they stood: in ``headline.json``, of which README and documentation
quote, and in the tables that the documentation shows. Notebook 08 writes both anew, so a withdrawal ends with the
study's next run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qkld.errors import StageError, TableError
from qkld.report.numbers import KEYS, SEPARATOR
from qkld.report.study_tables import titles_of
from qkld.study.paths import StudyPaths
from qkld.study.provenance import write_json, written_whole

RIGHT_SINCE: Mapping[str, int] = {"verdict": 6, "decision": 6}
"""Result table → the metrics version before which its numbers are known to be wrong; see CHANGELOG.md."""

WITHDRAWN = "withdrawn"
"""First part of the key under which a table's reason stands in ``headline.json``."""


def wrong_tables(numbers: Mapping[str, Any]) -> list[str]:
    """Tables of a study's numbers that are known to be wrong, by `RIGHT_SINCE` and the version that made them."""
    version = numbers.get("study/metrics_version", 0)
    held = {key.split(SEPARATOR)[0] for key in numbers}
    return [table for table, since in RIGHT_SINCE.items() if table in held and version < since]


def withdraw(study: str, tables: Sequence[str], why: str) -> list[Path]:
    """Take tables out of a study's ``headline.json`` and ``tables.md``; returns the files changed.

    Parameters
    ----------
    why : one sentence for the reader, which takes the tables' place

    Raises
    ------
    StageError
        If the study has no figures.
    TableError
        If a table is unknown or has no numbers there; nothing is changed then.
    """
    path = StudyPaths(study).headline
    if not path.exists():
        raise StageError(
            f"'{study}' has no figures.", expected=path, found="no such file", do="name a study in figures/"
        )
    numbers = without_tables(json.loads(path.read_text(encoding="utf-8")), tables, why)
    shown = path.with_name("tables.md")
    text = without_sections(shown.read_text(encoding="utf-8"), tables, why) if shown.exists() else None
    write_json(path, numbers)
    if text is None:
        return [path]
    with written_whole(shown) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return [path, shown]


def without_tables(numbers: Mapping[str, Any], tables: Sequence[str], why: str) -> dict[str, Any]:
    """The numbers without those of the tables, and ``withdrawn/<table>`` with the reason."""
    lacking = [t for t in tables if t not in KEYS or not any(key.startswith(t + SEPARATOR) for key in numbers)]
    if lacking or not tables:
        raise TableError(
            "No such table can be withdrawn.",
            expected=sorted({key.split(SEPARATOR)[0] for key in numbers} & set(KEYS)),
            found=lacking or "no table",
            do="name result tables that the study's numbers hold",
        )
    kept = {key: value for key, value in numbers.items() if key.split(SEPARATOR)[0] not in tables}
    return kept | {f"{WITHDRAWN}{SEPARATOR}{table}": why for table in tables}


def without_sections(text: str, tables: Sequence[str], why: str) -> str:
    """Markdown as `TextTable.markdown` writes it, with the reason in place of each table and its note."""
    for title in titles_of(tables):
        pattern = rf"(?ms)^(\*\*{re.escape(title)}\.\*\*)\n.*?(?=^\*\*|\Z)"
        text = re.sub(pattern, lambda m: f"{m[1]} Withdrawn: {why}\n\n", text)
    return text.rstrip("\n") + "\n"
