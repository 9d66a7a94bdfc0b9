"""Benchmarks that were run in parts: the 57 subjects of MMLU, the tasks of BBH, the categories of BFCL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd

from qkld.errors import ParameterError, TableError

Groups = Mapping[str, Sequence[str]]
"""Benchmark → names or patterns (``mmlu_*``) of the parts that make it up."""

RESULTS = "results_*.json"
"""Where lm-evaluation-harness says beside its samples which tasks each group has."""


def parse_groups(texts: Sequence[str]) -> Groups:
    """Read ``NAME=PATTERN,PATTERN`` once a group.

    Raises
    ------
    ParameterError
        If a text is anything else, or a group is given twice.
    """
    groups: dict[str, list[str]] = {}
    for text in texts:
        name, _, parts = (piece.strip() for piece in text.partition("="))
        patterns = [part.strip() for part in parts.split(",") if part.strip()]
        if not name or not patterns or name in groups:
            raise ParameterError(
                "--group cannot be read.",
                expected="NAME=PATTERN, each name once; several patterns separated by commas",
                found=repr(text),
                do="write for example --group 'mmlu=mmlu_*'",
            )
        groups[name] = patterns
    return groups


def grouped(items: pd.DataFrame, groups: Groups) -> pd.DataFrame:
    """The items with every group's parts as one benchmark; an item is then named ``part/item``.

    Each item counts once, so that a group's score is the share of right answers of all its items, as the harness
    weighs MMLU's subjects.

    Raises
    ------
    TableError
        If a group matches no benchmark, or one benchmark matches two groups.
    """
    if "benchmark" not in items:
        return items
    present = list(items["benchmark"].astype(str).unique())
    part_of: dict[str, str] = {}
    for name, patterns in groups.items():
        parts = [b for b in present if any(fnmatchcase(b, pattern) for pattern in patterns)]
        doubled = [b for b in parts if b in part_of]
        if doubled or not parts:
            raise _unmatched(name, patterns, present, doubled)
        part_of |= dict.fromkeys(parts, name)
    rows = items["benchmark"].isin(part_of)
    names = items["benchmark"].astype(str) + "/" + items["item"].astype(str)
    return items.assign(
        item=items["item"].astype(str).where(~rows, names),
        benchmark=items["benchmark"].astype(str).map(lambda b: part_of.get(b, b)),
    )


def _unmatched(name: str, patterns: Sequence[str], present: Sequence[str], doubled: Sequence[str]) -> TableError:
    return TableError(
        f"The group '{name}' cannot be made.",
        expected=f"benchmarks that match {', '.join(patterns)}, each in one group",
        found=f"{', '.join(doubled[:8])} in another group too" if doubled else f"benchmarks {present[:8]}",
        do="name benchmarks of the items, each once",
    )


def harness_groups(path: Path) -> Groups:
    """Groups that lm-evaluation-harness's files of results name, with the tasks below each; {} where there are none.

    A file that is none of the harness's is passed over: its samples are read without groups.
    """
    named: dict[str, list[str]] = {}
    for file in sorted(path.rglob(RESULTS)) if path.is_dir() else []:
        try:
            found = json.loads(file.read_text(encoding="utf-8")).get("group_subtasks", {})
        except (OSError, ValueError, AttributeError):
            continue
        for group, parts in found.items():
            named.setdefault(group, []).extend(parts)
    return {group: sorted(_tasks(group, named, frozenset())) for group, parts in named.items() if parts}


def largest(groups: Groups) -> set[str]:
    """The groups that are no part of another one."""
    parts = {name: set(tasks) for name, tasks in groups.items() if set(tasks) != {name}}
    return {g for g, own in parts.items() if not any(own < other for other in parts.values())}


def _tasks(name: str, named: Groups, above: frozenset[str]) -> set[str]:
    """The tasks of a group of groups: ``mmlu`` has ``mmlu_stem``, which has subjects."""
    parts = [part for part in named.get(name, ()) if part not in above | {name}]
    return set().union(*(_tasks(part, named, above | {name}) for part in parts)) if parts else {name}


def suggested(benchmarks: Sequence[str], score: str) -> str | None:
    """``--group`` for a score that has no items while benchmarks of the form ``score_…`` have; None without these."""
    parts = [b for b in benchmarks if b.startswith((f"{score}_", f"{score}-"))]
    return f"--group '{score}={score}{parts[0][len(score)]}*'" if len(parts) > 1 else None
