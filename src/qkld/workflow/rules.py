"""What each rule of the Snakefile depends on: the values that change its result, and nothing else.

Snakemake compares these values with those of the last run and runs a job again where they differ. So they hold the
knobs, the model's entry and the notebook's code, and leave out what only describes a result (maker, recipe, family).
Editing the package reruns nothing by itself: a change that alters numbers raises ``METRICS_VERSION``, which is here.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qkld.errors import ParameterError
from qkld.study.entries import Basis, identity
from qkld.study.knobs import STAGES
from qkld.study.params import FLOOR_BATCH, FLOORS, Study, asked
from qkld.study.paths import StudyPaths
from qkld.study.provenance import METRICS_VERSION, canonical_json
from qkld.study.registry import FIGURES, tables_of
from qkld.study.taken import RULES as RULES_OF_MODELS
from qkld.study.taken import read_taken
from qkld.workflow.notebooks import code_digest
from qkld.workflow.plan import made_files, measured_labels, plan_job, scored_labels

UNKNOWN_MEMORY_MB = 16_000
"""Memory asked of a cluster for a model of unknown size; a profile's ``set-resources`` may say better."""

FLOOR_BATCH_KNOBS = frozenset({"floor_windows"})
"""Knobs of 02 that only the floor rows read."""

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "reference_corpora": ("compute", "reference_logits"),
    "reference_benchmarks": ("compute", "benchmark_scores"),
}
"""Sections that count in rules which read fewer knobs than their notebook has."""


@dataclass(frozen=True)
class Rule:
    """One rule: the notebook it runs, and the value of its parameter ``part`` where it has one."""

    notebook: str
    part: str | None = None


RULES: Mapping[str, Rule] = {
    "make_quants": Rule("00_make_quants"),
    "make_basis": Rule("00_make_quants"),
    "reference_corpora": Rule("01_reference_logits", part="corpora"),
    "reference_benchmarks": Rule("01_reference_logits", part="benchmarks"),
    "quant_kld": Rule("02_quant_kld"),
    "benchmark_scores": Rule("03_benchmark_scores"),
    "cohort": Rule("03b_cohort"),
    "correlation": Rule("04_correlation"),
    "silent_zone": Rule("05_silent_zone"),
    "volume_direction": Rule("06_volume_direction"),
    "prompts": Rule("07_prompts"),
    "findings": Rule("08_findings"),
}
"""Every rule of the Snakefile that runs a notebook, in order."""


def _identity(study: Study, label: str) -> dict[str, Any]:
    """What decides a model's weights; a floor row has the reference's."""
    entry = study.reference if label in FLOORS else study.entry(label)
    return identity(entry) | {"label": label}


def _corpora(study: Study) -> list[dict[str, Any]]:
    return [c.model_dump(mode="json") for c in study.corpora]


def _tasks(study: Study) -> list[dict[str, Any]]:
    described = {"role", "chance", "family"}
    return [{k: v for k, v in asked(b).items() if k not in described} for b in study.benchmarks]


def _written(study: Study) -> dict[str, int]:
    """With how many bits numbers are written, where a study asks for fewer than double precision has."""
    return {} if study.significant_bits is None else {"significant_bits": study.significant_bits}


def _builds(study: Study, basis: str | None) -> list[dict[str, Any]]:
    """What decides the weights of every quant that is made in this basis."""
    return [identity(q) for q in study.quants if q.basis and q.basis.name == basis]


def _job_values(study: Study, rule: str, label: str | None) -> dict[str, Any]:
    """The part of a rule's values that is its own."""
    reference = _identity(study, study.reference.label)
    match rule:
        case "make_quants" | "make_basis":
            made = sorted({canonical_json(made.model_dump(mode="json")) for made in made_files(study, label)})
            builds = {"basis": label, "builds": _builds(study, label)} if label else {}
            return {"reference": reference, "made": made, "corpora": _corpora(study), **builds}
        case "reference_corpora":
            return {"reference": reference, "corpora": _corpora(study)}
        case "reference_benchmarks":
            return {"reference": reference, "benchmarks": _tasks(study)}
        case "quant_kld":
            quant = _identity(study, str(label))
            return {"reference": reference, "quant": quant, "corpora": _corpora(study), **_written(study)}
        case "benchmark_scores":
            model = _identity(study, str(label))
            return {"reference": reference, "model": model, "benchmarks": _tasks(study), **_written(study)}
        case "cohort":
            models = [study.reference, *study.quants]
            return {
                "models": [m.model_dump(mode="json", exclude={"to_be_checked"}) for m in models],
                "corpora": _corpora(study),
                "benchmarks": [asked(b) for b in study.benchmarks],
                "headline": study.headline.model_dump(mode="json"),
            }
        case "correlation" | "silent_zone" | "volume_direction" | "prompts":
            return {"figures": study.figures.model_dump(mode="json"), **_deciding(study)}
        case "findings":
            return _deciding(study)
        case _:
            return {}


