"""What README and documentation print of results: sentences and tables that are made, put in their places."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from qkld.analysis.study import LoadedStudy
from qkld.errors import StageError, TableError
from qkld.report.findings import finding_lines
from qkld.report.published import published_table
from qkld.report.published_sentences import published_sentences
from qkld.report.study_tables import cohort_table, composite_table, engine_tables, evidence_tables, headline_table
from qkld.report.withdrawing import wrong_tables
from qkld.study.params import ToBeChecked, load_params
from qkld.study.paths import StudyPaths, project_root
from qkld.study.provenance import written_whole
from qkld.study.text_table import TextTable
from qkld.workflow.estimate import estimate_table

SHOWN_STUDY = "main"
"""The study whose finding the README shows."""

FURTHER_STUDIES = ("demo", "five-families", "gguf", "gguf-engines", "gguf-unrotated")
"""Studies whose tables the documentation shows as well, once they have been run."""

ESTIMATED = ("qwen3.6-35b-a3b", "devstral-small-2-24b")
"""Studies whose cost on a GPU the documentation estimates."""

PUBLISHED = "published"
"""Folder of figures that holds what the published cohorts say."""


def times_table(study: LoadedStudy) -> TextTable:
    """How long each stage's executed notebooks took, start of their kernels included, as papermill recorded it."""
    rows = []
    for file in sorted((study.paths.run / "notebooks").glob("*.ipynb")):
        seconds = json.loads(file.read_text(encoding="utf-8"))["metadata"].get("papermill", {}).get("duration")
        if seconds is not None:
            rows.append((file.stem.split(".")[0], seconds))
    stages = pd.DataFrame(rows, columns=["stage", "seconds"]).groupby("stage")["seconds"]
    return TextTable(
        "Running time",
        "Wall time of the notebooks of this run, two at a time with one thread each.",
        ("notebook", "runs", "longest (s)", "together (min)"),
        tuple((f"`{name}`", str(len(s)), f"{s.max():.0f}", f"{s.sum() / 60:.1f}") for name, s in stages),
    )


def result_tables(study: LoadedStudy) -> str:
    """The tables of a study that a README shows, as Markdown.

    Where files run in both engines a cohort holds each twice, and what is correlated says nothing.
    """
    tables = engine_tables(study)
    if not tables:
        tables = [headline_table(study), *evidence_tables(study, ("verdict", "decision")), composite_table(study)]
    tables += [cohort_table(study), times_table(study)]
    return "\n\n".join(table.markdown() for table in tables) + "\n"


def write_tables(path: Path, study: LoadedStudy) -> None:
    """Write `result_tables` beside the study's figures."""
    with written_whole(path) as temporary:
        temporary.write_text(result_tables(study), encoding="utf-8")


def blocks() -> dict[str, str]:
    """Name of a marked block of the README → what belongs into it: what the shown study found.

    Raises
    ------
    StageError
        If the shown study has not been run, or a study's figures hold tables that are known to be wrong.
    """
    for study in (SHOWN_STUDY, *FURTHER_STUDIES):
        _refuse_wrong(study)
    path = StudyPaths(SHOWN_STUDY).headline
    if not path.exists():
        raise StageError(
            "The README's finding does not exist yet.", expected=path, found="no such file", do="make reproduce"
        )
    lines = finding_lines(json.loads(path.read_text(encoding="utf-8")))
    return {f"finding:{SHOWN_STUDY}": "\n".join(f"- {line}" for line in lines)}


def _refuse_wrong(study: str) -> None:
    path = StudyPaths(study).headline
    wrong = wrong_tables(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []
    if wrong:
        raise StageError(
            f"Figures of '{study}' hold tables that an older version made wrong.",
            expected="tables made since the version of qkld.report.withdrawing.RIGHT_SINCE",
            found=", ".join(wrong),
            do=f"run the study again, or take them back with `qkld withdraw {study}`",
        )


def estimates() -> str:
    """What the paper's cohorts would take on one GPU, as Markdown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ToBeChecked)
        tables = [estimate_table(load_params(name)) for name in ESTIMATED]
    return "\n\n".join(table.markdown() for table in tables if table is not None)


def published() -> str:
    """What the published cohorts say, as Markdown.

    Raises
    ------
    StageError
        If they have not been analysed.
    """
    tables = {name: StudyPaths(PUBLISHED).figures / f"{name}.csv" for name in ("published", "conditions")}
    for path in tables.values():
        if not path.exists():
            raise StageError(
                "The published cohorts are not analysed.", expected=path, found="no such file", do="make published"
            )
    rows, known = (pd.read_csv(path) for path in tables.values())
    return f"{published_sentences(rows, known)}\n\n{published_table(rows).markdown()}"


def filled(text: str, contents: Mapping[str, str]) -> str:
    """The text with every marked block, ``<!-- name -->`` to ``<!-- /… -->``, replaced by its content.

    Raises
    ------
    TableError
        If a block is not marked in the text exactly once.
    """
    for name, content in contents.items():
        pattern = rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name.split(':')[0])} -->)"
        text, count = re.subn(pattern, lambda m, c=content: f"{m[1]}\n{c}\n\n{m[2]}", text, flags=re.DOTALL)
        if count != 1:
            raise TableError(
                "The README does not hold a block once.",
                expected=f"<!-- {name} --> … once",
                found=f"{count} times",
                do="put the markers back",
            )
    return text


def update_readme() -> Path:
    """Write the README anew with today's tables; returns its path."""
    path = project_root() / "README.md"
    text = filled(path.read_text(encoding="utf-8"), blocks())
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
