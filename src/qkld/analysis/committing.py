"""A study's tables for the repository, so that every statistic can be made again without a model.

What notebooks 03b to 08 read is kept: every model's fidelity and items, of the tokens what notebook 04 takes, the
cohort, and the result tables. Left out are texts: what a model wrote, and the ids of tokens. Beside the tables stands a
page with what made them, their licences and a checksum of each file.
"""

from __future__ import annotations

import lzma
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from qkld.analysis.study import LoadedStudy, load_study
from qkld.errors import StageError, TableError
from qkld.sources.catalogue import ASSETS
from qkld.study.params import FLOOR_BATCH, Study, load_params
from qkld.study.parquet import leaves_out
from qkld.study.paths import CommittedPaths, StudyPaths
from qkld.study.processors import processor
from qkld.study.provenance import canonical_json, sha256_of_file
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
from qkld.study.taken import read_taken
from qkld.study.text_table import TextTable

LARGEST_FILE = 3_000_000
"""Bytes of a file, above which it is not for a repository."""

TEXTS = ("written",)
"""Columns of items that hold what a model wrote."""

NAMES = frozenset({"model", "benchmark", "item", "request", "metric", "cluster", "base", "choice_scores"})
"""Columns of items that hold words or lists of numbers, and no text of a benchmark."""

MADE_ALIKE = ("commit", "metrics_version", "python", "machine", "processor", "packages")
"""What the page says of how tables were made."""


@dataclass(frozen=True)
class KeptTable:
    """One table for the repository: its file, its rows, its schema, and what made it."""

    path: Path
    table: pd.DataFrame
    schema: Schema
    made_by: dict[str, Any]

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return len(self.table)

    def write(self, base: Path | None) -> None:
        """Write it to its file, beside another table of its schema where there is one."""
        write_table(self.path, self.table, self.schema, self.made_by, base)


@dataclass(frozen=True)
class KeptResult:
    """One result table as a study's run made it, with what made it beside it."""

    path: Path
    made: Path
    source: Path
    rows: int
    made_by: dict[str, Any]

    def write(self, base: Path | None) -> None:
        """Pack the table and copy what made it; there is no ``base`` of a result."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(lzma.compress(self.source.read_bytes(), preset=lzma.PRESET_EXTREME | 9))
        shutil.copyfile(self.source.with_suffix(".json"), self.made)


Tables = Callable[[CommittedPaths], Iterable[KeptTable | KeptResult]]
"""The tables to keep, of the places that they are to have."""


def export_study(name: str, folder: Path | None = None, *, tokens: bool = True) -> CommittedPaths:
    """Write an ended study's tables and their page, by default into ``studies/<name>``, in place of what was there.

    Parameters
    ----------
    tokens : whether the tokens are kept as well; without them notebook 04 shows what the study's run made of them

    Raises
    ------
    StageError
        If the study has not been run to notebook 07 here, or has taken tables of others.
    TableError
        If a file would be larger than `LARGEST_FILE`, or a column holds text. Nothing is changed then.
    """
    study, paths = load_params(name), StudyPaths(name)
    taken = read_taken(paths).jobs
    if taken:
        raise StageError(
            f"The run of '{name}' has taken tables that the repository keeps, which lack their tokens' ids.",
            expected="a run that has measured every model itself",
            found=f"{len(taken)} tables taken",
            do=f"keep its results with `qkld keep {name}`",
        )
    target = paths.committed if folder is None else CommittedPaths(folder)
    replace_tables(study, target, lambda fresh: _all_tables(study, paths, fresh, tokens), tokens=tokens)
    return target


def replace_tables(study: Study, target: CommittedPaths, tables: Tables, *, tokens: bool = True) -> None:
    """Write tables and their page into a folder, in place of what was there; all of it or, on an error, nothing."""
    target.folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.folder.parent, prefix=f".{target.folder.name}.") as temporary:
        fresh = CommittedPaths(Path(temporary) / "new")
        rows, made, whole = {}, {}, {}
        for kept in tables(fresh):
            kept.write(whole.get(kept.path.parent))
            if isinstance(kept, KeptTable) and not leaves_out(kept.path):
                whole[kept.path.parent] = kept.path
            _check_size(kept.path, fresh)
            rows[kept.path], made[kept.path] = kept.rows, kept.made_by
        fresh.page.write_text(data_page(study, fresh, rows, made, tokens=tokens), encoding="utf-8")
        _put(fresh.folder, target.folder, Path(temporary) / "old")


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
    """A table and what made it; one that does not name its processor was made by this machine's."""
    table, made = read_table_and_provenance(path, schema, made_in=made_in)
    return table, {"processor": dict(processor()), **made}


