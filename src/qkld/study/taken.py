"""Which tables of a run were taken from those that the repository keeps, instead of being made here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qkld.study.paths import StudyPaths
from qkld.study.sealing import read_sealed, write_sealed

RULES = ("quant_kld", "benchmark_scores")
"""Rules of the jobs that measure one model."""

JobKey = tuple[str, str]
"""Rule and label of a job that measures one model: ``("quant_kld", "q4-0")``."""


@dataclass(frozen=True)
class Taken:
    """What was taken.

    Attributes
    ----------
    jobs : job → digest of the parameters that it was run with, wherever that was
    stores : keys of the reference's stores that the KLDs were measured against, of every corpus in the study's order
    """

    jobs: Mapping[JobKey, str] = field(default_factory=dict)
    stores: tuple[str, ...] = ()

    @property
    def models(self) -> frozenset[str]:
        """Labels of which both the KLD and the items were taken."""
        return frozenset(label for _, label in self.jobs if all((r, label) in self.jobs for r in RULES))


def read_taken(paths: StudyPaths) -> Taken:
    """What a run has taken; nothing where it has no note of it.

    Raises
    ------
    StoreError
        If the note was changed.
    """
    if not paths.taken.exists():
        return Taken()
    noted = read_sealed(paths.taken, do=f"delete it with {paths.run}/kld, fidelity and items, and run the study again")
    return Taken({(rule, label): digest for rule, label, digest in noted["jobs"]}, tuple(noted["stores"]))


def write_taken(paths: StudyPaths, taken: Taken) -> None:
    """Note what a run has taken."""
    jobs = sorted([rule, label, digest] for (rule, label), digest in taken.jobs.items())
    write_sealed(paths.taken, {"jobs": jobs, "stores": list(taken.stores)})
