"""Thresholds of a gate: a metric, a bound and which side of it is allowed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from qkld.analysis.own_table.table_files import plain_name
from qkld.errors import ParameterError

KLD, TOP1 = "kl_mean", "top1_agreement"

LOSS = "loss of "
"""What a metric's name begins with that is the reference's score less the quant's."""

SHARES = (TOP1, LOSS, "top5_agreement", "acceptance_rate")
"""Metrics that are shares; their bounds may be written in percent."""

KLD_NAMES = frozenset(
    {"kl mean", "mean kl", "kl", "kld", "mean kld", "kld mean", "kl divergence", "mean kl divergence"}
)
TOP1_NAMES = frozenset(
    {"top1 agreement", "top-1 agreement", "top 1 agreement", "same top p", "same top", "same top token"}
    | {"top1", "top-1", "top 1", "argmax match"}
)
"""Names of a column of the mean KLD and of top-token agreement, as `plain_name` has them."""

RANGES = {
    "jensen_shannon": (0.0, math.log(2)),
    "kl_min": (-math.inf, math.inf),
    "kl_": (0.0, math.inf),
    "abs_log_ppl_ratio": (0.0, math.inf),
    "ppl_ratio": (0.0, math.inf),
    "ppl_difference": (-math.inf, math.inf),
    "ppl": (1.0, math.inf),
    "dp_rms": (0.0, 1.0),
    "dp_": (-1.0, 1.0),
    LOSS: (-1.0, 1.0),
    TOP1: (0.0, 1.0),
    "top5_agreement": (0.0, 1.0),
    "acceptance_rate": (0.0, 1.0),
}
"""What a metric's name begins with → its smallest and largest value; the first that fits. In base files of 16 bits the
smallest KLD of a token can be below 0."""

RISING = ("kl_median", "kl_p90", "kl_p95", "kl_p99", "kl_p99_9", "kl_max")
"""Metrics of which none is larger than one behind it."""

_REQUIRE = re.compile(r"^\s*(?P<metric>[^<>=]+?)\s*(?P<sign><=|>=)\s*(?P<bound>[^<>=]+?)\s*$")


@dataclass(frozen=True)
class Threshold:
    """What a metric may be at most (``<=``) or at least (``>=``); shares as fractions, KLD in nats."""

    metric: str
    sign: str
    bound: float

    def __str__(self) -> str:
        return f"{self.metric} {'≤' if self.sign == '<=' else '≥'} {self.bound:g}"

    @property
    def score(self) -> str | None:
        """The score whose loss this is of; None where it is of another metric."""
        return self.metric.removeprefix(LOSS) if self.metric.startswith(LOSS) else None

    def holds(self, value: float) -> bool:
        """Whether a value keeps within the bound."""
        return value <= self.bound if self.sign == "<=" else value >= self.bound


def thresholds_of(
    *, max_kld: str | None, min_top1: str | None, max_loss: Sequence[str], require: Sequence[str]
) -> list[Threshold]:
    """The thresholds that options name.

    Parameters
    ----------
    max_kld : largest mean KLD, nats
    min_top1 : smallest share of tokens with the reference's top token, 0.95 or 95%
    max_loss : ``SCORE=LOSS``: largest loss against the reference, a fraction or in percent
    require : ``METRIC<=NUMBER`` or ``METRIC>=NUMBER``

    Raises
    ------
    ParameterError
        If there is none, one cannot be read or lies outside its metric's range, a metric has two bounds on one side, or
        no value meets all of them.
    """
    found = [Threshold(KLD, "<=", _number("--max-kld", max_kld))] if max_kld is not None else []
    found += [Threshold(TOP1, ">=", _share("--min-top1", min_top1))] if min_top1 is not None else []
    found += [_loss(text) for text in max_loss]
    found += [_required(text) for text in require]
    if not found:
        raise ParameterError(
            "No threshold was given.",
            expected="--max-kld, --min-top1, --max-loss or --require",
            found="none",
            do="name one, for example --max-kld 0.02",
        )
    for threshold in found:
        _check_range(threshold)
    _check_consistent(found)
    return found


