"""``qkld notebook``: one job of a study's workflow."""

from __future__ import annotations

import argparse

from qkld.analysis.study import load_study
from qkld.study.entries import GgufModel
from qkld.study.knobs import knob_names
from qkld.study.mark import check_mark
from qkld.study.params import Study
from qkld.study.progress import job
from qkld.workflow.notebooks import export_report, run_notebook
from qkld.workflow.rules import basis_of, hand_over, notebook_parameters
from qkld.workflow.taking import check_reference

FINDINGS = "08_findings"
"""The notebook whose executed copy is exported as the study's report."""


def run_stage(options: argparse.Namespace) -> None:
    """Execute a stage's notebook and hand its files over; errors as of `qkld.workflow.notebooks.run_notebook`.

    Of the findings the study's report is written as well.

    With other knobs than the study's, the executed notebook lies where its results do: beside the study's own.
    """
    study, given = load_study(options.study), dict(options.parameter)
    told = {name: getattr(options, name) for name in ("quant", "model", "part", "basis")}
    parameters = notebook_parameters(study.params, options.stage, **told) | given
    own = study.with_knobs(options.stage, **{k: v for k, v in given.items() if k in knob_names(options.stage)}).written
    told_apart = next((value for value in told.values() if value), None)
    name = f"{options.stage}.{told_apart}" if told_apart else options.stage
    check_mark(study.paths.run)
    with job(name):
        if label := options.quant or options.model:
            check_reference(study.params)
            make_again(study.params, label, threads=options.threads or 1)
        executed = options.output or own.notebook(name)
        run_notebook(options.stage, executed, parameters, threads=options.threads)
        if options.stage == FINDINGS:
            export_report(executed, own.report, options.study)
        hand_over(study.params, study.paths, options.declared)


def make_again(study: Study, label: str, *, threads: int) -> None:
    """Make a build's GGUF file where its basis was removed after an earlier use; torch makes what it needs itself.

    Raises
    ------
    QkldError
        As `qkld.models.making.make_study_files`.
    """
    basis = basis_of(study, label)
    entry = study.entry(label) if basis else None
    if isinstance(entry, GgufModel) and entry.made:
        from qkld.models.gguf.open_in_torch import made_file
        from qkld.models.making import make_study_files

        if not made_file(entry, study.reference).is_file():
            make_study_files(study, threads=threads, basis=basis.name)
