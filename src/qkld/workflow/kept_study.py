"""What a study has finished so far, for the repository: a machine may be lost, and a fresh clone goes on from there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from qkld.analysis.cohort import check_same_stores
from qkld.analysis.committing import (
    KeptResult,
    KeptTable,
    ended_tables,
    item_tables,
    kld_tables,
    replace_tables,
)
from qkld.errors import StageError
from qkld.study.params import Study, load_params
from qkld.study.paths import CommittedPaths, StudyPaths
from qkld.study.registry import OF_STUDIES
from qkld.study.schemas import FIDELITY, ITEMS, KEPT_TOKENS, read_table_and_provenance
from qkld.study.taken import JobKey, read_taken
from qkld.workflow.kept_jobs import OF, kept_files, kept_jobs, parameters_digest, recorded_digests, run_files

PARAMETERS = "parameters"
"""Of what made a kept table: the digest of the parameters, see `parameters_digest`."""

SCHEMAS = {"quant_kld": (KEPT_TOKENS, FIDELITY), "benchmark_scores": (ITEMS,)}
"""Schemas of `kept_files`."""


def keep_study(name: str, folder: Path | None = None) -> list[str]:
    """Write the tables of every finished model of a study's run into ``studies/<name>``; returns what is said of it.

    Those that were kept before and that this run has taken, or lacks, stay as they are where they fit the study's
    parameters. The cohort and the result tables come once every model is kept.

    Raises
    ------
    StageError
        If nothing is finished, or tables were measured against different stores of the reference.
    TableError
        If a file would be too large for a repository, or a column holds text. Nothing is changed then.
    """
    study, paths = load_params(name), StudyPaths(name)
    target = paths.committed if folder is None else CommittedPaths(folder)
    own, before = own_jobs(study, paths), kept_before(study, target)
    jobs = [job for job in kept_jobs(study) if job in own or job in before]
    if not jobs:
        raise StageError(
            f"No model of '{name}' is finished.",
            expected=f"tables of `qkld run {name}` in {paths.run}, made with the parameters that the study has now",
            found="none",
            do="run it first, or name the folder of its runs with --runs",
        )
    ended = len(jobs) == len(kept_jobs(study)) and _is_of(paths, jobs)

    def tables(fresh: CommittedPaths) -> Iterator[KeptTable | KeptResult]:
        stores = {}
        for job in jobs:
            for table in _own_tables(paths, fresh, job, own[job]) if job in own else _kept_tables(target, fresh, job):
                yield table
                if "stores" in table.made_by:
                    stores[job[1]] = table.made_by["stores"]
        check_same_stores(stores)
        if ended:
            yield from ended_tables(study, paths, fresh)

    replace_tables(study, target, tables)
    return _said(study, target, jobs, own, ended=ended)


def _is_of(paths: StudyPaths, jobs: list[JobKey]) -> bool:
    """Whether a run's cohort was made of its tables as they are, and its result tables of the cohort."""
    measured = [file for job in jobs for file in run_files(paths, job) if file.exists()]
    results = [paths.analysis(name) for name in OF_STUDIES]
    if not all(file.exists() for file in (paths.cohort, *results)):
        return False
    cohort = paths.cohort.stat().st_mtime_ns
    return all(file.stat().st_mtime_ns <= cohort for file in measured) and all(
        cohort <= file.stat().st_mtime_ns for file in results
    )


def own_jobs(study: Study, paths: StudyPaths) -> dict[JobKey, str]:
    """Jobs that a run has ended itself, with the parameters that the study has now → the digest of these."""
    taken, recorded = read_taken(paths).jobs, recorded_digests(study, paths)
    return {j: d for j, d in recorded.items() if j not in taken and d == parameters_digest(study, j)}


def kept_before(study: Study, kept: CommittedPaths) -> set[JobKey]:
    """Jobs whose tables are kept and made with the parameters that the study has now."""
    return {job for job in kept_jobs(study) if made_with(kept, job) == parameters_digest(study, job)}


def made_with(kept: CommittedPaths, job: JobKey) -> str | None:
    """Digest of the parameters that a job's kept tables were made with; None where it has none."""
    if not all(file.exists() for file in kept_files(kept, job)):
        return None
    digests = {made.get(PARAMETERS) for _, made in read_kept(kept, job)}
    return digests.pop() if len(digests) == 1 else None


def read_kept(kept: CommittedPaths, job: JobKey) -> list[tuple]:
    """The tables that are kept of a job, each with what made it."""
    pairs = zip(kept_files(kept, job), SCHEMAS[job[0]], strict=True)
    return [read_table_and_provenance(file, schema, made_in="`git checkout studies`") for file, schema in pairs]


def _own_tables(paths: StudyPaths, fresh: CommittedPaths, job: JobKey, digest: str) -> Iterator[KeptTable]:
    rule, label = job
    for table in (kld_tables if rule == "quant_kld" else item_tables)(paths, fresh, label):
        yield replace(table, made_by=table.made_by | {PARAMETERS: digest})


def _kept_tables(kept: CommittedPaths, fresh: CommittedPaths, job: JobKey) -> Iterator[KeptTable]:
    """The tables that the repository keeps already of a job."""
    tables = zip(read_kept(kept, job), kept_files(fresh, job), SCHEMAS[job[0]], strict=True)
    for (table, made), path, schema in tables:
        yield KeptTable(path, table, schema, made)


def _said(
    study: Study, target: CommittedPaths, jobs: list[JobKey], own: Mapping[JobKey, str], *, ended: bool
) -> list[str]:
    size = sum(file.stat().st_size for file in target.folder.rglob("*.parquet"))
    counts = ", ".join(f"{OF[rule]} of {sum(r == rule for r, _ in jobs)} models" for rule in OF)
    said = [f"{target.folder}: {counts} ({len(own)} of both from this run), {size / 1e6:.1f} MB"]
    missing = [f"{OF[rule]} of {label}" for rule, label in kept_jobs(study) if (rule, label) not in jobs]
    if missing:
        said.append(f"not finished: {', '.join(missing)}")
    return [*said, "the study has ended" if ended else f"`qkld run {study.study}` in a fresh clone goes on from here"]
