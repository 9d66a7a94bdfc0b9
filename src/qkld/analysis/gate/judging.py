"""What measured figures say of thresholds: passed, failed, not measured or not resolved."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from qkld.analysis.gate.thresholds import SHARES, Threshold

PASSED, FAILED, NOT_MEASURED, NOT_RESOLVED = "passed", "failed", "not measured", "not resolved"

STATUS = {FAILED: 3, NOT_MEASURED: 4, NOT_RESOLVED: 5, PASSED: 0}
"""Outcome → exit status; a gate of several thresholds has the first of these that one of them has."""


@dataclass(frozen=True)
class Estimate:
    """A measured figure: where it is of, its value, and the ends of its interval; NaN where there is no interval."""

    place: str
    value: float
    low: float = math.nan
    high: float = math.nan
    note: str = ""

    @property
    def has_interval(self) -> bool:
        return not (math.isnan(self.low) or math.isnan(self.high))


Estimates = Mapping[str, Sequence[Estimate]]
"""Metric → its estimates, one a text and context; a metric that was not measured is left out."""


@dataclass(frozen=True)
class Verdict:
    """The outcome of one threshold on one estimate; `estimate` is None where the metric was not measured."""

    threshold: Threshold
    outcome: str
    estimate: Estimate | None

    def entries(self) -> dict[str, Any]:
        """The same as JSON values."""
        of_estimate = {} if self.estimate is None else asdict(self.estimate)
        figures = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in of_estimate.items()}
        return {**asdict(self.threshold), "outcome": self.outcome, **figures}


def judge(thresholds: Sequence[Threshold], measured: Estimates) -> list[Verdict]:
    """Each threshold on every estimate of its metric, in order."""
    verdicts = []
    for threshold in thresholds:
        estimates = [e for e in measured.get(threshold.metric, ()) if not math.isnan(e.value)]
        verdicts += [Verdict(threshold, _outcome(threshold, e), e) for e in estimates] or [
            Verdict(threshold, NOT_MEASURED, None)
        ]
    return verdicts


def _outcome(threshold: Threshold, estimate: Estimate) -> str:
    """Not resolved where the interval holds the threshold; without an interval the value alone decides."""
    if not estimate.has_interval:
        return PASSED if threshold.holds(estimate.value) else FAILED
    inside = [threshold.holds(end) for end in (estimate.low, estimate.high)]
    return PASSED if all(inside) else NOT_RESOLVED if any(inside) else FAILED


def outcome_of(verdicts: Sequence[Verdict]) -> str:
    """The outcome of the whole gate: the first of `STATUS` that a threshold has."""
    return next(outcome for outcome in STATUS if any(v.outcome == outcome for v in verdicts))


def line_of(quant: str, verdicts: Sequence[Verdict]) -> str:
    """The one line for people: the outcome, and what each threshold met."""
    said = "; ".join(_said(v) for v in verdicts)
    return f"{outcome_of(verdicts)}: {quant}: {said}"


def _said(verdict: Verdict) -> str:
    threshold, estimate = verdict.threshold, verdict.estimate
    wanted = f"{'≤' if threshold.sign == '<=' else '≥'} {_shown(threshold.bound, threshold)}"
    if estimate is None:
        return f"{threshold.metric} not measured (wanted {wanted})"
    interval = (
        f" [{_shown(estimate.low, threshold)}, {_shown(estimate.high, threshold)}]"
        if estimate.has_interval
        else " without an interval"
    )
    place = f" on {estimate.place}" if estimate.place else ""
    return (
        f"{threshold.metric}{place} {_shown(estimate.value, threshold)}{interval}, wanted {wanted}: {verdict.outcome}"
    )


def _shown(value: float, threshold: Threshold) -> str:
    """Four significant digits; shares in percent."""
    return f"{100 * value:.2f} %" if threshold.metric.startswith(SHARES) else f"{value:.4g}"
