"""Files of any tool → everything that they hold: a table of quants, their answers, windows and pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from qkld.analysis.importing.bfcl_results import NAME as BFCL
from qkld.analysis.importing.every_eval_ever import NAME as RECORDS
from qkld.analysis.importing.every_eval_ever import read_every_eval_ever
from qkld.analysis.importing.fidelity_json import quants_of, read_fidelity_json
from qkld.analysis.importing.formats import FORMATS, import_items, whole_items
from qkld.analysis.importing.groups import Groups
from qkld.analysis.importing.harness_results import NAME as RESULTS
from qkld.analysis.importing.harness_results import notes_beside_samples, read_harness_results
from qkld.analysis.importing.harness_samples import SAMPLES
from qkld.analysis.importing.imported import QUANTS, Imported
from qkld.analysis.importing.llama_logs import read_log
from qkld.analysis.importing.llama_perplexity import LOG_ENDINGS, NO_LOG, read_llama_perplexity
from qkld.errors import ParameterError, TableError

LOGS, QUANTS_JSON, SHARED = "llama-perplexity", "quants", "every-eval-ever"

TABLE_FORMATS = {
    LOGS: "llama-perplexity: logs of --kl-divergence, --hellaswag, --winogrande, --multiple-choice, or their folder",
    QUANTS_JSON: "JSON of a quant's fidelity: apex-quant, mlx-quant-fidelity, quant-fidelity-suite, exllamav3's qbench",
    SHARED: "every_eval_ever: <UUID>.json and <UUID>_samples.jsonl, or a folder of them",
}
"""Formats that give a table of quants → what is given."""


@dataclass(frozen=True)
class Asked:
    """Options of an import.

    Attributes
    ----------
    labels : a model's label for each path, where the files do not name it
    filter_name, metric : of lm-evaluation-harness's results, see `qkld.analysis.importing.formats.import_items`
    groups : benchmark → patterns of its parts
    windows : windows to compare from the beginning of every log of llama-perplexity; None: all
    benchmark : name of the task of logs that do not say it
    """

    labels: Sequence[str] = ()
    filter_name: str | None = None
    metric: str | None = None
    groups: Groups = field(default_factory=dict)
    windows: int | None = None
    benchmark: str | None = None


def import_results(name: str, paths: Sequence[Path], asked: Asked | None = None) -> Imported:
    """Everything that files of one format hold; with items also the scores that follow from them.

    Raises
    ------
    QkldError
        As the format's reader; see `qkld.analysis.importing.formats.import_items`.
    """
    asked = asked or Asked()
    _check_options(name, asked)
    if name == LOGS:
        found = read_llama_perplexity(paths, labels=asked.labels, windows=asked.windows, benchmark=asked.benchmark)
    elif name == QUANTS_JSON:
        found = read_fidelity_json(paths, labels=asked.labels)
    elif name == SHARED:
        found = read_every_eval_ever(paths, labels=asked.labels, metric=asked.metric)
    elif name == "lm-eval" and not any(_holds(path, SAMPLES.match) for path in paths):
        found = _harness_scores(paths, asked)
    else:
        items = import_items(
            name,
            paths,
            labels=asked.labels,
            filter_name=asked.filter_name,
            metric=asked.metric,
            groups=asked.groups,
        )
        return Imported(items=items, notes=notes_beside_samples(paths) if name == "lm-eval" else ())
    if found.items is not None:
        items = whole_items(found.items, asked.groups, source=", ".join(str(p) for p in paths[:3]))
        found = replace(found, items=items, quants=with_scores(found.quants, items))
    return found


def _harness_scores(paths: Sequence[Path], asked: Asked) -> Imported:
    return read_harness_results(paths, labels=asked.labels, filter_name=asked.filter_name, metric=asked.metric)


def _holds(path: Path, of_form: Callable[[str], object]) -> bool:
    files = path.rglob("*") if path.is_dir() else [path]
    return any(of_form(file.name) for file in files)


def _check_options(name: str, asked: Asked) -> None:
    of_logs = {"--windows": asked.windows, "--benchmark": asked.benchmark}
    odd = [option for option, value in of_logs.items() if value is not None and name != LOGS]
    if odd:
        raise ParameterError(
            f"{', '.join(odd)} can only be used with logs of llama-perplexity.",
            expected="none of these options",
            found=name,
            do="drop it",
        )


def with_scores(quants: pd.DataFrame | None, items: pd.DataFrame) -> pd.DataFrame:
    """The table with each benchmark's share of right answers, and rows of models that only items have."""
    scores = items.groupby(["model", "benchmark"], sort=False)["correct"].mean().unstack()
    scores = scores[list(dict.fromkeys(items["benchmark"]))].rename_axis(index="label", columns=None).reset_index()
    return QUANTS.checked(scores if quants is None else quants.merge(scores, on="label", how="outer", sort=False))


# --- a folder of anything ---------------------------------------------------------------------------------------------


