"""A study's tables as data frames, for notebooks and for people."""

from __future__ import annotations

import hashlib
import io
import lzma
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from qkld.errors import StageError
from qkld.study.knobs import knobs, with_knobs
from qkld.study.params import FLOOR_BATCH, Study, load_params
from qkld.study.parquet import read_note
from qkld.study.paths import CommittedPaths, StudyPaths
from qkld.study.preregistration import Preregistration, preregistration
from qkld.study.provenance import key_of, made_by, sha256_of_file, written_whole
from qkld.study.registry import OF_STUDIES
from qkld.study.result_table import REMARK, Table
from qkld.study.schemas import (
    COHORT,
    FIDELITY,
    ITEMS,
    KEPT_TOKENS,
    TOKENS,
    Schema,
    read_table,
    read_table_and_provenance,
)
from qkld.study.sealing import altered, read_sealed, write_sealed
from qkld.study.taken import read_taken

if TYPE_CHECKING:
    from qkld.statistics.core.resampling import Resampling

_COLLECT = f"notebooks {FIDELITY.notebook} and {ITEMS.notebook} for every model, then {COHORT.made_in}"


class GivenKnob(NamedTuple):
    """A knob that was given another value than the study's."""

    own: Any
    given: Any


@dataclass(frozen=True)
class LoadedStudy:
    """One study: its parameters, its paths, and its tables, each read when first asked for and checked then.

    Where no run of it was made here, its tables are those that the repository keeps, if it does; see `origin`. What
    notebooks make of them is the run's, so that nothing that is committed changes. With
    knobs of other values than the study's (``by_hand``) its tables are read, and never written: see `written`.
    """

    params: Study
    by_hand: Mapping[str, GivenKnob] = field(default_factory=dict)

    @property
    def paths(self) -> StudyPaths:
        """Where the study's own files lie."""
        return StudyPaths(self.params.study)

    @property
    def written(self) -> StudyPaths:
        """Where results are written: to the study's own place, or beside it under the knobs that differ."""
        return StudyPaths(self.params.study, _folder_of(self.by_hand))

    @property
    def quants(self) -> list[str]:
        """Labels of the quants, in the study's order."""
        return [q.label for q in self.params.quants]

    @property
    def benchmarks(self) -> list[str]:
        """Benchmark tasks, in the study's order."""
        return [b.task for b in self.params.benchmarks]

    @property
    def resampling(self) -> Resampling:
        """How the study's correlations are resampled; scipy is imported here, which most jobs do without."""
        from qkld.statistics.core.resampling import Resampling

        c = self.params.correlation
        return Resampling(c.correlation_confidence, c.correlation_bootstrap, c.permutations, c.correlation_seed)

    def with_knobs(self, stage: str, **values: object) -> LoadedStudy:
        """The same study with some of a stage's knobs, checked as those of the YAML are; None is the study's own."""
        params = with_knobs(self.params, stage, **values)
        own, given = knobs(self.params, stage), knobs(params, stage)
        changed = {name: GivenKnob(own[name], given[name]) for name in own if own[name] != given[name]}
        return LoadedStudy(params, {**self.by_hand, **changed})

    @property
    def by_hand_lines(self) -> list[str]:
        """What is said of knobs that differ from the study's; no line where none does."""
        said = [f"{name} = {knob.given}, where the study has {knob.own}" for name, knob in self.by_hand.items()]
        return [*said, f"so results are written beside the study's own: {self.written.run}"] if said else []

    @cached_property
    def committed(self) -> CommittedPaths | None:
        """The study's tables in the repository, where no run here has made any; else None."""
        kept = self.paths.committed
        return kept if kept.cohort.exists() and not self.paths.cohort.exists() else None

    @property
    def origin(self) -> str:
        """Where the tables come from, in a line, and what is to be said of the study's preregistration."""
        registered = f"; {self.preregistration.said}" if self.preregistration else ""
        if self.committed is None:
            return f"tables of the run of '{self.params.study}' here{registered}"
        commit = str(self._cohort_and_provenance[1]["commit"])
        said = f"no run of '{self.params.study}' here: its tables in the repository, made at commit {commit}"
        tokens = (
            "" if self.keeps_tokens else "; without its token tables, results that need them are not computed again"
        )
        return f"{said}{tokens}{registered}"

    @property
    def keeps_tokens(self) -> bool:
        """Whether the study's tokens can be read: a run's always, committed ones where the export holds them."""
        return self.committed is None or all(self.committed.tokens(quant).exists() for quant in self.quants)

    @property
    def figures(self) -> Path:
        """Folder for figures: the study's in the repository, or the run's where only committed tables were read."""
        return self.written.figures if self.committed is None or self.by_hand else self.paths.run / "figures"

    @cached_property
    def preregistration(self) -> Preregistration | None:
        """Whether the study is as it was preregistered; None where its file names no preregistration."""
        if self.params.preregistered is None:
            return None
        place = self.paths if self.committed is None else self.committed
        tables = {label: place.items(label) for label in (self.params.reference.label, *self.quants)}
        made = {label: read_note(path)["made_by"].get("commit") for label, path in tables.items() if path.exists()}
        return preregistration(self.params, made)

    @cached_property
    def _cohort_and_provenance(self) -> tuple[pd.DataFrame, dict[str, Any]]:
        path = self.paths.cohort if self.committed is None else self.committed.cohort
        return read_table_and_provenance(path, COHORT, made_in=_COLLECT)

    @property
    def cohort(self) -> pd.DataFrame:
        """One row a model: what it is, its fidelity, its scores."""
        return self._cohort_and_provenance[0]

    @property
    def cohort_made_by(self) -> dict[str, Any]:
        """What made the cohort: commit, versions, machine."""
        return self._cohort_and_provenance[1]

    @cached_property
    def items(self) -> pd.DataFrame:
        """One row a model and benchmark item."""
        if self.committed is None:
            return read_table(self.paths.all_items, ITEMS, made_in=_COLLECT)
        labels = [self.params.reference.label, *self.quants]
        return pd.concat([self._committed_items(label) for label in labels], ignore_index=True)

    def _committed_items(self, label: str) -> pd.DataFrame:
        return read_table(self.committed.items(label), ITEMS, made_in="`git checkout studies`")

    @cached_property
    def second_run(self) -> pd.DataFrame | None:
        """The reference's items from its run in another batch shape; None where the study does not ask for one."""
        if not self.params.self_flips:
            return None
        if self.committed is not None:
            return self._committed_items(FLOOR_BATCH)
        return read_table(self.paths.items(FLOOR_BATCH), ITEMS, made_in=self._maker(ITEMS, FLOOR_BATCH))

    @cached_property
    def fidelity(self) -> pd.DataFrame:
        """One row a quant or floor, corpus, context and metric, with intervals."""
        labels, paths = [*self.params.floors, *self.quants], self.committed or self.paths
        tables = [read_table(paths.fidelity(label), FIDELITY, made_in=self._maker(FIDELITY, label)) for label in labels]
        return pd.concat(tables, ignore_index=True)

    def _maker(self, schema: Schema, label: str) -> str:
        """What brings a model's table back: git for one that is committed, else its notebook."""
        return "`git checkout studies`" if self.committed else f"{schema.made_in} for '{label}'"

    def measured_by(self, label: str) -> dict[str, Any]:
        """What measured a quant or floor: commit, versions, and of its model dtype and device."""
        note = read_note((self.committed or self.paths).fidelity(label))
        return note["made_by"] if note else {}

    def tokens(self, quant: str) -> pd.DataFrame:
        """One row a scored token of a quant or floor; those that the repository keeps have no token ids."""
        if quant not in self.params.floors:
            self.params.entry(quant)
        if self.committed is not None:
            return read_table(
                self.committed.tokens(quant), KEPT_TOKENS, made_in=f"the study with `qkld run {self.params.study}`"
            )
        schema = KEPT_TOKENS if ("quant_kld", quant) in read_taken(self.paths).jobs else TOKENS
        return read_table(self.paths.kld(quant), schema, made_in=f"{TOKENS.made_in} for '{quant}'")

    def analysis(self, name: str) -> pd.DataFrame:
        """A result table of notebooks 04 to 07; an estimate that could not be computed is NaN, with a ``note``.

        Raises
        ------
        StageError
            If there is no table of that name, or it is not made yet.
        StoreError
            If it was changed, or an earlier version of qkld wrote it.
        """
        path, table = self._found(name), _table(name)
        if not path.exists():
            raise StageError(
                f"Result '{name}' of study '{self.params.study}' does not exist yet.",
                expected=path,
                found="no such file",
                do=f"run notebook {table.notebook} first",
            )
        again = f"delete it and run notebook {table.notebook}"
        data, stated = _unpacked(path), self.made(name)["table_sha256"]
        if (found := hashlib.sha256(data).hexdigest()) != stated:
            raise altered(path, f"digest {found} instead of {stated}", do=again)
        return table.read(io.BytesIO(data))

    def save_results(self, **tables: pd.DataFrame) -> None:
        """`save_analysis` of every table, by its name."""
        for name, table in tables.items():
            self.save_analysis(name, table)

    def save_analysis(self, name: str, table: pd.DataFrame) -> None:
        """Write a result table as CSV, whole, and beside it as JSON what made it, the stage's knobs among it."""
        path, described = self.written.analysis(name), _table(name)
        described.check(table.columns)
        facts = {"study": self.params.study, "table": name, "primary_score": self.params.primary_score}
        made = made_by(**facts, knobs=knobs(self.params, described.notebook))
        if self.preregistration is not None:
            made["preregistration"] = self.preregistration.said
        if self.preregistration is not None and self.preregistration.broken:
            table = table.assign(**{REMARK: self.preregistration.said})
        with written_whole(path) as temporary:
            table.to_csv(temporary, index=False)
            made["table_sha256"] = sha256_of_file(temporary)
        write_sealed(path.with_suffix(".json"), made)

    def made(self, name: str) -> dict[str, Any]:
        """What made a result table: provenance, the stage's knobs, and the digest of its file."""
        notebook = _table(name).notebook
        return read_sealed(self._found(name).with_name(f"{name}.json"), do=f"run notebook {notebook}")

    def _found(self, name: str) -> Path:
        """Where a result lies: of a run with these very knobs, else the study's own, else the one that is committed."""
        own = self.paths.analysis(name)
        there = [path for path in (self.written.analysis(name), own) if path.exists()]
        if not there and self.committed is not None and self.committed.analysis(name).exists():
            return self.committed.analysis(name)
        return there[0] if there else own


