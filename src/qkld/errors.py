"""Errors of qkld. Each message says what was expected, what was found and what to do."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial


class QkldError(Exception):
    """Base of every error that qkld raises on purpose: what is wrong, what was expected, what was found, what to do."""

    def __init__(self, problem: str, *, expected: object, found: object, do: str) -> None:
        self.problem, self.expected, self.found, self.do = problem, _in_words(expected), _in_words(found), do
        super().__init__(f"{problem}\n  expected: {self.expected}\n  found:    {self.found}\n  do:       {do}")

    def __reduce__(self) -> tuple[Callable[[str], QkldError], tuple[str]]:
        """How other processes get it: pickle would give the whole message for the problem."""
        return partial(type(self), expected=self.expected, found=self.found, do=self.do), (self.problem,)


def _in_words(value: object) -> str:
    """A list of names as ``a, b``, without Python's brackets and quotes; an empty one as ``none``."""
    if isinstance(value, list | tuple | set) and all(isinstance(name, str) for name in value):
        return ", ".join(sorted(value) if isinstance(value, set) else value) or "none"
    return str(value)


class ParameterError(QkldError):
    """A study's parameters are unknown, misspelt or out of range."""


class SourceError(QkldError):
    """A model file, text or benchmark file is missing or has the wrong hash."""


class ModelError(QkldError):
    """A model cannot be opened or measured as its entry says."""


class TokenizerError(ModelError):
    """A quant's tokenizer differs from the reference's."""


class ServerError(ModelError):
    """A server does not answer, or not with the log-probabilities that are needed."""


class CorpusError(QkldError):
    """A corpus cannot give the windows asked for."""


class StoreError(QkldError):
    """A store, or another file that a run keeps, is missing, damaged, or belongs to something else."""


class TableError(QkldError):
    """A table misses columns, breaks its schema, or was altered on disk."""


class BenchmarkError(QkldError):
    """A benchmark has no items, or its items do not match the reference's."""


class SandboxError(QkldError):
    """Generated code cannot be run at the level asked for."""


class DiskError(QkldError):
    """There is no space left to write a result; what was there before is untouched."""


class StatisticsError(QkldError):
    """A statistic cannot be computed from what was given."""


class ClusterError(QkldError):
    """A cluster does not answer, or cannot run the jobs as they are asked for."""


class StageError(QkldError):
    """A stage's input is missing: the message names the notebook to run first."""


def missing_models(error: ModuleNotFoundError) -> ModelError:
    """What a command that runs models says in the base installation."""
    return ModelError(
        "Running models needs packages that are not part of the base installation.",
        expected="the extra 'models'",
        found=f"no module {error.name}",
        do='pip install "qkld[models]"',
    )


FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG)
"""What the system says of any path that a user may give, wherever it is first touched."""


def forbidden_place(error: OSError) -> SourceError:
    """What a command says of a file that the system does not let it use."""
    return SourceError(
        "This file cannot be accessed.",
        expected="permission to read it, or to write it if it is an output",
        found=f"{error.strerror}: {str(error.filename)[:200]}",
        do="change its permissions or the path, or give another",
    )
