"""A finished study's tables for the repository, so that every statistic can be made again without a model.

What notebooks 04 to 08 read is kept: the cohort, fidelity, every model's items, of the tokens what notebook 04 takes,
and the result tables. Left out are texts: what a model wrote, and the ids of tokens. Beside the tables stands a page
with their licences and a checksum of each file.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from qkld.analysis.study import load_study
from qkld.errors import TableError
from qkld.sources.catalogue import ASSETS
from qkld.study.params import FLOOR_BATCH, Study, load_params
from qkld.study.paths import CommittedPaths, StudyPaths
from qkld.study.provenance import sha256_of_file
from qkld.study.registry import OF_STUDIES
from qkld.study.schemas import (
    COHORT,
    FIDELITY,
    ITEMS,
    KEPT_TOKENS,
    TOKENS,
    Schema,
    read_table_and_provenance,
    write_table,
)
from qkld.study.text_table import TextTable

LARGEST_FILE = 3_000_000
"""Bytes of a file, above which it is not for a repository."""

TEXTS = ("written",)
"""Columns of items that hold what a model wrote."""

NAMES = frozenset({"model", "benchmark", "item", "request", "metric", "cluster", "base", "choice_scores"})
"""Columns of items that hold words or lists of numbers, and no text of a benchmark."""


@dataclass(frozen=True)
class KeptTable:
    """One table for the repository: its file, its rows, its schema, and what made it."""

    path: Path
    table: pd.DataFrame
    schema: Schema
    made_by: dict[str, Any]


def export_study(name: str, folder: Path | None = None, *, tokens: bool = True) -> CommittedPaths:
    """Write a study's tables and their page, by default into ``studies/<name>``, in place of what was there.

    Parameters
    ----------
    tokens : whether the tokens are kept as well; without them notebook 04 shows what the study's run made of them

    Raises
    ------
    StageError
        If the study has not been run to notebook 07 here.
    TableError
        If a file would be larger than `LARGEST_FILE`, or a column holds text. Nothing is changed then.
    """
    study, paths = load_params(name), StudyPaths(name)
    target = paths.committed if folder is None else CommittedPaths(folder)
    target.folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.folder.parent, prefix=f".{target.folder.name}.") as temporary:
        fresh = CommittedPaths(Path(temporary) / "new")
        rows = {}
        for kept in _kept_tables(study, paths, fresh, tokens):
            write_table(kept.path, kept.table, kept.schema, kept.made_by)
            rows[kept.path] = len(kept.table)
        rows |= dict(_copied_results(name, fresh))
        for path in rows:
            _check_size(path, fresh)
        _, made = _read(paths.cohort, COHORT, "notebook 03b_cohort")
        fresh.page.write_text(data_page(study, fresh, rows, made, tokens=tokens), encoding="utf-8")
        _put(fresh.folder, target.folder, Path(temporary) / "old")
    return target


def _put(fresh: Path, target: Path, old: Path) -> None:
    """The fresh folder in the target's place; were that to fail, the old one is put back."""
    if target.exists():
        target.rename(old)
    try:
        fresh.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


# --- what is kept -----------------------------------------------------------------------------------------------------


