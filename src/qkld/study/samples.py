"""What a few items of each benchmark said of a study's reference, kept beside its run for the plan to read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from qkld.study.entries import identity
from qkld.study.params import Benchmark, Study, asked
from qkld.study.paths import StudyPaths
from qkld.study.provenance import key_of
from qkld.study.sealing import read_sealed, write_sealed


@dataclass(frozen=True)
class Sample:
    """What a few items of a benchmark said.

    Attributes
    ----------
    items : how many
    tokens, head_tokens : of an average item, that are run, and whose logits are computed
    seconds : of processor time, of an average item beside a reference
    score, probability : the reference's mean of right answers, and of the probability of the right choice
    """

    items: int
    tokens: float
    head_tokens: float
    seconds: float
    score: float
    probability: float


def write_samples(study: Study, samples: Mapping[str, Sample]) -> None:
    """Keep the samples of a study's benchmarks, by task."""
    kept = {b.task: {"made_for": _made_for(study, b), **asdict(samples[b.task])} for b in _sampled(study, samples)}
    write_sealed(StudyPaths(study.study).samples, {"samples": kept})


def read_samples(study: Study) -> dict[str, Sample]:
    """Samples of the study's benchmarks as they are asked for now, by task; other ones are left out.

    Raises
    ------
    StoreError
        If the file was changed.
    """
    path = StudyPaths(study.study).samples
    if not path.exists():
        return {}
    kept: dict[str, dict[str, Any]] = read_sealed(path, do=f"run `qkld plan {study.study} --measure`")["samples"]
    return {
        b.task: Sample(**{name: value for name, value in kept[b.task].items() if name != "made_for"})
        for b in _sampled(study, kept)
        if kept[b.task]["made_for"] == _made_for(study, b)
    }


def _sampled(study: Study, samples: Mapping[str, Any]) -> list[Benchmark]:
    return [b for b in study.benchmarks if b.task in samples]


def _made_for(study: Study, benchmark: Benchmark) -> str:
    """Name of what a sample depends on: the reference, how it is computed, and the task, not how many items of it."""
    task = {
        name: value for name, value in asked(benchmark).items() if name not in ("limit", "role", "chance", "family")
    }
    knobs = {"compute": study.compute.model_dump(mode="json"), "items": study.benchmark_scores.model_dump(mode="json")}
    return key_of({"reference": identity(study.reference), "task": task, **knobs})
