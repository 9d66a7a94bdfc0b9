"""The tables that notebooks 02 and 03 leave of a study's models, and the two that are put together from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from qkld.analysis.cohort import build_cohort, check_same_stores, composite_of
from qkld.study.params import Study, load_params
from qkld.study.paths import StudyPaths
from qkld.study.provenance import made_by
from qkld.study.schemas import COHORT, FIDELITY, ITEMS, Schema, read_table_and_provenance, write_table


@dataclass(frozen=True)
class Measured:
    """What was measured of a study's models, label → table, as `cohort.build_cohort` takes it.

    Attributes
    ----------
    fidelity : of every floor and quant, schema ``fidelity``
    items : of the reference, every quant and the floors of bases, schema ``items``
    facts : bits per weight and hash of the weights, of every model
    floors : labels of those floors, whose answers enter no score
    """

    fidelity: Mapping[str, pd.DataFrame]
    items: Mapping[str, pd.DataFrame]
    facts: Mapping[str, Mapping[str, Any]]
    floors: tuple[str, ...] = ()

    @property
    def all_items(self) -> pd.DataFrame:
        """The items of the reference and all quants, one below the other."""
        tables = [table for label, table in self.items.items() if label not in self.floors]
        return pd.concat(tables, ignore_index=True)


def read_measured(study: Study) -> Measured:
    """Read the tables of every model of a study.

    Raises
    ------
    StageError
        If a table is missing; the message names the notebook to run. If some were measured against other stores of the
        reference than the rest.
    """
    paths, quants = StudyPaths(study.study), [q.label for q in study.quants]
    floors = tuple(basis.floor_label for basis in study.bases)
    fidelity, fidelity_made = _read(paths.fidelity, [*study.floors, *quants], FIDELITY)
    items, items_made = _read(paths.items, [study.reference.label, *floors, *quants], ITEMS)
    check_same_stores({label: made.get("stores") for label, made in fidelity_made.items()})
    facts = {label: made.get("model", {}) for label, made in {**fidelity_made, **items_made}.items()}
    return Measured(fidelity, items, facts, floors)


def _read(
    path_of: Callable[[str], Path], labels: Iterable[str], schema: Schema
) -> tuple[dict[str, pd.DataFrame], dict[str, dict[str, Any]]]:
    found = {
        label: read_table_and_provenance(path_of(label), schema, made_in=f"{schema.made_in} for '{label}'")
        for label in labels
    }
    return {label: table for label, (table, _) in found.items()}, {label: made for label, (_, made) in found.items()}


def write_cohort(study: Study, cohort: pd.DataFrame, items: pd.DataFrame) -> None:
    """Write ``cohort.parquet`` and ``items.parquet``; both say which benchmarks enter the composite."""
    paths, tasks = StudyPaths(study.study), composite_of(study, items).query("in_composite")["benchmark"]
    made = made_by(study=study.study, composite=tasks.tolist())
    write_table(paths.all_items, items, ITEMS, made)
    write_table(paths.cohort, cohort, COHORT, made)


def collect(study: str) -> None:
    """Read, put together and write, as notebook 03b does, without a kernel. Raises as `read_measured` does."""
    params = load_params(study)
    measured = read_measured(params)
    cohort = build_cohort(params, measured.fidelity, measured.items, measured.facts)
    write_cohort(params, cohort, measured.all_items)