def ended_tables(study: Study, paths: StudyPaths, fresh: CommittedPaths) -> Iterator[KeptTable | KeptResult]:
    """The cohort and the result tables of an ended study."""
    cohort, made = _read(paths.cohort, COHORT, f"the study with `qkld run {study.study}`")
    yield KeptTable(fresh.cohort, cohort, COHORT, made)
    loaded = load_study(study.study)
    yield from (_result(loaded, name, fresh) for name in OF_STUDIES)


def _result(loaded: LoadedStudy, name: str, fresh: CommittedPaths) -> KeptResult:
    made = {"processor": dict(processor()), **loaded.made(name)}
    rows = len(loaded.analysis(name))
    return KeptResult(fresh.analysis(name), fresh.made(name), loaded.paths.analysis(name), rows, made)


def kld_tables(paths: StudyPaths, fresh: CommittedPaths, label: str, *, tokens: bool = True) -> Iterator[KeptTable]:
    """What notebook 02 made of a quant or floor: its fidelity, and of its tokens what is kept."""
    fidelity, made = _read(paths.fidelity(label), FIDELITY, FIDELITY.made_in)
    yield KeptTable(fresh.fidelity(label), fidelity, FIDELITY, made)
    if tokens:
        table, made = _read(paths.kld(label), TOKENS, TOKENS.made_in)
        yield KeptTable(fresh.tokens(label), table[list(KEPT_TOKENS.columns)], KEPT_TOKENS, made)


def item_tables(paths: StudyPaths, fresh: CommittedPaths, label: str) -> Iterator[KeptTable]:
    """What notebook 03 made of a model."""
    items, made = _read(paths.items(label), ITEMS, ITEMS.made_in)
    yield KeptTable(fresh.items(label), without_texts(items), ITEMS, made)


def _all_tables(
    study: Study, paths: StudyPaths, fresh: CommittedPaths, tokens: bool
) -> Iterator[KeptTable | KeptResult]:
    """Every table of an ended study, one at a time."""
    yield from ended_tables(study, paths, fresh)
    quants = [quant.label for quant in study.quants]
    for label in (*study.floors, *quants):
        yield from kld_tables(paths, fresh, label, tokens=tokens)
    floors = [basis.floor_label for basis in study.bases] + [FLOOR_BATCH] * study.self_flips
    for label in (study.reference.label, *quants, *floors):
        yield from item_tables(paths, fresh, label)


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
            "A column of the items may hold a benchmark's text.",
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
    study: Study,
    kept: CommittedPaths,
    rows: Mapping[Path, int],
    made: Mapping[Path, Mapping[str, Any]],
    *,
    tokens: bool,
) -> str:
    """The page beside the tables, as Markdown; ``rows`` and ``made`` are each file's length and what made it."""
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
            f"Made by `qkld run {study.study}`:",
            "",
            *_makers(made),
            "",
            _use(study, ended=kept.cohort in rows),
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


def _use(study: Study, *, ended: bool) -> str:
    """What the tables are good for."""
    columns = (
        "The documentation lists their columns. Each file has those of its key; others that several tables of a folder "
        "have alike lie in one of them."
    )
    if ended:
        return (
            "From these tables every number of the study can be made again without a model: where `runs/` holds no run "
            f"of it, `qkld.load_study` and notebooks 04 to 08 read them. {columns}"
        )
    return (
        f"The study has not ended. `qkld run {study.study}` takes these tables instead of running their models, and "
        f"goes on with the rest. {columns}"
    )


def _makers(made: Mapping[Path, Mapping[str, Any]]) -> list[str]:
    """A line for each commit, machine and set of packages, with the files that they made where there are several."""
    files: dict[str, list[str]] = {}
    told: dict[str, str] = {}
    for path, by in sorted(made.items()):
        key = canonical_json({name: by.get(name) for name in MADE_ALIKE})
        files.setdefault(key, []).append(f"`{path.parent.name}/{path.stem}`" if by.get("model") else f"`{path.stem}`")
        told[key] = _maker(by)
    of = {key: f", {len(names)} files: {', '.join(names)}" if len(files) > 1 else "" for key, names in files.items()}
    return [f"- {line}{of[key]}" for key, line in told.items()]


def _maker(made: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in made["packages"].items())
    by = made["processor"]
    return (
        f"commit {made['commit']}, metrics version {made['metrics_version']}, Python {made['python']} on "
        f"{made['machine']}, processor {by['name']} ({by['kind']}); {packages}"
    )
