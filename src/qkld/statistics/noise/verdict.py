"""Noise or direction: what near-baseline scores allow to say about KLD, with known error rates.

Four answers. *direction missing*: less than half of the quants' true differences lies along √KLD. *carried*: more than
half does, and scores fall as KLD grows. *noise-limited*: the items do not even show that the quants differ.
*undetermined*: they differ, and which of the first two holds is open. A claim needs z_½ beyond `Rule.limit`, on all
quants, without those that stand apart from the line and without one that makes the line alone, and with item noise a
tenth larger than estimated; *carried* needs a slope that stands out from item noise as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from qkld.errors import StatisticsError
from qkld.statistics.items.covariance import NetNoise
from qkld.statistics.items.units import Floats
from qkld.statistics.noise.contrast_tests import TestName
from qkld.statistics.noise.explained import Explained, explained
from qkld.statistics.noise.heterogeneity import cochran_q, known_kld

Answer = Literal["noise-limited", "direction missing", "carried", "reversed", "undetermined"]
"""``reversed`` (scores rise with KLD) is given for a set of quants only; as a headline it counts as undetermined."""

CLAIMS: tuple[Answer, ...] = ("direction missing", "carried")
"""Answers that say something about KLD."""

LEAST_FOR_VERDICT = 6
"""Quants that a verdict needs: two may be set aside, and the rest still has to show a line. Error rates are simulated
from this number on."""


@dataclass(frozen=True)
class Rule:
    """The constants of the verdict, as calibrated.

    ``half`` R²_true that parts missing from carried; ``limit`` of |z| (one-sided 5 %); ``level`` of Cochran's Q;
    ``outlier_level`` and ``most_outliers`` of the outlier step; ``guard`` times V, with which a claim has to hold too;
    ``leverage`` that a quant has on √KLD, as a share of all quants', from which the verdict has to hold without it;
    ``inflation`` of V in the check on too small a noise, which is printed beside the headline.

    With half of the leverage one quant has more than all others together. Asking the same of the largest leverage
    whatever it is would cost a tenth of the power at 12 quants (.72 to .64 in W1, .81 to .70 in W2 at 4,000 items); so
    it costs .01.

    The guard is there because noise that is stated too small makes claims of nothing: `validation.calibration` counts
    them where true variances are ``inflation`` times V.
    """

    half: float = 0.5
    limit: float = 1.645
    level: float = 0.05
    outlier_level: float = 0.01
    most_outliers: int = 2
    guard: float = 1.1
    leverage: float = 0.5
    inflation: float = 1.3


RULE = Rule()


@dataclass(frozen=True)
class Reading:
    """The verdict on one set of quants with the numbers behind it."""

    answer: Answer
    z: float
    slope_z: float
    r2: float
    r2_low: float
    r2_high: float
    cochran_q: float
    cochran_p: float
    cochran_test: TestName | Literal[""]


NO_READING = Reading("undetermined", *[np.nan] * 7, "")
"""Of quants that allow no verdict: all of one KLD, or that no item tells apart."""


@dataclass(frozen=True)
class Verdict:
    """The headline with the readings it rests on, the quants set aside, and the one with the largest leverage.

    ``leading`` is that quant, ``leverage`` its share of all quants' on √KLD, and ``without_leading`` the verdict on the
    others.
    """

    answer: Answer
    all_quants: Reading
    without_set_aside: Reading
    inflated: Answer
    set_aside: tuple[str, ...]
    leading: str
    leverage: float
    without_leading: Answer
    rule: Rule

    @property
    def rests_on(self) -> tuple[str, ...]:
        """Quants without which the verdict on all of them would be another, so that none is given."""
        found = self.set_aside if self.all_quants.answer != self.without_set_aside.answer else ()
        leads = self.leverage >= self.rule.leverage and self.without_leading != self.all_quants.answer
        return (*found, self.leading) if leads and self.leading not in found else found

    @property
    def note(self) -> str:
        """What the headline rests on, where that is not plain."""
        on_all, notes = self.all_quants.answer, []
        if on_all != self.without_set_aside.answer:
            rest = ", ".join(self.set_aside)
            notes.append(f"rests on {rest}: {self.without_set_aside.answer} without, {on_all} with")
        if self.leading in self.rests_on and self.leading not in self.set_aside:
            notes.append(f"rests on {self.leading}: {self.without_leading} without, {on_all} with")
        elif self.answer in CLAIMS and self.without_leading != self.answer:
            notes.append(
                f"{self.without_leading} without {self.leading}, which has {self.leverage:.0%} of the leverage"
            )
        if on_all in CLAIMS and self.answer not in CLAIMS and not self.rests_on:
            notes.append(f"{on_all} but for {self.rule.guard:g} times the item noise")
        if self.all_quants.answer == "reversed":
            notes.append("reversed: scores rise with KLD")
        if self.inflated != self.answer:
            notes.append(f"{self.inflated} if item noise is {self.rule.inflation:g} times as large")
        return " | ".join(notes)


def decide(noise: NetNoise, kld: ArrayLike, rule: Rule = RULE) -> tuple[Answer, Explained]:
    """The verdict on one set of quants as it stands, and the forms it came from.

    z < −limit: direction missing. z > limit and a slope beyond ± limit standard errors: carried where it falls,
    reversed where it rises. Else noise-limited where Cochran's Q of equal quants has p ≥ level, undetermined where not.

    That the slope stands out by itself costs no power. Without it, item noise stated too large would turn into claims:
    scores nearer each other than V allows have T_½ = −tr(A_½V) > 0 however KLD lies.
    """
    equal, forms = cochran_q(noise), explained(noise, np.asarray(kld))
    equal.check_noise()
    z = float(forms.z(rule.half))
    if z < -rule.limit:
        return "direction missing", forms
    if z > rule.limit and abs(forms.slope_z) > rule.limit:
        return ("carried" if forms.slope < 0 else "reversed"), forms
    return ("noise-limited" if equal.p >= rule.level else "undetermined"), forms


def reading(noise: NetNoise, kld: ArrayLike, rule: Rule = RULE) -> Reading:
    """`decide` with its numbers: z_½, the slope's z, R²_true with the 90 % interval that matches, Cochran's Q."""
    answer, forms = decide(noise, kld, rule)
    equal = cochran_q(noise).tested
    low, high = forms.interval(rule.limit)
    return Reading(
        answer=answer,
        z=float(forms.z(rule.half)),
        slope_z=forms.slope_z,
        r2=forms.estimate,
        r2_low=low,
        r2_high=high,
        cochran_q=equal.statistic,
        cochran_p=equal.p,
        cochran_test=equal.test,
    )


# --- quants that stand apart ------------------------------------------------------------------------------------------


def studentised_residuals(y: Floats, x: Floats) -> Floats:
    """|Externally studentised residual| of each y on an intercept and x, ordinary least squares; t on n − 3."""
    n, centred = y.size, x - x.mean()
    spread = centred @ centred
    if n < 4 or spread == 0:
        return np.zeros(n)
    leverage = 1 / n + centred**2 / spread
    residual = y - y.mean() - centred * (centred @ y) / spread
    free = np.maximum(1 - leverage, 1e-12)
    rest = np.sqrt(np.maximum(residual @ residual - residual**2 / free, 0.0) / (n - 3) * free)
    return np.divide(np.abs(residual), rest, out=np.where(residual == 0, 0.0, np.inf), where=rest > 0)


def outlying(net: ArrayLike, kld: ArrayLike, rule: Rule = RULE) -> np.ndarray:
    """Indices of quants that stand apart from the line in √KLD, ascending.

    Generalised ESD (Rosner 1983) on externally studentised residuals: the largest is taken away, then the next; the
    last step beyond t_(n−3; α/2n) says how many stand apart, so that two cannot hide each other.
    """
    y, x = np.asarray(net, dtype=float), np.sqrt(known_kld(kld))
    left, order, found = np.arange(y.size), [], 0
    for step in range(rule.most_outliers):
        if left.size < 5:
            break
        t = studentised_residuals(y[left], x[left])
        largest = int(t.argmax())
        order.append(left[largest])
        if t[largest] > special.stdtrit(left.size - 3, 1 - rule.outlier_level / (2 * left.size)):
            found = step + 1
        left = np.delete(left, largest)
    return np.sort(np.array(order[:found], dtype=int))


# --- the headline -----------------------------------------------------------------------------------------------------


def leading(kld: ArrayLike) -> tuple[int, float]:
    """The quant of the largest leverage on √KLD, and its share of all quants': (√k − mean)² over the sum of these."""
    root = np.sqrt(np.asarray(kld, dtype=float))
    away = (root - root.mean()) ** 2
    first = int(np.argmax(away))
    return first, float(away[first] / away.sum()) if away.sum() > 0 else 0.0