def _loss(text: str) -> Threshold:
    score, equals, bound = text.partition("=")
    if not equals or not score.strip():
        raise _unreadable("--max-loss", text, "SCORE=LOSS, for example mmlu=0.01")
    if bound.strip() in ("1", "1.0"):
        raise _unreadable("--max-loss", text, f"a loss that can be exceeded: {score}=1% is one point, {score}=0.01 too")
    return Threshold(LOSS + score.strip(), "<=", _share("--max-loss", bound))


def _required(text: str) -> Threshold:
    match = _REQUIRE.match(text)
    if match is None:
        raise _unreadable("--require", text, "METRIC<=NUMBER or METRIC>=NUMBER, for example kl_p99<=0.5")
    metric = TOP1 if plain_name(match["metric"]) in TOP1_NAMES else match["metric"]
    of_share = metric.startswith(SHARES)
    number = _share("--require", match["bound"]) if of_share else _number("--require", match["bound"])
    return Threshold(metric, match["sign"], number)


def _number(option: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise _unreadable(option, text, "a number") from None
    if number != number or abs(number) == float("inf"):
        raise _unreadable(option, text, "a finite number")
    return number


def _share(option: str, text: str) -> float:
    percent = text.strip().endswith("%")
    number = _number(option, text.strip().removesuffix("%")) / (100 if percent else 1)
    if not -1 <= number <= 1:
        raise _unreadable(option, text, f"a share of 1, or a number with %: {number / 100:g} or {number:g}%")
    return number


def _unreadable(option: str, found: str, expected: str) -> ParameterError:
    return ParameterError(f"{option} cannot be read.", expected=expected, found=repr(found), do="write it as expected")


def _check_range(threshold: Threshold) -> None:
    """Refuse a bound that no value of the metric can have: it would hold always or never."""
    metric = _known_as(threshold)
    low, high = next((ends for start, ends in RANGES.items() if metric.startswith(start)), (-math.inf, math.inf))
    if not low <= threshold.bound <= high:
        raise ParameterError(
            f"The threshold {threshold} is outside the metric's range.",
            expected=f"a bound from {low:g} to {high:.4g}" if high < math.inf else f"a bound of {low:g} or more",
            found=f"{threshold.bound:g}",
            do="correct the bound, or its sign",
        )


def _check_consistent(thresholds: Sequence[Threshold]) -> None:
    """Refuse two bounds of one kind for a metric, and bounds that no quant can keep within."""
    for metric in dict.fromkeys(_known_as(t) for t in thresholds):
        own = [t for t in thresholds if _known_as(t) == metric]
        signs = [t.sign for t in own]
        if len(set(signs)) < len(signs) or _impossible(own, own):
            raise _contradiction(own, f"one bound of {metric} on each side, the upper one above the lower")
    for smaller, larger in combinations(RISING, 2):
        pair = [[t for t in thresholds if _known_as(t) == metric] for metric in (smaller, larger)]
        if _impossible(*pair):
            raise _contradiction([*pair[0], *pair[1]], f"{smaller} at most {larger}, as it is of every quant")


def _impossible(smaller: Sequence[Threshold], larger: Sequence[Threshold]) -> bool:
    """Whether the one metric has to be above a bound, and the other, which is never less, below it."""
    least, most = [t.bound for t in smaller if t.sign == ">="], [t.bound for t in larger if t.sign == "<="]
    return bool(least and most) and max(least) > min(most)


def _known_as(threshold: Threshold) -> str:
    """The metric's name here: a mean KLD that `--require` names otherwise is the same statistic."""
    return KLD if plain_name(threshold.metric) in KLD_NAMES else threshold.metric


def _contradiction(thresholds: Sequence[Threshold], expected: str) -> ParameterError:
    return ParameterError(
        "The thresholds contradict each other.",
        expected=expected,
        found=", ".join(str(t) for t in thresholds),
        do="leave one out",
    )
