"""The command: options → what is printed, and the JSON file. Options are checked before torch is imported."""

from __future__ import annotations

import argparse
from pathlib import Path

from qkld.errors import ParameterError
from qkld.pick.answer import Answer
from qkld.pick.pick_request import TASKS, PickRequest, size_in_bytes
from qkld.study.paths import committed_studies, known_studies
from qkld.study.provenance import write_json

SAME = (
    "what",
    "items",
    "reference",
    "context",
    "max_kld",
    "margin",
    "probability_margin",
    "hours",
    "limit",
    "windows",
    "text",
)
"""Options that a request has under the same name."""

OF_FILES = ("fit", "max_kld", "hours", "limit", "windows", "text", "engine", "tasks", "speed", "remove")
"""Options about files that are measured now; a study and a table hold what was measured."""


def run_pick(options: argparse.Namespace) -> str:
    """Answer what the options of ``qkld pick`` ask; returns the text to print.

    Raises
    ------
    QkldError
        If an option, or a file, cannot be used.
    """
    measured = options.items is not None or options.what in [*known_studies(), *committed_studies()]
    if measured:
        _refuse_options_of_files(options)
    request = PickRequest(
        **{name: getattr(options, name) for name in SAME},
        out=options.out or Path("runs", "pick", Path(options.what).name),
        fit=None if options.fit is None else size_in_bytes(options.fit),
        primary=options.primary_score,
        scores=tuple(options.scores or ()),
        tasks=options.tasks or TASKS,
        engine=options.engine,
        speed=bool(options.speed),
        remove=bool(options.remove),
        seed=options.seed,
    )
    answer = _answered(request, measured=measured)
    if options.json is not None:
        write_json(options.json, answer.as_json())
    return "\n".join(answer.lines()) + "\n"


def _refuse_options_of_files(options: argparse.Namespace) -> None:
    given = [f"--{name.replace('_', '-')}" for name in OF_FILES if getattr(options, name) is not None]
    if given:
        raise ParameterError(
            f"{options.what} holds what was measured, and nothing is measured now.",
            expected="options about its tables: --items, --scores, --reference, --margin, --primary-score",
            found=", ".join(given),
            do="leave them out, or give the folder of the files",
        )


def _answered(request: PickRequest, *, measured: bool) -> Answer:
    """From tables where there are some: of items beside a table, or of a study. Models are run only for a folder."""
    if measured:
        from qkld.pick.answer_from_results import answer_of_study, answer_of_table

        return answer_of_study(request) if request.items is None else answer_of_table(request)
    from qkld.pick.picking import pick

    return pick(request)