def import_folder(path: Path, asked: Asked | None = None) -> Imported:
    """Everything in a folder that names its models by itself, and notes on what else lies there.

    Raises
    ------
    TableError
        If there is nothing of a known form, or what is there does not go together.
    """
    asked = asked or Asked()
    kinds = found_in(path)
    parts = [import_results(name, files, _for(name, asked)) for name, files in kinds.items() if name in READ_ALONE]
    notes = [f"{len(files)} of '{name}': {_advice(name, files)}" for name, files in kinds.items() if name in ADVICE]
    if not parts:
        raise TableError(
            f"{path} holds no results in a recognized format.",
            expected=", ".join((*TABLE_FORMATS, *FORMATS)),
            found="; ".join(notes) or _contents(path),
            do="name the format and the files: `qkld import FORMAT FILES… --out FOLDER`",
        )
    return _together(parts, kinds, notes)


READ_ALONE = (LOGS, QUANTS_JSON, SHARED, "lm-eval", "bfcl")
"""Formats whose files name their models."""

ADVICE = {
    "evalplus": "import them with a --label each, `qkld import evalplus {files} --label MODEL`",
    "livecodebench": "import them with a --label each, `qkld import livecodebench {files} --label MODEL`",
    "tables": "analyse them, `qkld analyse {files}`, or import items, `qkld import csv {files}`",
}
"""What to do with files that need a word more."""


def found_in(path: Path) -> dict[str, list[Path]]:
    """Format → its files below a folder; other files are left out.

    Raises
    ------
    TableError
        If it is no folder.
    """
    if not path.is_dir():
        raise TableError(
            f"{path} is neither a folder nor a format.",
            expected=f"a folder, or one of {', '.join((*TABLE_FORMATS, *FORMATS))} with files",
            found="a file" if path.is_file() else "nothing of that name",
            do="name the format first: `qkld import llama-perplexity LOGS… --out FOLDER`",
        )
    kinds: dict[str, list[Path]] = {}
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        kind = _kind(file)
        if kind is not None:
            kinds.setdefault(kind, []).append(file)
    return {kind: [path] if kind in (SHARED, "lm-eval", "bfcl") else files for kind, files in kinds.items()}


def _kind(file: Path) -> str | None:
    """The format of one file, by its name and, where that does not tell, by what is in it."""
    name, ending = file.name, file.suffix.lower()
    by_name = {SHARED: bool(RECORDS.match(name)), "lm-eval": bool(SAMPLES.match(name)), "bfcl": bool(BFCL.match(name))}
    by_name |= {"evalplus": name.endswith("eval_results.json"), "livecodebench": name.endswith("_eval_all.json")}
    by_name |= {"tables": ending in (".csv", ".tsv", ".parquet")}
    if known := next((kind for kind, holds in by_name.items() if holds), None):
        return known
    try:
        if ending == ".json":
            return "lm-eval" if RESULTS.match(name) else QUANTS_JSON if any(quants_of(file)) else None
        return LOGS if ending in LOG_ENDINGS and read_log(file) else None
    except TableError as error:
        if ending == ".json" or error.problem.endswith(NO_LOG):
            return None
        return LOGS  # a damaged log is a log: its reader says what is wrong


def _for(name: str, asked: Asked) -> Asked:
    return asked if name == LOGS else replace(asked, windows=None, benchmark=None)


def _advice(name: str, files: Sequence[Path]) -> str:
    return ADVICE[name].format(files=" ".join(str(f) for f in files[:2]) + (" …" if len(files) > 2 else ""))


def _contents(path: Path) -> str:
    return ", ".join(sorted(p.name for p in path.iterdir())[:8]) or "an empty folder"


def _together(parts: Sequence[Imported], kinds: dict[str, list[Path]], notes: Sequence[str]) -> Imported:
    """Parts of several formats as one: quants by label, items below each other."""
    quants = [part.quants for part in parts if part.quants is not None]
    items = [part.items for part in parts if part.items is not None]
    table = None
    for own in quants:
        table = own if table is None else _joined(table, own)
    whole = whole_items(pd.concat(items, ignore_index=True), {}, source="the folder") if len(items) > 1 else None
    whole = items[0] if len(items) == 1 else whole
    if whole is not None and (table is None or not set(whole["benchmark"]) <= set(table)):
        table = with_scores(table, whole)
    by_windows = next((part for part in parts if part.windows is not None), Imported())
    found = tuple(line for part in parts for line in part.found) or tuple(kinds)
    said = (*notes, *(note for part in parts for note in part.notes))
    return Imported(table, whole, by_windows.windows, by_windows.pairs, found, said)


def _joined(table: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Two tables of quants by their labels; a column that both have is refused where a quant is in both."""
    shared = sorted((set(table) & set(other)) - {"label"})
    both = sorted(set(table["label"]) & set(other["label"]))
    if shared and both:
        raise TableError(
            "Two files report the same metric for one quant.",
            expected=f"one source for {', '.join(shared[:4])}",
            found=", ".join(both[:4]),
            do="import them one after the other",
        )
    if shared:
        return QUANTS.checked(pd.concat([table, other], ignore_index=True))
    return QUANTS.checked(table.merge(other, on="label", how="outer", sort=False))
