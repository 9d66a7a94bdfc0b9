"""``qkld notebook``: one job of a study's workflow."""

from __future__ import annotations

import argparse

from qkld.study.mark import check_mark
from qkld.study.params import load_params
from qkld.study.paths import StudyPaths
from qkld.study.progress import job
from qkld.workflow.notebooks import run_notebook
from qkld.workflow.rules import hand_over, notebook_parameters


def run_stage(options: argparse.Namespace) -> None:
    """Execute a stage's notebook and hand its files over; errors as of `qkld.workflow.notebooks.run_notebook`."""
    study = load_params(options.study)
    parameters = notebook_parameters(
        study, options.stage, quant=options.quant, model=options.model, part=options.part
    ) | dict(options.parameter)
    told_apart = options.quant or options.model or options.part
    name = f"{options.stage}.{told_apart}" if told_apart else options.stage
    paths = StudyPaths(study.study)
    check_mark(paths.run)
    with job(name):
        run_notebook(options.stage, options.output or paths.notebook(name), parameters, threads=options.threads)
        hand_over(study, paths, options.declared)
