"""What a study can resolve, before anything runs: the errors of its score and of mean KLD, and which of them limits it.

Errors of scores follow from the numbers of items alone, those of mean KLD from windows and scored tokens by three
measured constants. Whether the reference scores far enough above chance is not known beforehand: a benchmark counts
where its items would let it enter the composite.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scipy import stats

from qkld.sources.windows import scored_positions
from qkld.statistics.items.sample_size import POWER, margin_for_equivalence
from qkld.statistics.items.scores import least_items, least_score
from qkld.study.params import Corpus, Study
from qkld.study.text_table import TextTable
from qkld.workflow.plan import items_of, known_shape, plan_jobs
from qkld.workflow.plan_report import seconds_by_rule

FLIP_RATES = (0.01, 0.05, 0.15)
"""Shares of items answered differently from the reference: of about 8, of 6 to 5 and of 4 bits."""

JUDGED_AT = 0.05
"""Flip rate at which a study's margin is judged."""

PROBABILITY_RATIO: Mapping[float, float] = {0.01: 3.4, 0.05: 3.0, 0.15: 1.7}
"""Standard error in accuracy over that in the probability of the right choice, by flip rate.

Geometric means of those measured at 0.4 and 2.8, at 4.4 to 6.4 and at 14.8 % flips, for round-to-nearest quants of
SmolLM2-135M on 250 ARC-Easy items in float32.
"""

WINDOW_VARIANCE, TOKEN_VARIANCE, ANSWER_TOKEN_VARIANCE = 0.028, 5.55, 2.2
"""Variance of mean KLD over its square: between windows, of a token within one, and of a token of a chat's answer.

Fitted to the intervals of quants with mean KLD below 1 in the studies ``demo``, ``gguf`` and ``main``, on 8 to 64
windows of 16 to 256 scored tokens, all of SmolLM2-135M. The median interval of every study's headline is met within a
fifth, as is that of each of main's four places. Few windows may lie further off: one of eighteen with 64 tokens was so
heavy that the interval was half as wide again.
"""

ENOUGH_KLD = 0.15
"""Half an interval of mean KLD, relative to it, that is narrow enough: neighbours in a cohort lie further apart."""

TEXT_RULES, ITEM_RULES = ("reference_corpora", "quant_kld"), ("reference_benchmarks", "benchmark_scores")


def paired_error(flip_rate: float, items: Iterable[int]) -> float:
    """Standard error of a model's paired difference to the reference where flips balance, a fraction of 1.

    √(f/N) on one benchmark; of the unweighted mean over B benchmarks √(Σ f/N)/B.
    """
    counts = list(items)
    return math.sqrt(flip_rate * sum(1 / count for count in counts)) / len(counts)


def entering(study: Study) -> dict[str, int] | None:
    """Items of each benchmark that can enter the composite; None while a benchmark's file is not fetched."""
    own = {b.task: (items_of(b), b.chance) for b in study.benchmarks if b.role == "composite"}
    if any(items is None for items, _ in own.values()):
        return None
    return {task: items for task, (items, chance) in own.items() if items and items >= least_items(chance)}


def margin_met(study: Study, error: float, power: float = POWER) -> float:
    """Margin within which this error lets an equal quant be called equivalent, at the strictest of the study's tests.

    Holm's method counts all quants at its first step, as `qkld.statistics.flips.decision` does.
    """
    level = (1 - study.volume_direction.direction_confidence) / len(study.quants)
    return float(margin_for_equivalence(error, level=level, power=power))


@dataclass(frozen=True)
class Place:
    """A corpus at one context length: windows and scored tokens of each. A chat's context is 0."""

    corpus: str
    context: int
    windows: int
    tokens: int

    def half_width(self, confidence: float) -> float:
        """Half the interval of mean KLD over it; infinite for a single window."""
        if self.windows < 2:
            return math.inf
        of_token = TOKEN_VARIANCE if self.context else ANSWER_TOKEN_VARIANCE
        error = math.sqrt((WINDOW_VARIANCE + of_token / self.tokens) / self.windows)
        return float(stats.t.ppf(0.5 + confidence / 2, self.windows - 1)) * error

    def windows_needed(self, confidence: float) -> int:
        """Fewest windows of this length whose interval is `ENOUGH_KLD`."""
        counts = (Place(self.corpus, self.context, n, self.tokens) for n in itertools.count(2))
        return next(place.windows for place in counts if place.half_width(confidence) <= ENOUGH_KLD)


def places_of(study: Study, corpus: Corpus) -> list[Place]:
    """A corpus at each of its context lengths, rising."""
    if not corpus.context_lengths:
        return [Place(corpus.name, 0, corpus.windows, study.reference_logits.chat_answer_tokens)]
    score_from = study.reference_logits.score_from
    return [
        Place(corpus.name, c, corpus.windows_at.get(c, corpus.windows), len(scored_positions(c, score_from)))
        for c in corpus.context_lengths
    ]


def headline_place(study: Study) -> Place:
    """Where the cohort's KLD is measured."""
    places = (place for corpus in study.corpora for place in places_of(study, corpus))
    headline = (study.headline.corpus, study.headline.context)
    return next(place for place in places if (place.corpus, place.context) == headline)