def headline(noise: NetNoise, kld: ArrayLike, rule: Rule = RULE) -> tuple[Answer, Answer, Answer, np.ndarray]:
    """Headline, verdict on all quants, verdict without those set aside, and their indices.

    The headline is the verdict on which both agree, with a quant that has ``rule.leverage`` also the verdict without
    it, and where it is a claim also with ``rule.guard`` times the item noise; else undetermined. ``reversed`` counts as
    undetermined.

    Raises
    ------
    StatisticsError
        With fewer than `LEAST_FOR_VERDICT` quants, or as `explained`.
    """
    k = known_kld(kld)
    _refuse_few(k.size, len(noise.labels))
    aside = outlying(noise.net, k, rule)
    answers = _answers(noise, k, aside, rule)
    agreed = _agreed(answers)
    if agreed in CLAIMS and _agreed(_answers(noise.noisier(rule.guard), k, aside, rule)) != agreed:
        agreed = "undetermined"
    return agreed, answers[0], answers[1], aside


def _answers(noise: NetNoise, kld: Floats, aside: np.ndarray, rule: Rule) -> list[Answer]:
    """The verdict on all quants, on those that are not set aside, and without one that has ``rule.leverage``."""
    on_all = decide(noise, kld, rule)[0]
    answers = [on_all, without(noise, kld, aside, rule) if aside.size else on_all]
    first, share = leading(kld)
    return [*answers, without(noise, kld, np.array([first]), rule)] if share >= rule.leverage else answers