def _deciding(study: Study) -> dict[str, Any]:
    """What says which score decides, and since when."""
    return study.model_dump(mode="json", include={"primary_score", "probability_margin", "preregistered"})


def _knobs_that_count(study: Study, rule: str, label: str | None) -> dict[str, Any]:
    """Knobs of the rule's notebook, without those that this job does not read."""
    sections = SECTIONS.get(rule) or STAGES[RULES[rule].notebook]
    values = {k: v for section in sections for k, v in getattr(study, section).model_dump(mode="json").items()}
    if rule == "quant_kld" and label != FLOOR_BATCH:
        values = {k: v for k, v in values.items() if k not in FLOOR_BATCH_KNOBS}
    return values


def job_parameters(study: Study, rule: str, label: str | None = None) -> dict[str, Any]:
    """Everything in a study's parameters that changes a job's result, as JSON."""
    return {"knobs": _knobs_that_count(study, rule, label), **_job_values(study, rule, label)}


VERSIONS = ("metrics_version", "notebook")
"""What `rule_values` holds beside the parameters of a job."""


def rule_values(study: Study, rule: str, label: str | None = None) -> str:
    """Canonical JSON of everything in the parameters and notebooks that changes a job's result.

    ``label`` is the quant of ``quant_kld``, the model of ``benchmark_scores``, and None elsewhere.
    """
    versions = dict(zip(VERSIONS, (METRICS_VERSION, code_digest(RULES[rule].notebook)), strict=True))
    return canonical_json(versions | job_parameters(study, rule, label))


def notebook_parameters(
    study: Study,
    stage: str,
    *,
    quant: str | None = None,
    model: str | None = None,
    part: str | None = None,
    basis: str | None = None,
) -> dict[str, Any]:
    """Papermill parameters of one run of a stage: the study's name, and what tells the run apart.

    Knobs are not given: a notebook takes the study's own.
    """
    if stage not in STAGES:
        raise ParameterError(
            f"There is no stage '{stage}'.", expected=list(STAGES), found=stage, do="use one of these names"
        )
    needed = {"02_quant_kld": ("quant", quant), "03_benchmark_scores": ("model", model)}.get(stage)
    if needed is not None and needed[1] is None:
        name = needed[0]
        expected = ", ".join(measured_labels(study) if name == "quant" else scored_labels(study))
        raise ParameterError(f"Stage {stage} needs a {name}.", expected=expected, found="none", do=f"give --{name}")
    given = {"quant": quant, "model": model, "part": part, "basis": basis}
    told_apart = {name: value for name, value in given.items() if value is not None}
    known = {"quant": measured_labels(study), "model": scored_labels(study), "part": ("corpora", "benchmarks")}
    known["basis"] = tuple(b.name for b in study.bases)
    for name, value in told_apart.items():
        if value not in known[name]:
            raise ParameterError(
                f"Study '{study.study}' has no {name} '{value}'.",
                expected=list(known[name]),
                found=value,
                do="use one of these, or add it to the study's YAML",
            )
    return {"study": study.study, **told_apart}


