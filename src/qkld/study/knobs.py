"""Which parameters of a study are the knobs of which notebook, and a study with some of them changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qkld.errors import ParameterError
from qkld.study.checking import validated
from qkld.study.params import Study

STAGES: Mapping[str, tuple[str, ...]] = {
    "00_make_quants": (),
    "01_reference_logits": ("compute", "reference_logits", "benchmark_scores"),
    "02_quant_kld": ("compute", "quant_kld"),
    "03_benchmark_scores": ("compute", "benchmark_scores"),
    "03b_cohort": (),
    "04_correlation": ("correlation",),
    "05_silent_zone": ("correlation", "silent_zone"),
    "06_volume_direction": ("correlation", "volume_direction"),
    "07_prompts": ("correlation", "prompts"),
    "08_findings": (),
}
"""Which sections of a study are the knobs of which notebook."""


TOLD_APART: Mapping[str, tuple[str, ...]] = {
    "00_make_quants": ("basis",),
    "01_reference_logits": ("part",),
    "02_quant_kld": ("quant",),
    "03_benchmark_scores": ("model",),
    "explore/study": ("zone_cut", "quant", "benchmark", "window"),
}
"""Parameters of a notebook that say which run of it this is, or what it shows; they are no knobs of a study."""


def knob_names(stage: str) -> tuple[str, ...]:
    """Names of a stage's knobs, in the order of a study's sections."""
    sections = (Study.model_fields[section].annotation for section in STAGES[stage])
    return tuple(name for section in sections for name in section.model_fields)


def knobs(study: Study, stage: str) -> dict[str, Any]:
    """The values that a stage's knobs have in a study, as JSON values."""
    return {k: v for section in STAGES[stage] for k, v in getattr(study, section).model_dump(mode="json").items()}


def with_knobs(study: Study, stage: str, **values: Any) -> Study:
    """The study with some of a stage's knobs set to other values; None leaves the study's own.

    Raises
    ------
    ParameterError
        If a knob is unknown to the stage or out of range.
    """
    unknown = sorted(set(values) - set(knob_names(stage)))
    if unknown:
        raise ParameterError(
            f"Notebook {stage} has no parameter {', '.join(unknown)}.",
            expected=", ".join(knob_names(stage)) or "none",
            found=", ".join(unknown),
            do="correct the name",
        )
    whole = study.model_dump(mode="json")
    for section in STAGES[stage]:
        whole[section] |= {name: values[name] for name in whole[section] if values.get(name) is not None}
    return validated(Study, whole, source=f"Study '{study.study}' with these parameters of notebook {stage}")
