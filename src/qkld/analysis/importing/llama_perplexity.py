"""Logs of llama-perplexity → a table of quants and their answers, with windows and pairs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PureWindowsPath

import numpy as np
import pandas as pd

from qkld.analysis.importing.imported import QUANTS, Imported
from qkld.analysis.importing.llama_fidelity import fidelity_tables
from qkld.analysis.importing.llama_logs import EXPECTED, Run, read_log
from qkld.errors import ParameterError, TableError
from qkld.study.provenance import key_of

_PART = re.compile(r"-\d{5}-of-\d{5}$")
_TASK = r"hellaswag|winogrande|multiple[-_ ]?choice|arc(?:[-_ ]?(?:easy|challenge|e|c))?|mmlu|truthful[-_]?qa"
_RUN = rf"(?:llama-)?perplexity|kl[-_ ]?div(?:ergence)?|kld?|ppl|base|(?P<task>{_TASK})"
_KIND = re.compile(rf"(?<![^._\s-])(?:{_RUN})(?![^._\s-])[._\s-]*", re.IGNORECASE)
"""Words of a log's name that say what was run."""

_ENDINGS = re.compile(r"(?:\.(?:gz|txt|log|out|err|md|stdout|stderr))+$", re.IGNORECASE)

NO_LOG = ("holds no result of llama-perplexity.", "cannot be read.")
"""How errors of files end that are no logs: in a folder such files are passed over."""

FAR = 2.0
"""Ratio of two perplexities beyond which they are not of two quants of one model on one text."""

KINDS = {
    "kl": "KL divergence, {windows} windows",
    "items": "{benchmark}, {items} items",
    "ppl": "perplexity alone",
}
"""How a run is described to a reader."""


def read_llama_perplexity(
    paths: Sequence[Path], *, labels: Sequence[str] = (), windows: int | None = None, benchmark: str | None = None
) -> Imported:
    """Everything that logs of one text and reference say of their quants.

    Parameters
    ----------
    paths : logs, or folders of them; in a folder files that hold no result are left out and named
    labels : the model of each path in order; else the name of the model's file that the log has, else the log's name,
        less words such as kld and hellaswag that say what was run
    windows : windows to compare from the beginning of every running table; None: all
    benchmark : name of the task, of logs that do not say it

    Raises
    ------
    TableError
        If a path holds no result, logs are of several texts or references, one was cut off, or two are of one model.
    """
    runs, notes = _all_runs(paths, labels)
    if not runs:
        raise _nothing(paths)
    of_kind = {kind: [(label, run) for label, run in runs if run.kind == kind] for kind in KINDS}
    fidelity, copies = _one_each(of_kind["kl"])
    tables = (None, None, None, [])
    if fidelity:
        tables = fidelity_tables(fidelity, windows)
    items = _items(of_kind["items"], benchmark)
    perplexities, more = _one_each(of_kind["ppl"])
    quants = _with_perplexity(tables[0], perplexities)
    found = [f"{run.place}: {label}, {described(run)}" for label, run in runs]
    notes += [*copies, *more, *tables[3], *_several_models(runs), *_other_references(fidelity, perplexities)]
    return Imported(quants, items, tables[1], tables[2], tuple(found), tuple(notes))


def _several_models(runs: Sequence[tuple[str, Run]]) -> list[str]:
    """A note where logs name several models, each with one label; logs since 2026 name none."""
    labels: dict[str, list[str]] = {}
    for label, run in runs:
        if "name" in run.facts and label not in labels.setdefault(run.facts["name"], []):
            labels[run.facts["name"]].append(label)
    said = "; ".join(f"{name} ({', '.join(own[:4])})" for name, own in labels.items())
    return [f"the logs are of several models: {said}"] if len(labels) > 1 else []


