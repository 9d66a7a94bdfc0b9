"""What the repository keeps of a study, put into a fresh run: a model whose tables fit is not run again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from qkld.errors import StageError
from qkld.study.params import Study
from qkld.study.paths import StudyPaths
from qkld.study.processors import processor
from qkld.study.provenance import METRICS_VERSION
from qkld.study.schemas import write_table
from qkld.study.sealing import read_sealed
from qkld.study.taken import JobKey, Taken, read_taken, write_taken
from qkld.workflow.kept_jobs import OF, kept_files, kept_jobs, parameters_digest, run_files
from qkld.workflow.kept_study import PARAMETERS, SCHEMAS, read_kept

Choice = Literal["fitting", "all", "none"]
"""Which kept tables a run takes: those that fit; those, and it stops where one does not; none."""

CPU = "cpu"

EXPORTED = "kept by `qkld export`, which does not record the parameters that they were made with"
"""Why tables cannot be taken that are kept to be read."""


@dataclass(frozen=True)
class Fit:
    """Kept tables that can be taken, job → what made them, and why the rest cannot."""

    made: Mapping[JobKey, Mapping[str, Any]]
    refused: Mapping[JobKey, str]

    @property
    def stores(self) -> tuple[str, ...]:
        """Stores of the reference that the KLDs were measured against."""
        return next((tuple(made["stores"]) for made in self.made.values() if "stores" in made), ())


def take_kept(study: Study, choice: Choice = "fitting") -> list[str]:
    """Put kept tables that fit into the run's folder, where it has none of its own; returns what is said of it.

    What was taken before and fits no longer is removed first, so that the run makes it.

    Raises
    ------
    StageError
        With choice ``all``, if a kept table does not fit; nothing is taken then.
    """
    paths = StudyPaths(study.study)
    said = _drop_outdated(study, paths, everything=choice == "none")
    if choice == "none":
        return said
    fit = fitting(study, paths)
    if choice == "all" and fit.refused:
        raise _not_all(study, fit)
    if fit.made:
        before = read_taken(paths)
        fresh = {job: made[PARAMETERS] for job, made in fit.made.items()}
        write_taken(paths, Taken({**before.jobs, **fresh}, before.stores or fit.stores))
        for job in fit.made:
            _copy(paths, job)
        said.append(_taken_line(study, paths, fit))
    return said + _refused_lines(fit.refused)


def fitting(study: Study, paths: StudyPaths) -> Fit:
    """Which kept tables a run here can take; of a job that the run has ended itself there is no question."""
    own = [job for job in kept_jobs(study) if any(file.exists() for file in run_files(paths, job))]
    there = [j for j in kept_jobs(study) if j not in own and all(f.exists() for f in kept_files(paths.committed, j))]
    made = {job: read_kept(paths.committed, job)[-1][1] for job in there}
    stores = _stores(study, paths) if there else None
    stores = stores or next((by["stores"] for by in made.values() if "stores" in by), None)
    refused = {job: why for job, by in made.items() if (why := _misfit(study, job, by, stores))}
    made = {job: by for job, by in made.items() if job not in refused}
    mixed = _on_another_kind(study, made)
    return Fit({job: by for job, by in made.items() if job not in mixed}, refused | mixed)


def _misfit(study: Study, job: JobKey, made: Mapping[str, Any], stores: Iterable[str] | None) -> str | None:
    """Why a job's kept tables do not fit this study at this commit; None where they do."""
    if made["metrics_version"] != METRICS_VERSION:
        return f"metrics version {made['metrics_version']}, here {METRICS_VERSION}"
    if PARAMETERS not in made:
        return EXPORTED
    if made[PARAMETERS] != parameters_digest(study, job):
        return "made with other parameters of the model, its reference or the texts"
    if stores is not None and "stores" in made and list(made["stores"]) != list(stores):
        return "measured against another reference"
    return None


def _stores(study: Study, paths: StudyPaths) -> list[str] | None:
    """Keys of the stores that notebook 01 has made here of the corpora, in their order; None where it has not run."""
    if not paths.corpora_seal.exists():
        return None
    sealed = read_sealed(paths.corpora_seal, do="delete it and run notebooks/01_reference_logits.ipynb")
    return [sealed["corpora"][corpus.name]["key"] for corpus in study.corpora if corpus.name in sealed["corpora"]]


# --- one kind of processor a recipe -----------------------------------------------------------------------------------