def primary_margins(study: Study, items: Mapping[str, int]) -> tuple[float, float]:
    """The margin in the study's primary score that can be met at `JUDGED_AT`, and the study's own."""
    error = paired_error(JUDGED_AT, items.values())
    if study.primary_score == "probability":
        return margin_met(study, error / PROBABILITY_RATIO[JUDGED_AT]), study.probability_margin
    return margin_met(study, error), study.volume_direction.equivalence_margin


def limit_of(study: Study, items: Mapping[str, int] | None) -> str:
    """Which of score and KLD limits the verdict, in a sentence; each error is compared with what a decision needs."""
    half = headline_place(study).half_width(study.quant_kld.confidence)
    kld = f"mean KLD is known to {_plus_minus(half)}, and {_plus_minus(ENOUGH_KLD)} is enough"
    if items is None:
        return f"{kld}; the benchmarks' lengths are unknown: their files are not here"
    if not items:
        return f"the score limits the verdict: no benchmark has the items to enter the composite; {kld}"
    met, margin = primary_margins(study, items)
    score = (
        f"at {JUDGED_AT:.0%} flips a margin of {_points(met)} points of {study.primary_score} can be met, and the "
        f"study's is {_points(margin)}"
    )
    need_of_score, need_of_kld = met / margin, half / ENOUGH_KLD
    if max(need_of_score, need_of_kld) <= 1:
        return f"neither limits the verdict: {score}; {kld}"
    return f"the {'score' if need_of_score >= need_of_kld else 'KLD'} limits the verdict: {score}; {kld}"


def resolution_lines(study: Study, *, cores: int, flop_per_second: float | None) -> list[str]:
    """What a study can resolve and where its time goes, for `qkld plan`; arguments as of `plan_text`."""
    items = entering(study)
    scores = ["", "Standard error of a paired difference of scores, points:", *score_table(study, items).lines()]
    return [
        *(scores if items else []),
        *(score_notes(study) if items else []),
        "",
        f"Interval of mean KLD, {study.quant_kld.confidence:.0%}, relative to it:",
        *kld_table(study).lines(),
        "",
        "What limits it: " + limit_of(study, items) + ".",
        "Where the time goes: " + _shares(study, cores, flop_per_second) + ".",
    ]


def score_table(study: Study, items: Mapping[str, int] | None) -> TextTable:
    """Expected errors by flip rate, of each benchmark that can enter the composite and of both scores of that."""
    chance = {b.task: b.chance for b in study.benchmarks}
    rows = [
        (task, str(n), f"{least_score(n, chance[task]):.0%}", *(_points(paired_error(f, [n])) for f in FLIP_RATES))
        for task, n in (items or {}).items()
    ]
    if items:
        errors = [paired_error(f, items.values()) for f in FLIP_RATES]
        in_probability = [e / PROBABILITY_RATIO[f] for e, f in zip(errors, FLIP_RATES, strict=True)]
        total = str(sum(items.values()))
        for name, both in (("accuracy", errors), ("probability", in_probability)):
            rows.append((f"composite, {name}", total, "", *map(_points, both)))
            rows.append((f"  margin it can meet, {name}", "", "", *(_points(margin_met(study, e)) for e in both)))
    return TextTable("", "", ("", "items", "enters at", *(f"{f:.0%} flips" for f in FLIP_RATES)), tuple(rows))


def score_notes(study: Study) -> list[str]:
    """How the errors and margins of `score_table` come about."""
    strictest = margin_met(study, 1.0, power=0.0)
    return [
        "  - accuracy: √(flips/items) where as many answers become right as wrong; enters at: the score that the",
        "    reference needs for the benchmark to enter the composite.",
        "  - probability of the right choice: accuracy's error over "
        + ", ".join(f"{PROBABILITY_RATIO[f]:g} at {f:.0%}" for f in FLIP_RATES)
        + " flips, ratios measured on ARC-Easy.",
        f"  - margins: an equal quant among {len(study.quants)} is called equivalent with power {POWER:g}; below "
        f"{strictest:.1f} standard errors none is.",
    ]


def kld_table(study: Study) -> TextTable:
    """Expected relative interval of mean KLD of every corpus at every context length."""
    confidence = study.quant_kld.confidence
    headline = headline_place(study)
    rows = [
        (
            place.corpus + (" (headline)" if place == headline else ""),
            str(place.context or "own"),
            str(place.windows),
            f"{place.windows * place.tokens:,}",
            _plus_minus(place.half_width(confidence)),
        )
        for corpus in study.corpora
        for place in places_of(study, corpus)
    ]
    return TextTable("", "", ("corpus", "context", "windows", "scored tokens", "interval"), tuple(rows))


def _shares(study: Study, cores: int, flop_per_second: float | None) -> str:
    spent = seconds_by_rule(plan_jobs(study), known_shape(study), flop_per_second, cores)
    known = {rule: seconds for rule, seconds in spent.items() if seconds is not None}
    if len(known) < len(spent):
        return "unknown, as the time is"
    texts, items = (sum(known[rule] for rule in rules) / sum(known.values()) for rules in (TEXT_RULES, ITEM_RULES))
    return f"texts {texts:.0%}, items {items:.0%}, the rest {1 - texts - items:.0%}"


def _points(value: float) -> str:
    return f"{100 * value:.2f}"


def _plus_minus(value: float) -> str:
    return f"± {value:.0%}" if math.isfinite(value) else "unbounded"
