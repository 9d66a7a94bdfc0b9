"""What a site's SLURM cluster needs to be told, and what each rule's jobs ask of it, from the study's plan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from qkld.errors import ParameterError
from qkld.study.checking import read_yaml, validated
from qkld.study.entries import Strict
from qkld.study.params import Study
from qkld.workflow.plan import flop_rate, job_seconds, known_shape, made_files, measured_labels, plan_job, scored_labels
from qkld.workflow.rules import RULES, memory_mb

MODEL_RULES = ("make_quants", "reference_corpora", "reference_benchmarks", "quant_kld", "benchmark_scores")
"""Rules whose jobs run a model: they get the site's threads and GPUs."""

MEMORY_MARGIN = 1.5
"""Memory asked for over the plan's estimate, which is within a factor of two: a job that needs more is killed."""

JOB_MEMORY_MB = 800
"""Memory of a job beside its kernel: Snakemake, up to three times (array, task, step), and papermill."""

TIME_MARGIN = 4.0
"""Time limit over the plan's estimate: a node may be slower than the machine that was measured, and shared."""

SHORTEST_MINUTES = 30
"""No limit is shorter; a schedule of minutes gains nothing by less."""

UNKNOWN_MINUTES = 240
"""Limit of a job whose time the plan does not know."""


class Site(Strict):
    """A cluster as its user sees it. What is None is left to the cluster, or comes from the plan.

    Attributes
    ----------
    partition, account : str or None
        Where jobs go and who pays; None: the cluster's default.
    gpus : int
        Of each job that runs a model.
    gpu_model : str or None
        What the cluster calls them, where it has several kinds.
    threads : int
        Processor cores of each job that runs a model.
    minutes, memory_mb : int or None
        Limits of every job.
    tokens_per_second : float or None
        Of the reference in one such job; the plan's times come from it. None: from this machine's processor.
    """

    partition: Annotated[str, Field(pattern=r"^[^\s,=]+$")] | None = None
    account: Annotated[str, Field(pattern=r"^[^\s,=]+$")] | None = None
    gpus: Annotated[int, Field(ge=0)] = 0
    gpu_model: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]+$")] | None = None
    threads: Annotated[int, Field(ge=1)] = 4
    minutes: Annotated[int, Field(ge=1)] | None = None
    memory_mb: Annotated[int, Field(ge=1)] | None = None
    tokens_per_second: Annotated[float, Field(gt=0)] | None = None


def read_site(file: Path, **given: object) -> Site:
    """The site that a file describes; what is ``given`` and not None, by the command line, goes before the file.

    Raises
    ------
    ParameterError
        If there is no such file, or it has an unknown key or a value out of range.
    """
    if not file.is_file():
        raise ParameterError(
            "There is no such file of a site.", expected=f"a YAML file such as {DEFAULT}", found=file, do="write it"
        )
    values = read_yaml(file) or {}
    if not isinstance(values, Mapping):
        raise ParameterError(f"{file} describes no site.", expected="KEY: VALUE lines", found=values, do="correct it")
    told = {name: value for name, value in given.items() if value is not None}
    return validated(Site, {**values, **told}, source=str(file), what="site")


DEFAULT = "workflow/profiles/slurm/site.yaml"
"""The site's file where none is named."""


@dataclass(frozen=True)
class Request:
    """What a rule's jobs ask for; one for all of them, since an array's jobs ask for the same."""

    threads: int
    gpus: int
    memory_mb: int
    minutes: int


def labels_of(study: Study, rule: str) -> tuple[str | None, ...]:
    """The labels that a rule has a job for; one None where it has one job."""
    return {"quant_kld": measured_labels(study), "benchmark_scores": scored_labels(study)}.get(rule, (None,))


def requests(study: Study, site: Site, flop_per_second: float | None) -> dict[str, Request]:
    """What the jobs of each rule of a study ask for.

    Parameters
    ----------
    flop_per_second : float or None
        Speed of a model on one thread, for the plan's times; the site's tokens a second go before it.
    """
    speed = flop_rate(known_shape(study), site.tokens_per_second) if site.tokens_per_second else flop_per_second
    rules = [rule for rule in RULES if rule != "make_quants" or made_files(study)]
    return {rule: _request(study, rule, site, speed) for rule in rules}


def _request(study: Study, rule: str, site: Site, speed: float | None) -> Request:
    labels = labels_of(study, rule)
    planned = math.ceil(MEMORY_MARGIN * max(memory_mb(study, rule, label) for label in labels)) + JOB_MEMORY_MB
    minutes = site.minutes or max(_minutes(study, rule, label, speed) for label in labels)
    threads, gpus = (site.threads, site.gpus) if rule in MODEL_RULES else (1, 0)
    return Request(threads, gpus, site.memory_mb or planned, minutes)


def _minutes(study: Study, rule: str, label: str | None, speed: float | None) -> int:
    seconds = job_seconds(plan_job(study, rule, label), known_shape(study), speed)
    return UNKNOWN_MINUTES if seconds is None else max(SHORTEST_MINUTES, math.ceil(TIME_MARGIN * seconds / 60))


def snakemake_arguments(asked: Mapping[str, Request], site: Site) -> list[str]:
    """The requests as arguments of Snakemake."""
    defaults = {"slurm_partition": site.partition, "slurm_account": site.account}
    given = [f"{name}='{value}'" for name, value in defaults.items() if value]
    resources, threads = [], []
    for rule, request in asked.items():
        named: dict[str, object] = {"mem_mb": request.memory_mb, "runtime": request.minutes}
        named |= {"gpu": request.gpus} if request.gpus else {}
        named |= {"gpu_model": f"'{site.gpu_model}'"} if request.gpus and site.gpu_model else {}
        resources += [f"{rule}:{name}={value}" for name, value in named.items()]
        threads.append(f"{rule}={request.threads}")
    defaults_given = ["--default-resources", *given] if given else []
    return [*defaults_given, "--set-resources", *resources, "--set-threads", *threads]