def _others(noise: NetNoise, kld: Floats, left_out: np.ndarray) -> tuple[NetNoise, Floats]:
    """All quants but some, given by index."""
    kept = np.setdiff1d(np.arange(kld.size), left_out)
    return noise.of([noise.labels[i] for i in kept]), kld[kept]


def without(noise: NetNoise, kld: Floats, left_out: np.ndarray, rule: Rule = RULE) -> Answer:
    """The verdict without some quants, given by index; undetermined where the others allow none."""
    try:
        return decide(*_others(noise, kld, left_out), rule)[0]
    except StatisticsError:
        return NO_READING.answer


def reading_without(noise: NetNoise, kld: Floats, left_out: np.ndarray, rule: Rule = RULE) -> Reading:
    """`reading` without some quants, given by index; `NO_READING` where the others allow none."""
    try:
        return reading(*_others(noise, kld, left_out), rule)
    except StatisticsError:
        return NO_READING


def _agreed(answers: Sequence[Answer]) -> Answer:
    return answers[0] if len(set(answers)) == 1 and answers[0] != "reversed" else "undetermined"


def with_more_noise(noise: NetNoise, kld: ArrayLike, rule: Rule = RULE) -> Answer:
    """The verdict if item noise were ``rule.inflation`` times as large; no guard comes on top."""
    return headline(noise.noisier(rule.inflation), kld, replace(rule, guard=1.0))[0]


def verdict(noise: NetNoise, kld: ArrayLike, rule: Rule = RULE) -> Verdict:
    """Noise-limited, direction missing, carried or undetermined, with everything behind it.

    Parameters
    ----------
    noise
        Net scores of the quants and their item noise, which holds what an engine changes from run to run.
    kld : shape (quants,)
        In nats, in the order of ``noise.labels``; 0 is allowed.
    rule
        The constants; the default is what the error rates were simulated for.

    Raises
    ------
    StatisticsError
        With fewer than `LEAST_FOR_VERDICT` quants, constant, missing or negative KLD, or no item noise.
    """
    k = known_kld(kld)
    answer, _, _, aside = headline(noise, k, rule)
    first, share = leading(k)
    return Verdict(
        answer=answer,
        all_quants=reading(noise, k, rule),
        without_set_aside=reading_without(noise, k, aside, rule),
        inflated=with_more_noise(noise, k, rule),
        set_aside=tuple(noise.labels[i] for i in aside),
        leading=noise.labels[first],
        leverage=share,
        without_leading=without(noise, k, np.array([first]), rule),
        rule=rule,
    )


def _refuse_few(kld: int, quants: int) -> None:
    if kld != quants or quants < LEAST_FOR_VERDICT:
        raise StatisticsError(
            "Too few quants for a verdict.",
            expected=f"at least {LEAST_FOR_VERDICT} quants with items and KLD",
            found=f"{quants} with items, {kld} with KLD",
            do="measure more quants, or widen the subset",
        )


# --- how many items would settle it -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ItemsToSettle:
    """Items, of the same kind and mix, after which a verdict is expected with the given power.

    ``estimate`` takes the estimated true scores as true; NaN where no true difference is seen. ``at_least`` takes
    R²_true as far from ½ as the data allow: fewer items than that cannot be expected to do.
    ``toward`` is the verdict that the estimate points to.
    """

    estimate: float
    at_least: float
    toward: str


def _factor(contrast: float, forms: Explained, half: float, reach: float) -> float:
    """Times as many items m with |T_c| = reach · √(2 tr/m² + 4 s/m): item noise falls as 1/m. inf at T_c = 0."""
    noise, signal = (float(v) for v in forms.variance_terms(half))
    if contrast == 0:
        return np.inf
    b, c = signal * reach**2, noise * reach**2
    return float((b + np.sqrt(b**2 + 4 * contrast**2 * c)) / (2 * contrast**2))


def items_to_settle(noise: NetNoise, kld: ArrayLike, *, power: float = 0.8, rule: Rule = RULE) -> ItemsToSettle:
    """Items with which |z_½| passes its limit with the given power, from the variance of T_½ at m times the items.

    Normal approximation, unequal mixes and quants set aside left out: an order of magnitude to plan with.
    """
    forms = explained(noise, np.asarray(kld))
    reach = rule.limit + float(stats.norm.ppf(power))
    seen = float(forms.contrast(rule.half))
    error = float(np.sqrt(np.sum(forms.variance_terms(rule.half))))
    farthest = abs(seen) + rule.limit * error
    at_least = np.ceil(noise.items * _factor(farthest, forms, rule.half, reach))
    if not forms.total > 0:
        return ItemsToSettle(np.nan, float(at_least), "")
    toward = "direction missing" if seen < 0 else "carried" if forms.slope < 0 else "reversed"
    return ItemsToSettle(float(np.ceil(noise.items * _factor(seen, forms, rule.half, reach))), float(at_least), toward)