def _on_another_kind(study: Study, made: Mapping[JobKey, Mapping[str, Any]]) -> dict[JobKey, str]:
    """Kept builds of recipes that would be made on two kinds of processors, as the rest of them is run here."""
    refused: dict[JobKey, str] = {}
    for rule, labels in product(OF, _builds(study)):
        kinds = {label: kind_of(made[rule, label]) for label in labels if (rule, label) in made}
        here = processor()["kind"] if all(_on_cpu(made[rule, label]) for label in kinds) else None
        rest_here = here is not None and len(kinds) < len(labels)
        if len({*kinds.values(), *([here] if rest_here else [])}) > 1:
            others = {label: kind for label, kind in kinds.items() if kind != here}
            refused |= {(rule, b): f"made on {kind}, and other builds of its recipe not" for b, kind in others.items()}
    return refused


def _builds(study: Study) -> list[list[str]]:
    """Labels of the builds of each recipe."""
    recipes: dict[str, list[str]] = {}
    for quant in study.quants:
        recipes.setdefault(quant.recipe_id or quant.label, []).append(quant.label)
    return list(recipes.values())


def kind_of(made: Mapping[str, Any]) -> str:
    """The kind of processor that a model was run on, or another device's type."""
    return made["processor"]["kind"] if _on_cpu(made) else made["model"]["device"]


def _on_cpu(made: Mapping[str, Any]) -> bool:
    return made.get("model", {}).get("device", CPU) == CPU


# --- what a run has taken ---------------------------------------------------------------------------------------------


def check_reference(study: Study) -> None:
    """Refuse to go on where what was taken was measured against another reference than the one that was run here.

    Raises
    ------
    StageError
        With both references' stores.
    """
    paths = StudyPaths(study.study)
    taken = read_taken(paths)
    if _measured_elsewhere(study, taken, paths):
        raise StageError(
            f"Tables of '{study.study}' that the repository keeps were measured against another reference.",
            expected=f"stores {', '.join(taken.stores)}",
            found=", ".join(_stores(study, paths) or ()),
            do=f"run `qkld run {study.study}` again: it measures those models here",
        )


def _measured_elsewhere(study: Study, taken: Taken, paths: StudyPaths) -> bool:
    """Whether what was taken was measured against other stores than those that notebook 01 has made here."""
    here = _stores(study, paths) if taken.stores else None
    return here is not None and here != list(taken.stores)


def _drop_outdated(study: Study, paths: StudyPaths, *, everything: bool) -> list[str]:
    """Remove what was taken and does not fit any more, or everything, from the run; returns what is said of it."""
    taken, jobs = read_taken(paths), set(kept_jobs(study))
    other = _measured_elsewhere(study, taken, paths)
    gone = [
        job
        for job, digest in taken.jobs.items()
        if everything or job not in jobs or digest != parameters_digest(study, job) or (other and job[0] == "quant_kld")
    ]
    for job in gone:
        for file in run_files(paths, job):
            file.unlink(missing_ok=True)
    if gone:
        rest = {job: digest for job, digest in taken.jobs.items() if job not in gone}
        write_taken(paths, Taken(rest, taken.stores if any(rule == "quant_kld" for rule, _ in rest) else ()))
    return [f"removed from the run, as taken before and not fitting any more: {_named(gone)}"] if gone else []


def _copy(paths: StudyPaths, job: JobKey) -> None:
    tables = zip(read_kept(paths.committed, job), run_files(paths, job), SCHEMAS[job[0]], strict=True)
    for (table, made), target, schema in tables:
        write_table(target, table, schema, made)


# --- what is said -----------------------------------------------------------------------------------------------------


def _named(jobs: Collection[JobKey]) -> str:
    by_rule = {rule: [label for r, label in jobs if r == rule] for rule in OF}
    return "; ".join(f"{OF[rule]} of {', '.join(labels)}" for rule, labels in by_rule.items() if labels)


def _taken_line(study: Study, paths: StudyPaths, fit: Fit) -> str:
    kinds = ", ".join(sorted({kind_of(made) for made in fit.made.values()}))
    counts = ", ".join(f"{OF[rule]} of {sum(r == rule for r, _ in fit.made)} models" for rule in OF)
    return f"{counts} are taken from {paths.committed.folder}, made on {kinds}, instead of being run"


def _refused_lines(refused: Mapping[JobKey, str]) -> list[str]:
    """What is not taken, and why; of a study that is kept to be read nothing has to be said."""
    reasons = sorted(set(refused.values()) - {EXPORTED})
    return [
        f"not taken, and run again here: {_named([j for j, why in refused.items() if why == reason])} ({reason})"
        for reason in reasons
    ]


def _not_all(study: Study, fit: Fit) -> StageError:
    return StageError(
        f"Some tables of '{study.study}' that the repository keeps do not fit.",
        expected="the metrics version, parameters and reference of this study",
        found="; ".join(f"{_named([job])}: {why}" for job, why in fit.refused.items()),
        do="run them again with --kept fitting, or check out the commit that made them",
    )
