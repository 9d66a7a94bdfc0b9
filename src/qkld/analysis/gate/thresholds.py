"""Thresholds of a gate: a metric, a bound and which side of it is allowed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from qkld.errors import ParameterError

KLD, TOP1 = "kl_mean", "top1_agreement"

LOSS = "loss of "
"""What a metric's name begins with that is the reference's score less the quant's."""

SHARES = (TOP1, LOSS, "top5_agreement", "acceptance_rate")
"""Metrics that are shares; their bounds may be written in percent."""

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
        If there is none, one cannot be read, a metric has two bounds on one side, or no value meets both sides.
    """
    found = [Threshold(KLD, "<=", _number("--max-kld", max_kld))] if max_kld is not None else []
    found += [Threshold(TOP1, ">=", _share("--min-top1", min_top1))] if min_top1 is not None else []
    found += [_loss(text) for text in max_loss]
    found += [_required(text) for text in require]
    if not found:
        raise ParameterError(
            "A gate needs a threshold.",
            expected="--max-kld, --min-top1, --max-loss or --require",
            found="none",
            do="name one, for example --max-kld 0.02",
        )
    _check_consistent(found)
    return found


def _loss(text: str) -> Threshold:
    score, equals, bound = text.partition("=")
    if not equals or not score.strip():
        raise _unreadable("--max-loss", text, "SCORE=LOSS, for example mmlu=0.01")
    return Threshold(LOSS + score.strip(), "<=", _share("--max-loss", bound))


def _required(text: str) -> Threshold:
    match = _REQUIRE.match(text)
    if match is None:
        raise _unreadable("--require", text, "METRIC<=NUMBER or METRIC>=NUMBER, for example kl_p99<=0.5")
    of_share = match["metric"].startswith(SHARES)
    number = _share("--require", match["bound"]) if of_share else _number("--require", match["bound"])
    return Threshold(match["metric"], match["sign"], number)


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
        raise _unreadable(option, text, "a share of 1, or a number with %")
    return number


def _unreadable(option: str, found: str, expected: str) -> ParameterError:
    return ParameterError(f"{option} cannot be read.", expected=expected, found=repr(found), do="write it as expected")


def _check_consistent(thresholds: Sequence[Threshold]) -> None:
    """Refuse two bounds of one kind for a metric, and bounds between which there is no value."""
    for metric in dict.fromkeys(t.metric for t in thresholds):
        upper, lower = ([t.bound for t in thresholds if (t.metric, t.sign) == (metric, s)] for s in ("<=", ">="))
        own = ", ".join(str(t) for t in thresholds if t.metric == metric)
        impossible = bool(upper and lower) and min(upper) < max(lower)
        if len(upper) > 1 or len(lower) > 1 or impossible:
            raise ParameterError(
                "The thresholds contradict each other.",
                expected=f"one bound of {metric} on each side, the upper one above the lower",
                found=own,
                do="leave one out",
            )
