"""What judges written answers where lm-evaluation-harness does not: each benchmark's own package, or its own tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from qkld.benchmarks.judging import bfcl, code

Checker = Literal["bfcl", "code"]
"""As a task's YAML names it under ``judged``."""


def are_right(checker: Checker, documents: Sequence[dict[str, Any]], answers: Sequence[str]) -> list[bool]:
    """Whether each answer to a task's documents is right; written programs run in the sandbox.

    Raises
    ------
    SandboxError
        If programs are to be run, and there is no sandbox here.
    BenchmarkError, SourceError
        If bfcl-eval's environment cannot be made or does not answer.
    """
    if checker == "bfcl":
        return bfcl.check(documents, answers)
    return code.check(documents, answers)
