"""``qkld gate``: options → the one line, the JSON, and the exit status."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qkld.analysis.gate.estimates import (
    QuantsTable,
    of_comparison,
    of_fidelity,
    of_items,
    of_study,
    of_table,
    read_items,
)
from qkld.analysis.gate.judging import STATUS, Estimates, judge, line_of, outcome_of
from qkld.analysis.gate.thresholds import Threshold, thresholds_of
from qkld.analysis.importing.reading import json_file
from qkld.analysis.study import load_study
from qkld.errors import ParameterError, TableError
from qkld.study.provenance import made_by

NAMED = 8
"""Labels that a message names before it counts the rest."""


def run_gate(options: argparse.Namespace) -> tuple[int, str, dict[str, Any]]:
    """Judge the quant that the options of ``qkld gate`` name: exit status, line for people, JSON values.

    Raises
    ------
    QkldError
        If thresholds contradict each other, or a source cannot be read.
    """
    thresholds = thresholds_of(
        max_kld=options.max_kld, min_top1=options.min_top1, max_loss=options.max_loss, require=options.require
    )
    estimates, labels = _estimates(options, thresholds)
    verdicts = judge(thresholds, estimates)
    outcome = outcome_of(verdicts)
    line = line_of(options.quant, verdicts) + _absent(options.quant, labels)
    summary = {
        "quant": options.quant,
        "outcome": outcome,
        "status": STATUS[outcome],
        "line": line,
        "thresholds": [verdict.entries() for verdict in verdicts],
        "made_by": made_by(),
    }
    return STATUS[outcome], line, summary


def _absent(quant: str, labels: Sequence[str]) -> str:
    """What to add where the source has no figure of the quant at all."""
    more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
    return "" if quant in labels else f"; there is no '{quant}', but {', '.join(labels[:NAMED])}{more}"


def _estimates(options: argparse.Namespace, thresholds: Sequence[Threshold]) -> tuple[Estimates, list[str]]:
    """The figures of the one source that was named, and of items where they were given; and the source's labels."""
    sources = {"a table or comparison": options.source, "--study": options.study}
    named = [name for name, value in sources.items() if value is not None]
    if len(named) > 1:
        raise ParameterError(
            "A gate judges figures of one source.",
            expected="a table, a comparison, --study, or a --reference to measure against",
            found=" and ".join(named),
            do="name one",
        )
    if options.source is not None:
        found, labels = _of_file(options.source, options, thresholds)
    elif options.study is not None:
        found, labels = of_study(load_study(options.study), options.quant, thresholds)
    else:
        found, labels = _of_models(options), [options.quant]
    return {**found, **_of_items(options, thresholds)}, labels


def _of_file(path: Path, options: argparse.Namespace, thresholds: Sequence[Threshold]) -> tuple[Estimates, list[str]]:
    if path.suffix.lower() == ".json" and path.is_file():
        value = json_file(path, expected="the file of `qkld compare --json`, or a quant's figures")
        if isinstance(value, dict) and "fidelity" in value:
            return of_comparison(value, options.quant, path)
    table = QuantsTable.read(path, label=options.label, unit=options.unit)
    return of_table(table, options.quant, options.reference, thresholds)


def _of_items(options: argparse.Namespace, thresholds: Sequence[Threshold]) -> Estimates:
    scores = [t.score for t in thresholds if t.score is not None]
    if options.items is None or not scores:
        return {}
    if options.reference is None:
        raise ParameterError(
            "A loss needs the reference.",
            expected="--reference LABEL, a model of the items",
            found="none",
            do="name it",
        )
    return of_items(read_items(options.items, scores), options.quant, options.reference, scores)


def _of_models(options: argparse.Namespace) -> Estimates:
    """Measure the quant against the reference now, as ``qkld compare`` does."""
    if options.reference is None:
        raise ParameterError(
            "There is nothing to judge.",
            expected="a table or a comparison, --study, or --reference with --quant to be measured",
            found="none of them",
            do="name one",
        )
    from qkld.compare.compare_request import Comparison, Request
    from qkld.compare.measured_comparison import compare

    given = {"text": options.text, "windows": options.windows, "context": options.context, "dtype": options.dtype}
    made = compare(Request(options.reference, (options.quant,), floor=False, **given))
    if not isinstance(made, Comparison):
        raise TableError(
            "The gate needs figures, and there are bounds alone.",
            expected="two models that run here",
            found="a store or a server that gives no full logits",
            do="compare them with `qkld compare`, and judge what it prints",
        )
    label = str(made.fidelity["quant"].iloc[0])
    return of_fidelity(made.fidelity.to_dict("records"), label)[0]