def _unpacked(path: Path) -> bytes:
    """A result table's bytes as they were when it was made: in the repository they are packed.

    Bytes that cannot be unpacked are given as they are, so that their digest is another.
    """
    data = path.read_bytes()
    try:
        return lzma.decompress(data) if path.suffix == ".xz" else data
    except lzma.LZMAError:
        return data


def _table(name: str) -> Table:
    """A result table of studies; a StageError where they have none of this name."""
    if name not in OF_STUDIES:
        raise StageError(
            f"There is no result '{name}'.", expected=sorted(OF_STUDIES), found=name, do="use one of these"
        )
    return OF_STUDIES[name]


LONGEST_FOLDER = 100
"""Characters of a folder's name that spells out its knobs; beyond it a hash stands in their place."""


def _folder_of(by_hand: Mapping[str, GivenKnob]) -> str:
    """``zone_cut=0.02,permutations=499``; empty without knobs."""
    values = {name: by_hand[name].given for name in sorted(by_hand)}
    spelt = ",".join(f"{k}={'+'.join(map(str, v)) if isinstance(v, list) else v}" for k, v in values.items())
    return spelt if len(spelt) <= LONGEST_FOLDER else key_of(values)


def load_study(study: str) -> LoadedStudy:
    """Open a study by its name, for example ``qkld.load_study("demo").cohort``.

    Raises
    ------
    ParameterError
        If there is no such study or its parameters are not valid.
    """
    return LoadedStudy(load_params(study))
