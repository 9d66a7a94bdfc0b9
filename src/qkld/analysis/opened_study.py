"""Opening a study for one notebook: which study, with which knobs, and how its errors are shown.

A parameter that is None is the study's own. So a notebook that is run by hand gives what the workflow gives, and what
is run with other knobs is written beside the study's tables (`LoadedStudy.written`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd

from qkld.analysis.study import LoadedStudy, load_study
from qkld.errors import ParameterError, QkldError, StageError
from qkld.study.knobs import STAGES, TOLD_APART, knob_names
from qkld.study.paths import StudyPaths, committed_studies, known_studies, params_file

EXPLORE = "explore/study"
"""The notebook that writes nothing and is no stage."""

STARTING = ("00_make_quants", "01_reference_logits")
"""Notebooks that need nothing of a run, and are opened on this study where no study was run: `FIRST`."""

FIRST = "smoke"

READ_BY_ALL = "01_reference_logits"
"""The notebook whose stores all later ones read: its knobs are the study's."""

OPENED = "_qkld_opened"
"""Name in a notebook's namespace that says that its parameters were read before."""

DIGITS = "{:.3g}".format
"""How a table in a notebook shows a number; its file has all digits."""

LITERALS = (bool, int, float, str, list, tuple, dict)
"""What a parameter can be; modules, functions and tables in a notebook's namespace are none."""


def open_stage(stage: str, given: Mapping[str, Any]) -> LoadedStudy:
    """Open the study that a notebook is about, with the knobs that it was given.

    Parameters
    ----------
    stage : str
        The notebook's name.
    given : mapping
        Parameters by name; in a notebook ``globals()``. A parameter that is None, or not there, is the study's own.
        Without ``study`` it is the last one that was run as far as this notebook needs, else one that the repository
        keeps. Where its tables are the kept ones, a line says so.

    Raises
    ------
    ParameterError
        If a parameter is unknown to the notebook or out of range, or notebook 01 is given other knobs than the study's.
    StageError
        If no study is named and none is there.
    """
    show_errors_briefly()
    pd.set_option("display.float_format", DIGITS)
    _check_known(stage, given)
    chosen = given.get("study") or default_study(stage)
    study = load_study(chosen)
    if stage in STAGES:
        study = study.with_knobs(stage, **{name: given.get(name) for name in knob_names(stage)})
    if study.by_hand and stage == READ_BY_ALL:
        raise _refused(study)
    said = [study.origin] if _reads_cohort(stage) and study.committed is not None else []
    for line in [*said, *study.by_hand_lines]:
        print(line)
    if isinstance(given, MutableMapping):
        given[OPENED] = stage
    return study


def _check_known(stage: str, given: Mapping[str, Any]) -> None:
    known = ("study", *TOLD_APART.get(stage, ()), *(knob_names(stage) if stage in STAGES else ()))
    unknown = sorted(name for name in _literals(given) if name not in known)
    if unknown:
        owners = [other for other in STAGES if set(unknown) & set(knob_names(other))]
        raise ParameterError(
            f"Notebook {stage} has no parameter {', '.join(unknown)}.",
            expected=", ".join(known),
            found=", ".join(f"{name} = {given[name]!r}" for name in unknown),
            do=f"give it to notebook {' or '.join(owners)}" if owners else "correct the name, or remove the line",
        )


def _literals(given: Mapping[str, Any]) -> Iterator[str]:
    """Names of what was given by hand: the literals in a namespace before a notebook's own cells add theirs.

    Where they have added them, and the notebook is run from its parameters again, those that have a type beside them.
    """
    hidden = getattr(_shell(), "user_ns_hidden", {})  # what IPython and its start-up files put there
    candidates = given.get("__annotations__", {}) if OPENED in given else given
    for name in candidates:
        constant = name.isupper() or name.startswith("_")  # imported, or Python's own
        if isinstance(given.get(name), LITERALS) and not constant and name not in hidden:
            yield name


def _refused(study: LoadedStudy) -> ParameterError:
    name = study.params.study
    return ParameterError(
        f"Notebook {READ_BY_ALL} must use the values of study '{name}', as all later notebooks read its stores.",
        expected=", ".join(f"{knob} = {value.own!r}" for knob, value in study.by_hand.items()),
        found=", ".join(f"{knob} = {value.given!r}" for knob, value in study.by_hand.items()),
        do=f"write the values into {params_file(name)}, or into a copy of it under another name, and open that study",
    )


# --- which study ------------------------------------------------------------------------------------------------------


def default_study(stage: str) -> str:
    """The study that a notebook is opened on where none is named; a line says which and why.

    It is the last one that was run here as far as the notebook needs. Where there is none, notebooks 00 and 01 take
    `FIRST`, and those that read a cohort the kept one with the most answers to items.

    Raises
    ------
    StageError
        If there is none; the message names what to run.
    """
    needed = {name: _needed(stage, StudyPaths(name)) for name in known_studies()}
    there = {name: path.stat().st_mtime_ns for name, path in needed.items() if path.exists()}
    if there:
        return _told(max(there, key=there.__getitem__), "the last one that was run here")
    if stage in STARTING and params_file(FIRST).exists():
        return _told(FIRST, "no study was run here yet")
    kept = committed_studies() if _reads_cohort(stage) else []
    if kept:
        return _told(max(kept, key=_bytes_of_items), "no study was run here yet, and its tables are in the repository")
    raise StageError(
        f"No study was named, and none was run far enough for notebook {stage}.",
        expected="a study's name, or a run of one",
        found="study = None",
        do=f"set study to one of {', '.join(known_studies())}, or run one first: `qkld run {FIRST}`",
    )


def _told(study: str, why: str) -> str:
    print(f"study '{study}': {why}")
    return study


def _bytes_of_items(name: str) -> int:
    """How much the repository keeps of a study's answers."""
    items = StudyPaths(name).committed.folder / "items"
    return sum(file.stat().st_size for file in items.glob("*.parquet"))


def _reads_cohort(stage: str) -> bool:
    return stage == EXPLORE or stage > "03b_cohort"


def _needed(stage: str, paths: StudyPaths) -> Path:
    """A file or folder that is there where a study was run as far as a notebook needs."""
    if _reads_cohort(stage):
        return paths.cohort
    before = {"02_quant_kld": paths.corpora_seal, "03_benchmark_scores": paths.benchmarks_seal}
    before["03b_cohort"] = paths.items("any").parent
    return before.get(stage, paths.corpora_seal)


# --- errors -----------------------------------------------------------------------------------------------------------


def show_errors_briefly() -> None:
    """In IPython, show an error of ours by what it says alone; ``%tb`` shows the traceback of the last one."""
    shell = _shell()
    if shell is not None and not shell.custom_exceptions:  # a handler of the user's own stays
        shell.set_custom_exc((QkldError,), _brief)


def _brief(
    shell: Any, kind: type[BaseException], error: BaseException, trace: TracebackType, tb_offset: int | None = None
) -> None:
    shell.showtraceback((kind, error, trace), exception_only=True)


def _shell() -> Any:
    """The running IPython shell; None outside one."""
    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
