"""One study's parameters: a YAML file parsed once into frozen, checked objects.

A key of a stage's section is a parameter of that stage's notebook, under the same name; there None is the study's own
value. `qkld.study.knobs` gives them, and a test holds every notebook to it.
"""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from qkld.errors import ParameterError
from qkld.study.checking import read_yaml, validated
from qkld.study.entries import (
    AnyModel,
    AnyStoredModel,
    Basis,
    Label,
    Revision,
    Strict,
    bases_of,
    check_models,
    each_build,
)
from qkld.study.paths import known_studies, params_file
from qkld.study.precision import DOUBLE
from qkld.study.task_metrics import ChoiceMetric, PrimaryScore, Scores

Fraction = Annotated[float, Field(gt=0, lt=1)]

FLOOR_BATCH = "floor-batch"
"""Reserved label: the reference itself, in another batch shape and thread count."""

FLOOR_DTYPE = "floor-dtype"
"""Reserved label: the reference itself, in float32 where the study computes in less, in bfloat16 where in float32."""

FLOORS = (FLOOR_BATCH, FLOOR_DTYPE)


class ToBeChecked(UserWarning):
    """A study names facts that nobody has checked yet."""


# --- what is measured -------------------------------------------------------------------------------------------------


class Corpus(Strict):
    """Texts to measure KL on. Shorter contexts are the beginnings of windows that are run at a longer one.

    ``windows_at`` gives a context fewer windows than ``windows``, since long windows are dear.
    """

    name: Label
    kind: Literal["text", "chat"] = "text"
    asset: str | None = None
    path: str | None = None
    context_lengths: tuple[Annotated[int, Field(ge=8)], ...] = ()
    windows: int = Field(ge=1)
    windows_at: dict[int, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    packing: Literal["packed", "documents"] = "packed"

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Corpus:
        if (self.asset is None) == (self.path is None):
            raise ValueError("expected exactly one of asset and path")
        if self.kind == "text" and not self.context_lengths:
            raise ValueError("a text corpus needs context_lengths, for example [512]")
        if self.kind == "chat" and self.context_lengths:
            raise ValueError("a chat is one window of its own length: leave context_lengths out")
        if tuple(sorted(set(self.context_lengths))) != self.context_lengths:
            raise ValueError("context_lengths must rise and not repeat")
        for context, count in self.windows_at.items():
            if context not in self.context_lengths or count > self.windows:
                raise ValueError(f"windows_at {context}: expected one of context_lengths and at most {self.windows}")
        return self

    def contexts_of(self, window: int) -> tuple[int, ...]:
        """Contexts at which this window is scored, rising; the last one is its length."""
        return tuple(c for c in self.context_lengths if window < self.windows_at.get(c, self.windows))


class Benchmark(Strict):
    """One task: a YAML of the harness's form, how many items of it, its chance level, and its part in the composite.

    ``metric`` says which choice counts as the answer in multiple choice, by default what the field publishes (see
    `qkld.study.task_metrics`); ``chance`` is what guessing scores by it, 1/choices for both.
    ``family`` groups tasks; one whose reference is at its floor or ceiling stays out of the composite. ``prompt`` says
    whether the prompt goes through the model's chat template. Only tasks in which the model writes its answers take the
    rest: the longest answer in tokens, and for answers that are drawn the temperature, the seed and their number.
    """

    task: Label
    chance: float = Field(ge=0, lt=1)
    metric: ChoiceMetric | None = None
    limit: int | None = Field(default=None, ge=1)
    role: Literal["composite", "control"] = "composite"
    seed: int = Field(default=0, ge=0)
    family: Literal["knowledge", "code", "tool_calling", "instruction_following", "mathematics"] | None = None
    prompt: Literal["plain", "chat"] = "plain"
    answer_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    repeats: int = Field(default=1, ge=1)
    sampling_seed: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _sandbox_is_no_choice(cls, given: Any) -> Any:
        """Entries of earlier versions may name bubblewrap; the two weaker sandboxes that they could name are gone."""
        if not isinstance(given, dict) or "sandbox" not in given:
            return given
        if given["sandbox"] != "bubblewrap":
            raise ValueError(
                f"sandbox: {given['sandbox']} is not offered: programs that models write run in bubblewrap alone, and "
                "those that held less are gone; leave the key out"
            )
        return {name: value for name, value in given.items() if name != "sandbox"}

    @model_validator(mode="after")
    def _only_drawn_answers_differ(self) -> Benchmark:
        if self.temperature == 0 and (self.repeats > 1 or self.sampling_seed):
            raise ValueError("repeats and sampling_seed belong to a temperature above 0: greedy answers do not differ")
        if self.temperature and self.answer_tokens is None:
            raise ValueError("a temperature belongs to tasks in which the model writes; give answer_tokens")
        return self


def asked(benchmark: Benchmark) -> dict[str, Any]:
    """A benchmark's entry as JSON, without the keys of families and written answers that it leaves at their defaults.

    So an entry that names none of them is what it was before there were any, and nothing runs again for it.
    """
    later = ("metric", "family", "prompt", "answer_tokens", "temperature", "repeats", "sampling_seed")
    values = benchmark.model_dump(mode="json")
    return {k: v for k, v in values.items() if k not in later or v != Benchmark.model_fields[k].default}


# --- knobs of the stages ----------------------------------------------------------------------------------------------


class Compute(Strict):
    """How models are run; the same in notebooks 01, 02 and 03."""

    device: Literal["auto", "cuda", "mps", "cpu"]
    compute_dtype: Literal["auto", "float32", "bfloat16", "float16"]
    head_dtype: Literal["compute_dtype", "float32"]
    device_map: Literal["none", "auto"]
    weights: Literal["native", "dequantized"]
    vocabulary_tile: int = Field(ge=1)


class ReferenceLogits(Strict):
    """Knobs of 01_reference_logits."""

    score_from: float = Field(ge=0, lt=1)
    chat_answer_tokens: int = Field(ge=1, le=4096)


class QuantKld(Strict):
    """Knobs of 02_quant_kld."""

    confidence: Fraction
    bootstrap: int = Field(ge=100)
    kld_seed: int = Field(ge=0)
    floor_windows: int = Field(ge=1)
    second_walk: bool


class BenchmarkScores(Strict):
    """Knobs of 03_benchmark_scores."""

    pack_tokens: int = Field(ge=64)
    item_kld: Literal["prompts", "choices"] = "prompts"


class Headline(Strict):
    """Where the cohort's fidelity columns without a suffix are measured; ``context`` 0 for a corpus of chats."""

    corpus: Label
    context: int = Field(ge=0)


class Correlation(Strict):
    """How correlations are computed in 04 to 07."""

    correlation_bootstrap: int = Field(ge=100)
    correlation_confidence: Fraction
    permutations: int = Field(ge=99)
    correlation_seed: int = Field(ge=0)


class SilentZone(Strict):
    """Knobs of 05_silent_zone."""

    zone_rule: Literal["kld_cut", "score_margin", "equivalence", "break_point"]
    zone_cut: float = Field(gt=0)
    zone_margin: float = Field(gt=0, lt=1)
    split_rounds: int = Field(ge=10)
    curve_min_quants: int = Field(ge=4)
    null_draws: int = Field(ge=100)
    left_out_draws: int = Field(ge=100)
    edge_draws: int = Field(ge=10)


class VolumeDirection(Strict):
    """Knobs of 06_volume_direction."""

    direction_confidence: Fraction
    equivalence_margin: float = Field(gt=0, lt=1)
    thinning_draws: int = Field(ge=10)


class Prompts(Strict):
    """Knobs of 07_prompts."""

    prompt_divergence: Literal["kl_prompt", "kl_choice_right", "kl_choice_mean", "kl_answer"]
    minimum_failed: int = Field(ge=2)
    minimum_reference: int = Field(default=20, ge=0)
    prompt_epsilon: float = Field(gt=0)
    prompt_confidence: Fraction
    direction_splits: int = Field(default=20, ge=5)


class Figures(Strict):
    """How notebooks 04 to 07 draw and save figures; a PNG is always among the formats."""

    column_width: float = Field(gt=0, description="inches")
    formats: tuple[Literal["pdf", "png", "svg"], ...] = Field(description="files of every figure")


class Preregistered(Strict):
    """What was written down before scores were seen.

    ``commit`` is the one in which all of it stood in the study's file, and is named there once it is known; see
    `qkld.study.preregistration`.
    """

    commit: Revision | None = None
    questions: tuple[str, ...] = Field(min_length=1)
    zone: str
    primary_score: PrimaryScore
    rules: tuple[str, ...] = Field(min_length=1)


class Study(Scores):
    """A whole study: reference, corpora, benchmarks, quants, and the knobs of every stage.

    With ``self_flips`` the reference answers the benchmarks once more in another batch shape, under the label
    `FLOOR_BATCH`: how often it disagrees with itself is the floor of every quant's flips. ``builds`` are a quant each.
    ``preregistered`` says what was to be found out, and by which rules, before scores were seen. Numbers of tokens and
    items are written with ``significant_bits``, None for all of double precision: results of fewer are those of
    tables that are small enough to be kept.
    """

    study: Label
    description: str
    notes: tuple[str, ...] = ()
    preregistered: Preregistered | None = None
    reference: AnyStoredModel
    compute: Compute
    corpora: tuple[Corpus, ...] = Field(min_length=1)
    benchmarks: tuple[Benchmark, ...] = Field(min_length=1)
    headline: Headline
    self_flips: bool = False
    significant_bits: int | None = Field(default=None, ge=12, lt=DOUBLE)
    reference_logits: ReferenceLogits
    quant_kld: QuantKld
    benchmark_scores: BenchmarkScores
    correlation: Correlation
    silent_zone: SilentZone
    volume_direction: VolumeDirection
    prompts: Prompts
    figures: Figures
    quants: Annotated[tuple[AnyModel, ...], AfterValidator(each_build)] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique_and_known(self) -> Study:
        for what, names in (
            ("quant label", [*self.floors, self.reference.label, *(q.label for q in self.quants)]),
            ("corpus name", [c.name for c in self.corpora]),
            ("benchmark task", [b.task for b in self.benchmarks]),
        ):
            doubled = sorted({n for n in names if names.count(n) > 1})
            if doubled:
                raise ValueError(f"{what} used twice: {', '.join(doubled)}")
        head = {c.name: c for c in self.corpora}.get(self.headline.corpus)
        lengths = (head.context_lengths or (0,)) if head else ()
        if self.headline.context not in lengths:
            raise ValueError(
                f"headline corpus {self.headline.corpus!r} with context "
                f"{self.headline.context} is none of the study's corpora and contexts"
            )
        return self

    @model_validator(mode="after")
    def _prompts_are_compared_by_what_is_measured(self) -> Study:
        if self.benchmark_scores.item_kld == "choices" and self.prompts.prompt_divergence == "kl_prompt":
            raise ValueError("prompt_divergence is kl_prompt, which item_kld: choices leaves out; take kl_choice_mean")
        return self

    @model_validator(mode="after")
    def _the_score_that_decides_is_the_one_that_was_named(self) -> Study:
        named = self.preregistered and self.preregistered.primary_score
        if named not in (None, self.primary_score):
            raise ValueError(f"preregistered.primary_score is {named}, and primary_score is {self.primary_score}")
        return self

    @model_validator(mode="after")
    def _models_fit_each_other(self) -> Study:
        check_models(self.reference, self.quants)
        return self

    @property
    def bases(self) -> tuple[Basis, ...]:
        """Every basis that a quant is made in beside the reference's own, in the order of the quants."""
        return bases_of(self.quants)

    @property
    def floors(self) -> tuple[str, ...]:
        """Labels of all floor rows: those of every study, and one a basis."""
        return (*FLOORS, *(basis.floor_label for basis in self.bases))

    def entry(self, label: str) -> Any:
        """The reference or quant with this label, or the reference under the label of a floor: in a basis, or again."""
        floors = {basis.floor_label: basis.of(self.reference) for basis in self.bases}
        floors |= {FLOOR_BATCH: self.reference} if self.self_flips else {}
        known = {model.label: model for model in (self.reference, *self.quants)}
        known |= {name: model.model_copy(update={"label": name}) for name, model in floors.items()}
        if label in known:
            return known[label]
        raise ParameterError(
            f"Study '{self.study}' has no model '{label}'.",
            expected=[self.reference.label, *(q.label for q in self.quants)],
            found=label,
            do="use one of these labels, or add the quant to the study's YAML",
        )


def parse_study(values: Any, *, source: str) -> Study:
    """Check a study's values. ``source`` names the file in messages.

    Raises
    ------
    ParameterError
        With every unknown key, missing key and value out of range, each with its place in the file.
    """
    study = validated(Study, values, source=source)
    _warn_of_unchecked(study, source)
    return study


def _warn_of_unchecked(study: Study, source: str) -> None:
    entries = (study.reference, *study.quants)
    unchecked = [entry for entry in entries if entry.to_be_checked]
    if unchecked:
        facts = Counter(fact for entry in unchecked for fact in entry.to_be_checked)
        counts = ", ".join(f"{fact} of {n}" for fact, n in facts.items())
        warnings.warn(
            f"{source}: {len(unchecked)} of {len(entries)} models have facts that nobody has checked yet ({counts}). "
            f"Look each up where the file is published, write it in, and take it off the entry's to_be_checked.",
            ToBeChecked,
            stacklevel=4,
        )


def load_params(study: str, path: Path | None = None) -> Study:
    """Parse ``params/<study>.yaml``; a study's name is its file's name."""
    path = path or params_file(study)
    if not path.exists():
        known = known_studies(path.parent)
        raise ParameterError(
            f"There is no study '{study}'.", expected=known, found=study, do=f"use one of these, or write {path}"
        )
    parsed = parse_study(read_yaml(path), source=str(path))
    if parsed.study != path.stem:
        raise ParameterError(
            f"{path} names another study.",
            expected=path.stem,
            found=parsed.study,
            do="give the file and the study one name",
        )
    return parsed