def _read(path: Path, schema: Schema, made_in: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    return read_table_and_provenance(path, schema, made_in=made_in)


def _kept_tables(study: Study, paths: StudyPaths, fresh: CommittedPaths, tokens: bool) -> Iterator[KeptTable]:
    """Every table, one at a time."""
    cohort, made = _read(paths.cohort, COHORT, f"the study with `qkld run {study.study}`")
    yield KeptTable(fresh.cohort, cohort, COHORT, made)
    quants = [quant.label for quant in study.quants]
    measured = [*study.floors, *quants]
    parts = [_read(paths.fidelity(label), FIDELITY, "notebook 02_quant_kld")[0] for label in measured]
    yield KeptTable(fresh.fidelity, pd.concat(parts, ignore_index=True), FIDELITY, made)
    for label in [study.reference.label, *quants, *([FLOOR_BATCH] if study.self_flips else [])]:
        items, by = _read(paths.items(label), ITEMS, "notebook 03_benchmark_scores")
        yield KeptTable(fresh.items(label), without_texts(items), ITEMS, by)
    for label in measured if tokens else []:
        table, by = _read(paths.kld(label), TOKENS, "notebook 02_quant_kld")
        yield KeptTable(fresh.tokens(label), table[list(KEPT_TOKENS.columns)], KEPT_TOKENS, by)


def _copied_results(name: str, fresh: CommittedPaths) -> Iterator[tuple[Path, int]]:
    """Copy every result table with what made it; yields its new place and its rows."""
    study = load_study(name)
    for table in OF_STUDIES:
        rows, own, place = len(study.analysis(table)), study.paths.analysis(table), fresh.analysis(table)
        place.parent.mkdir(parents=True, exist_ok=True)
        for ending in (".csv", ".json"):
            shutil.copyfile(own.with_suffix(ending), place.with_suffix(ending))
        yield place, rows


def without_texts(items: pd.DataFrame) -> pd.DataFrame:
    """Items without what a model wrote.

    Raises
    ------
    TableError
        If another column holds words than those of `NAMES`.
    """
    kept = items.drop(columns=[c for c in TEXTS if c in items])
    words = [c for c in kept if not pd.api.types.is_numeric_dtype(kept[c]) and c not in NAMES]
    if words:
        raise TableError(
            "A column of the items holds words that may be a benchmark's text.",
            expected=f"words in {', '.join(sorted(NAMES))} alone",
            found=", ".join(words),
            do="name the column in qkld.analysis.committing.NAMES if it holds no text, else in TEXTS",
        )
    return kept


def _check_size(path: Path, fresh: CommittedPaths) -> None:
    size = path.stat().st_size
    if size >= LARGEST_FILE:
        own = path.relative_to(fresh.folder)
        raise TableError(
            f"{own} is too large for the repository.",
            expected=f"below {LARGEST_FILE:,} bytes",
            found=f"{size:,} bytes",
            do="leave the tokens out with --without-tokens" if own.parts[0] == "tokens" else "publish it elsewhere",
        )


# --- the page ---------------------------------------------------------------------------------------------------------


def licences(study: Study) -> dict[str, str]:
    """What the numbers are of → its licence, where the catalogue of what can be fetched knows it."""
    corpora = {f"corpus {c.name}": c.asset for c in study.corpora}
    benchmarks = {f"benchmark {b.task}": f"benchmark-{b.task}" for b in study.benchmarks}
    named = {f"reference {study.reference.recipe}": study.reference.asset, **corpora, **benchmarks}
    return {what: ASSETS[asset].licence if asset in ASSETS else "of its maker" for what, asset in named.items()}


def data_page(
    study: Study, kept: CommittedPaths, rows: Mapping[Path, int], made: Mapping[str, Any], *, tokens: bool
) -> str:
    """The page beside the tables, as Markdown."""
    packages = ", ".join(f"{name} {version}" for name, version in made["packages"].items())
    left_out = ["what a model wrote", "the reference's hidden states", "the ids and further columns of tokens"]
    left_out += [] if tokens else ["all tokens, so that what notebook 04 makes of them is kept as it was made"]
    files = tuple(
        (
            f"`{path.relative_to(kept.folder).as_posix()}`",
            f"{rows[path]:,}",
            f"{path.stat().st_size:,}",
            f"`{sha256_of_file(path)}`",
        )
        for path in sorted(rows)
    )
    digest = "SHA-256"
    return "\n".join(
        [
            f"# Tables of study `{study.study}`",
            "",
            study.description,
            "",
            f"Made by `qkld run {study.study}` at commit {made['commit']}, metrics version {made['metrics_version']}, "
            f"Python {made['python']} on {made['machine']}: {packages}.",
            "",
            "From these tables every number of the study can be made again without a model: where `runs/` holds no run "
            "of it, `qkld.load_study` and notebooks 04 to 08 read them. The documentation lists their columns.",
            "",
            f"Left out: {'; '.join(left_out)}. No text of a benchmark or corpus is in them.",
            "",
            "## Licences",
            "",
            "The tables are the project's own, under its licence. What they were measured on is not in them, and has:",
            "",
            *(f"- {what}: {licence}" for what, licence in licences(study).items()),
            "",
            "## Files",
            "",
            TextTable("", "", ("file", "rows", "bytes", digest), files, words=frozenset({digest})).markdown(),
            "",
        ]
    )