def _other_references(fidelity: Mapping[str, Run], perplexities: Mapping[str, Run]) -> list[str]:
    """A note on each perplexity that is far from that of the reference which the KLDs are from."""
    base = next((r.figures["ppl_reference"].value for r in fidelity.values() if "ppl_reference" in r.figures), None)
    own = {label: run.figures["ppl"].value for label, run in perplexities.items()}
    return [
        f"'{label}' has a perplexity of {ppl:.6g}, and the reference of the KLDs one of {base:.6g} on their text: "
        f"it is of another model or text"
        for label, ppl in own.items()
        if base is not None and not 1 / FAR < ppl / base < FAR
    ]


def described(run: Run) -> str:
    """What a run is, in a few words."""
    return KINDS[str(run.kind)].format(
        windows=run.last_window or run.facts.get("windows", "?"),
        benchmark=_benchmark(run, None) or "a task without its name",
        items=len(run.items),
    )


# --- files and labels -------------------------------------------------------------------------------------------------


def _all_runs(paths: Sequence[Path], labels: Sequence[str]) -> tuple[list[tuple[str, Run]], list[str]]:
    """(label, run) of every run in the files, and notes on files of folders that hold none."""
    if labels and len(labels) != len(paths):
        raise ParameterError(
            "The numbers of labels and files differ.",
            expected=f"{len(paths)} labels, one per file, in order",
            found=list(labels),
            do="give one --label for each file",
        )
    runs, empty = [], []
    for path, label in zip(paths, labels or [None] * len(paths), strict=True):
        for file in _files(path):
            try:
                own = read_log(file)
            except TableError as error:
                if not path.is_dir() or not error.problem.endswith(NO_LOG):
                    raise
                empty.append(file.name)
                continue
            runs += [(label or name, run) for name, run in _named(own)]
    return runs, [f"files without a result: {', '.join(empty[:8])}"] if empty else []


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return [p for p in sorted(path.rglob("*")) if p.is_file() and p.suffix.lower() in LOG_ENDINGS]


LOG_ENDINGS = frozenset({"", ".txt", ".log", ".out", ".err", ".md", ".gz", ".stdout", ".stderr"})
"""Endings of files that are looked at in a folder."""


def _named(runs: Sequence[Run]) -> Iterator[tuple[str, Run]]:
    """Each run under its model's name.

    Raises
    ------
    TableError
        If a log holds several runs and does not name their models.
    """
    nameless = [run for run in runs if model_name(run) is None]
    alike = len(nameless) > 1 and any(a.kind == b.kind for i, a in enumerate(nameless) for b in nameless[:i])
    if alike:
        raise TableError(
            f"{runs[0].path} holds several runs and does not name their models.",
            expected="the name of the model's file, as the program logs it on its standard error",
            found=f"runs starting at lines {', '.join(str(run.line) for run in nameless[:8])}",
            do="write one log per run, named after its model, or keep the standard error: `> all.log 2>&1`",
        )
    for run in runs:
        yield model_name(run) or _name_of_log(run.path), run


def _name_of_log(path: Path) -> str:
    """A log's name without its endings and the words that say what was run: ``kld-Q8_0.log`` is of ``Q8_0``."""
    stem = _ENDINGS.sub("", path.name)
    return _KIND.sub("", stem).strip("._- ") or stem


def model_name(run: Run) -> str | None:
    """The name of the model's file without its ending and its part; None where the log has none."""
    if "model" not in run.facts:
        return None
    return _PART.sub("", re.sub(r"\.gguf$", "", PureWindowsPath(run.facts["model"]).name, flags=re.IGNORECASE)) or None


def _one_each(runs: Sequence[tuple[str, Run]]) -> tuple[dict[str, Run], list[str]]:
    """Label → its run, and notes on copies; two runs that differ are refused."""
    kept: dict[str, Run] = {}
    notes = []
    for label, run in runs:
        other = kept.setdefault(label, run)
        if other is run:
            continue
        if (other.figures, other.windows) != (run.figures, run.windows):
            raise TableError(
                f"Two logs of '{label}' have different figures.",
                expected="one log for each model",
                found=f"{other.place}; {run.place}",
                do="leave one out, or name each with --label",
            )
        notes.append(f"{run.place} says the same of '{label}' as {other.place} and counts once")
    return kept, notes


