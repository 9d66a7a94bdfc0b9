"""Bytes of a run's files changed at random: whoever reads the file has to say so, or every number is as before."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from qkld.analysis.study import load_study
from qkld.benchmarks import reference_items
from qkld.errors import QkldError, StageError
from qkld.reference import recording
from qkld.reference.store import ReferenceStore, StoreWriter
from qkld.study.locks import locked
from qkld.study.mark import check_mark
from qkld.study.params import load_params
from qkld.study.schemas import read_table
from qkld.study.sealing import read_sealed
from qkld.workflow.notebooks import read_executed
from qkld.workflow.slurm.failures import causes
from qkld.workflow.watching import Watch, failed_lines
from validation.soak.record import Count
from validation.soak.studies import STUDY, StudyFolder, stored_tables

Reader = Callable[[], Any]


@dataclass
class Found:
    """Outcomes of one kind of file; ``missed`` names the places that nobody noticed."""

    tried: int = 0
    noticed: int = 0
    harmless: int = 0
    missed: list[str] = field(default_factory=list)

    def count(self, kind: str, held: str) -> Count:
        """As a row of the record."""
        return Count(f"a byte of {kind}", self.tried, self.noticed, self.harmless, len(self.missed), held)


HELD: Mapping[str, str] = {
    "tables": "every value",
    "result tables": "every value, and what made it",
    "seals": "their values",
    "stores": "hidden states of every window, bit by bit",
    "heads": "the head's weights",
    "finished windows": "that a killed run could go on",
    "partial scores": "their values",
    "executed notebooks": "their cells and outputs",
    "logs and marks": "what is said of the run; they hold no number",
    "Snakemake's notes": "that a dry run answers",
}
"""Kind of file → what its reader gives that is compared."""


PAGES = ".html"
"""Ending of the report and of the interactive plot, which are for people: nothing reads them again."""


def kind_of(path: Path) -> str:
    """The kind of a file, by its path below the run folder."""
    top, name = path.parts[0], path.name
    if top == ".snakemake":
        return "Snakemake's notes"
    if top in (".progress", "run.log", ".mark") or name == ".lock":
        return "logs and marks"
    if top == "reference":
        return _kind_of_stored(path)
    kinds = {
        "analysis": "result tables",
        "seals": "seals",
        "partial": "partial scores",
        "notebooks": "executed notebooks",
    }
    return kinds.get(top, "tables")


def _kind_of_stored(path: Path) -> str:
    if path.parts[1] == "heads":
        return "heads"
    if path.parent.name == "done":
        return "finished windows"
    return "partial scores" if path.name.startswith("answers-") else "stores"


def reader_of(path: Path, run: Path) -> Reader:
    """What reads a file of a run in the study's own course; it gives all that the reader takes from it."""
    inside = path.relative_to(run)
    match kind_of(inside):
        case "tables":
            schema = stored_tables()[str(inside.with_suffix(""))]
            return lambda: read_table(path, schema, made_in="qkld run")
        case "result tables":
            return lambda: _result(path.stem)
        case "seals":
            made_for = {"corpora": recording.made_for, "benchmarks": reference_items.made_for}[path.stem]
            return lambda: recording.read_seal(path, made_for(load_params(STUDY)))
        case "stores":
            return lambda: _windows(run / Path(*inside.parts[:2]))
        case "heads":
            return lambda: _some_store(run).head.weight.numpy().tobytes()
        case "finished windows":
            return lambda: _gone_on(run / Path(*inside.parts[:2]))
        case "partial scores":
            return lambda: read_sealed(path, do="delete it")
        case "executed notebooks":
            return lambda: _told(path)
        case "logs and marks":
            return lambda: _logs(run)
        case _:
            return lambda: _dry_run(run)


def _told(path: Path) -> Any:
    """What the cells of an executed notebook say and show."""
    return [(cell["source"], cell.get("outputs")) for cell in json.loads(read_executed(path))["cells"]]


def _result(name: str) -> Any:
    study = load_study(STUDY)
    return study.analysis(name), study.made(name)


