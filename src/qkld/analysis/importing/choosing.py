"""`--filter` and `--metric` of lm-evaluation-harness's samples: one name for every task, or one a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from qkld.errors import ParameterError


@dataclass(frozen=True)
class Chosen:
    """A name for every task, and names for tasks by pattern, which stand above it."""

    everywhere: str | None = None
    by_task: Mapping[str, str] = field(default_factory=dict)

    def of_task(self, task: str) -> str | None:
        """What was chosen for this task by its name or pattern; None where it was not named."""
        return next((name for pattern, name in self.by_task.items() if fnmatchcase(task, pattern)), None)


def parse_chosen(text: str | None, *, option: str) -> Chosen:
    """Read ``NAME`` and ``TASK=NAME``, TASK with ``*`` where it is a pattern; commas separate several.

    Raises
    ------
    ParameterError
        If a part is empty, a task has two names, or two names are given for every task.
    """
    everywhere, by_task = [], {}
    for part in [] if text is None else text.split(","):
        task, equals, name = (piece.strip() for piece in part.partition("="))
        if not task or (equals and (not name or by_task.get(task, name) != name)):
            raise _unreadable(option, part)
        if equals:
            by_task[task] = name
        else:
            everywhere.append(task)
    if len(set(everywhere)) > 1:
        raise _unreadable(option, ", ".join(everywhere))
    return Chosen(everywhere[0] if everywhere else None, by_task)


def _unreadable(option: str, found: str) -> ParameterError:
    return ParameterError(
        f"{option} cannot be read.",
        expected="NAME for every task, or TASK=NAME; each task and the rest once",
        found=repr(found),
        do=f"write for example {option} acc_norm, or {option} gsm8k=NAME",
    )