def job_threads(study: Study, rule: str, cores: int) -> int:
    """Threads of one job: the cores divided by the jobs that can run at once, so they are never oversubscribed."""
    together = {
        "reference_corpora": 2,
        "reference_benchmarks": 2,
        "quant_kld": len(measured_labels(study)),
        "benchmark_scores": len(scored_labels(study)),
    }.get(rule, 1)
    return max(1, cores // together)


def basis_of(study: Study, label: str) -> Basis | None:
    """The basis that a build or a floor lies in; None for what lies in the reference's own."""
    floors = {basis.floor_label: basis for basis in study.bases}
    return floors.get(label) or (None if label in FLOORS else study.entry(label).basis)


def labels_to_run(study: Study, paths: StudyPaths, rule: str) -> tuple[str, ...]:
    """Models that a rule is run for: those whose tables were not taken from what the repository keeps."""
    labels = measured_labels(study) if rule == "quant_kld" else scored_labels(study)
    taken = read_taken(paths).jobs
    return tuple(label for label in labels if (rule, label) not in taken)


def only(labels: Iterable[str]) -> str:
    """Regular expression of these labels and nothing else."""
    return "|".join(map(re.escape, labels)) or "(?!)"


def bases_to_make(study: Study, paths: StudyPaths) -> tuple[Basis, ...]:
    """Bases in which a build or a floor is still to be run here."""
    to_run = {basis_of(study, label) for rule in RULES_OF_MODELS for label in labels_to_run(study, paths, rule)}
    return tuple(basis for basis in study.bases if basis in to_run)


def measured_in(study: Study, paths: StudyPaths, name: str) -> tuple[Path, ...]:
    """Every table that is measured with what notebook 00 made in a basis: of its floor and of its builds."""
    own = [basis.floor_label for basis in study.bases if basis.name == name]
    own += [quant.label for quant in study.quants if quant.basis and quant.basis.name == name]
    return (*map(paths.kld, own), *map(paths.items, own))


def outputs(study: Study, paths: StudyPaths, rule: str) -> tuple[Path, ...]:
    """Files that a rule without a label declares."""
    tables = tuple(paths.analysis(name) for name in tables_of(RULES[rule].notebook))
    declared = {
        "make_quants": (paths.quants_seal,) if made_files(study) else (),
        "reference_corpora": (paths.corpora_seal,),
        "reference_benchmarks": (paths.benchmarks_seal,),
        "cohort": (paths.cohort, paths.all_items),
        "findings": (paths.headline, paths.report, paths.scatter),
    }
    return declared.get(rule, (*tables, *_figures(paths, RULES[rule].notebook)))


def _figures(paths: StudyPaths, notebook: str) -> tuple[Path, ...]:
    """The pictures that notebook 08 shows of a notebook and others; those of single benchmarks are not declared."""
    return tuple(paths.figures / f"{name}.png" for name, stage in FIGURES.items() if stage == notebook)


def memory_mb(study: Study, rule: str, label: str | None = None) -> int:
    """Memory a job asks of a cluster, from the plan's estimate; what cannot be estimated gets `UNKNOWN_MEMORY_MB`."""
    estimate = plan_job(study, rule, label).memory_bytes
    return UNKNOWN_MEMORY_MB if estimate is None else -(-estimate // 1_000_000)


def job_name(rule: str, label: str | None = None) -> str:
    """Name of a job's executed notebook: ``02_quant_kld.bnb-nf4``, ``00_make_quants.rotate-3``."""
    told_apart = label or RULES[rule].part
    return f"{RULES[rule].notebook}.{told_apart}" if told_apart else RULES[rule].notebook


def declared_name(path: Path, paths: StudyPaths, *, storage: bool) -> str:
    """A file's name in the Snakefile: below the run folder, a figure's absolute, in a storage below the study's."""
    if storage:
        inside = path.relative_to(paths.run if path.is_relative_to(paths.run) else paths.figures.parent.parent)
        return f"{paths.study}/{inside}"
    return str(path.relative_to(paths.run)) if path.is_relative_to(paths.run) else str(path)


def hand_over(study: Study, paths: StudyPaths, declared: Iterable[str]) -> None:
    """Copy a job's files to where a Snakemake with a storage expects them.

    Without a storage the declared files are the study's own, and nothing is left to do. A storage has names of its own
    below the pod's working directory, while stores and tables lie on the volume that all pods mount.
    """
    own = {declared_name(file, paths, storage=True): file for file in declared_files(study, paths)}
    for name in declared:
        source = next((file for key, file in own.items() if name.endswith(f"/{key}")), None)
        if source and source.exists() and not Path(name).exists():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, name)


def declared_files(study: Study, paths: StudyPaths) -> list[Path]:
    """Every file that the Snakefile declares as an output."""
    files = [file for rule in RULES for file in outputs(study, paths, rule)]
    bases = bases_to_make(study, paths)
    files += [seal(basis.name) for basis in bases for seal in (paths.basis_seal, paths.basis_removed)]
    files += [file for label in measured_labels(study) for file in (paths.kld(label), paths.fidelity(label))]
    return files + [paths.items(label) for label in scored_labels(study)]