def _windows(folder: Path) -> Any:
    store = ReferenceStore.open(folder)
    return [store.hidden(i).numpy().tobytes() for i in range(len(store.header.windows))]


def _some_store(run: Path) -> ReferenceStore:
    return ReferenceStore.open(next((run / "reference").glob("corpus-*")))


def _gone_on(folder: Path) -> Any:
    """What a killed writer's successor finds and seals."""
    store = ReferenceStore.open(folder)
    with StoreWriter(store.root, store.header, store.head) as writer:
        return writer.missing(), writer.seal()


def _logs(run: Path) -> None:
    """What a run says at its start and end, which reads all of these."""
    watch = Watch(STUDY, run / ".progress", run / "run.log")
    watch.lines()
    failed_lines(watch, 1, causes(watch.log, run))
    check_mark(run)
    for lock in run.rglob(".lock"):
        with locked(lock, patience=1.0):
            pass


def _dry_run(run: Path) -> None:
    status, words = StudyFolder(run.parents[1]).said("--dry-run")
    if status:
        raise StageError("Snakemake stopped.", expected="status 0", found=words[-400:], do="look at its last lines")


# --- flipping ---------------------------------------------------------------------------------------------------------


@contextmanager
def flipped(path: Path, place: int, bits: int) -> Iterator[None]:
    """One byte of a file, exclusive-or ``bits``, while this lasts; then the file is as it was."""
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[place] ^= bits
    path.write_bytes(damaged)
    try:
        yield
    finally:
        path.write_bytes(whole)


def tried(path: Path, read: Reader, before: bytes, rng: np.random.Generator, found: Found) -> None:
    """Change one byte at random, read, and count what became of it."""
    place, bits = int(rng.integers(path.stat().st_size)), int(rng.integers(1, 256))
    found.tried += 1
    with flipped(path, place, bits):
        try:
            after = pickle.dumps(read())
        except QkldError:
            found.noticed += 1
            return
        except Exception as error:  # it is no answer to a damaged file
            found.missed.append(f"{path}: byte {place} ^ {bits}: {type(error).__name__}: {error}")
            return
    if after == before:
        found.harmless += 1
    else:
        found.missed.append(f"{path}: byte {place} ^ {bits}: other values without a word")


def flip_bytes(whole: StudyFolder, number: int, rng: np.random.Generator) -> dict[str, Found]:
    """Change single bytes of a finished run's files, each put back before the next; kind of file → what became of it.

    Every file of the run is as likely as any other of its kind; kinds get the `shares` of ``number``.
    """
    files = files_by_kind(whole.run)
    outcomes = {}
    for kind, share in shares(files, number).items():
        chosen = rng.choice(len(files[kind]), size=share)
        outcomes[kind] = _flipped_in([files[kind][i] for i in chosen], whole.run, rng)
    return outcomes


def _flipped_in(paths: Sequence[Path], run: Path, rng: np.random.Generator) -> Found:
    found = Found()
    for path in sorted(paths):
        read = reader_of(path, run)
        tried(path, read, pickle.dumps(read()), rng, found)
    return found


def files_by_kind(run: Path) -> dict[str, list[Path]]:
    """Every file below a run that has a byte, by kind, but for `PAGES`."""
    files: dict[str, list[Path]] = {kind: [] for kind in HELD}
    for path in sorted(run.rglob("*")):
        if path.is_file() and path.stat().st_size and path.suffix != PAGES:
            files[kind_of(path.relative_to(run))].append(path)
    return {kind: paths for kind, paths in files.items() if paths}


SLOW = ("heads", "finished windows", "Snakemake's notes")
"""Kinds that are read again in seconds: with a hash over the head's hundred megabytes, or by a dry run."""


def shares(files: Mapping[str, Sequence[Path]], number: int) -> dict[str, int]:
    """How many of ``number`` bytes are changed in each kind of file: one in thirty in each slow one."""
    asked = {kind: max(1, number // 30) for kind in SLOW if kind in files}
    others = [kind for kind in files if kind not in SLOW]
    rest = number - sum(asked.values())
    return {kind: (rest + i) // len(others) for i, kind in enumerate(others)} | asked
