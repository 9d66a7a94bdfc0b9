"""Result and score files of the Berkeley Function Calling Leaderboard (``bfcl-eval``).

``bfcl generate`` writes every answer to ``result/<model>/<group>/BFCL_v4_<category>_result.json``; ``bfcl evaluate``
writes to ``score/…_score.json`` a line of totals and then the wrong answers alone. So both are needed: an item is right
where it has an answer and no line among the scores.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from qkld.analysis.importing.reading import json_lines, unreadable
from qkld.errors import TableError

NAME = re.compile(r"^(?P<version>BFCL_v\d+)_(?P<category>.+)_(?P<kind>result|score)\.json$")

GROUPS = frozenset(
    {"non_live", "live", "multi_turn", "agentic", "memory", "kv", "vector", "rec_sum", "format_sensitivity"}
)
"""Folders between a model's and its files; older versions have none."""

EXPECTED = "BFCL's <model>/<group>/BFCL_v4_<category>_result.json and …_score.json"


@dataclass(frozen=True, order=True)
class Part:
    """One category of one model."""

    model: str
    category: str
    version: str


def read_bfcl(paths: Sequence[Path]) -> pd.DataFrame:
    """Items of every category in these files and folders; a model is named by its folder, a benchmark ``bfcl_…``.

    Raises
    ------
    TableError
        If a result has no scores or the reverse, or the two are not of one run.
    """
    files: dict[str, dict[Part, Path]] = {"result": {}, "score": {}}
    for path in _candidates(paths):
        if match := NAME.match(path.name):
            _put(files[match["kind"]], Part(_model(path), match["category"], match["version"]), path)
    alone = set(files["result"]) ^ set(files["score"])
    if alone or not files["result"]:
        raise _unpaired(alone, files)
    parts = sorted(files["result"])
    return pd.DataFrame([r for part in parts for r in _rows(part, files["result"][part], files["score"][part])])


def _candidates(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.exists():
            raise unreadable(path, EXPECTED, "no such file or folder")
        yield from sorted(path.rglob("*.json")) if path.is_dir() else [path]


def _put(files: dict[Part, Path], part: Part, path: Path) -> None:
    if part in files:
        raise unreadable(path, "one file a model and category", f"another one in {files[part].parent}")
    files[part] = path


def _model(path: Path) -> str:
    return next(folder.name for folder in path.resolve().parents if folder.name not in GROUPS)


def _unpaired(alone: Iterable[Part], files: dict[str, dict[Part, Path]]) -> TableError:
    named = [f"{p.category} of {p.model} in {'result' if p in files['result'] else 'score'} files only" for p in alone]
    return TableError(
        "Answers and scores of BFCL do not match.",
        expected=EXPECTED + ", both for every model and category",
        found="; ".join(sorted(named)[:5]) or "no such file",
        do="give the folders result and score of one run, after `bfcl evaluate`",
    )


def _rows(part: Part, results: Path, scores: Path) -> list[dict[str, Any]]:
    answers = [_answer(results, number, line) for number, line in json_lines(results, expected="one answer per line")]
    lines = [value for _, value in json_lines(scores, expected="a line of totals, then the wrong answers")]
    try:
        totals, wrong = lines[0], {line["id"] for line in lines[1:]}
        counted = (totals["total_count"], totals["total_count"] - totals["correct_count"])
    except (IndexError, KeyError, TypeError) as error:
        raise unreadable(scores, "a line of totals, then wrong answers with their id", error) from error
    known = {row["item"] for row in answers}
    if counted != (len(known), len(wrong)) or not wrong <= known or len(known) != len(answers):
        raise unreadable(
            scores,
            f"the scores of {results.name}: {len(answers)} answers, each once",
            f"{counted[0]} answers, {counted[1]} of them wrong, and {len(wrong)} lines of wrong ones, "
            f"{len(wrong - known)} of other items",
        )
    facts = {"model": part.model, "benchmark": f"bfcl_{part.category}"}
    return [{**facts, **row, "correct": int(row["item"] not in wrong), "request": part.version} for row in answers]


def _answer(path: Path, number: int, line: Any) -> dict[str, Any]:
    try:
        result = line["result"]
        text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
        return {"item": line["id"], "answer": text, "tokens": _count(line.get("output_token_count"))}
    except (KeyError, TypeError) as error:
        raise unreadable(path, "JSON with id and result", error, line=number) from error


def _count(tokens: Any) -> float | None:
    """All tokens of an answer: a number, or a list a turn of lists a step."""
    if isinstance(tokens, list):
        return float(sum(_count(t) or 0 for t in tokens))
    return float(tokens) if isinstance(tokens, int | float) else None