def _nothing(paths: Sequence[Path]) -> TableError:
    return TableError(
        "No log of llama-perplexity was found.",
        expected=EXPECTED,
        found=", ".join(str(p) for p in paths[:4]),
        do="name logs, or a folder of them",
    )


# --- items and perplexities -------------------------------------------------------------------------------------------


def _benchmark(run: Run, given: str | None) -> str | None:
    """The task of a run by its log; a multiple choice by the name of its data, where the log has it."""
    said = run.facts.get("benchmark")
    if said in ("hellaswag", "winogrande"):
        return said
    if run.items and run.items[0].scores is not None:
        return "winogrande"
    if given is not None:
        return given
    if "data" in run.facts:
        return PureWindowsPath(run.facts["data"]).stem
    tasks = [found["task"] for found in _KIND.finditer(_ENDINGS.sub("", run.path.name)) if found["task"]]
    return tasks[0] if len(tasks) == 1 else said


def _items(runs: Sequence[tuple[str, Run]], benchmark: str | None) -> pd.DataFrame | None:
    """Every item of every task, as rows of imported items."""
    parts: dict[tuple[str, str], Run] = {}
    for label, run in runs:
        _check_whole(run)
        task = _benchmark(run, benchmark)
        if task is None:
            raise TableError(
                f"{run.place} does not name the task of its items.",
                expected="a line `hellaswag_score : …` or `multiple_choice_score: …`, on the program's standard error",
                found=f"{len(run.items)} items",
                do="name the task with --benchmark NAME",
            )
        other = parts.setdefault((label, task), run)
        if other is not run and other.items != run.items:
            raise TableError(
                f"Two logs of '{label}' and {task} have different figures.",
                expected="one log for each model and task",
                found=f"{other.place}; {run.place}",
                do="leave one out, or name each with --label; name tasks with --benchmark",
            )
    rows = [row for (label, task), run in parts.items() for row in _rows(label, task, run)]
    return pd.DataFrame(rows) if rows else None


def _check_whole(run: Run) -> None:
    wanted = run.facts.get("selected") or run.facts.get("loaded")
    if wanted is not None and len(run.items) < int(wanted):
        raise TableError(
            f"{run.place} ends before its task is complete.",
            expected=f"{wanted} items",
            found=f"{len(run.items)}",
            do="run it again; if an item does not fit into the context, give a larger -c",
        )


def _rows(label: str, task: str, run: Run) -> Iterator[dict[str, object]]:
    """The program draws its items by a fixed seed, so an item's place names it where as many tasks were loaded."""
    loaded, selected = run.facts.get("loaded"), run.facts.get("selected")
    drawn = selected is not None and (task == "hellaswag" or selected != loaded)
    for item in run.items:
        row = {"model": label, "benchmark": task, "item": str(item.item), "correct": item.correct}
        if loaded is not None:
            row["request"] = key_of([task, loaded, drawn, item.right])
        if item.scores is not None and item.right is not None:
            row["answer"] = str(item.taken)
            row["probability_by_token"] = probability_by_token(item.scores, item.right)
        yield row


def probability_by_token(scores: tuple[float, float], right: int) -> float:
    """Probability of the right one of two options by their scores, mean log-probabilities of a token, nats.

    It is flatter than that of whole answers, whose numbers of tokens the log does not tell.
    """
    return float(1 / (1 + np.exp(scores[1 - right] - scores[right])))


def _with_perplexity(quants: pd.DataFrame | None, runs: Mapping[str, Run]) -> pd.DataFrame | None:
    """The table with rows of models of which there is a perplexity alone, such as the reference."""
    own = set() if quants is None else set(quants["label"])
    rows = [
        {"label": label, "ppl": run.figures["ppl"].value, "ppl_se": run.figures["ppl"].error}
        for label, run in runs.items()
        if label not in own and "ppl" in run.figures
    ]
    if not rows:
        return quants
    return QUANTS.checked(pd.concat([*([] if quants is None else [quants]), pd.DataFrame(rows)], ignore_index=True))
