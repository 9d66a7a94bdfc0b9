"""Cheap metrics of a quant that may carry direction, beside those that can only carry volume.

A KL divergence has no sign: it says how far answers move, and not whether towards the right one. A metric that knows
the right answer has one. For a small perturbation of the margin of answers with density h at the boundary, the score
moves by h(0)·μ, and the mean shift μ of all margins is measured from every item, not from the few that flip: at a flip
rate of 3 % one margin is worth some twenty graded items. Whether that holds on real items is what is tried here.

Every metric is turned so that more of it promises a better score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr

from qkld.errors import StatisticsError

WIDTH = 0.5
"""Half-width of the boundary and of the soft step, in standard deviations of the reference's margins."""


@dataclass(frozen=True)
class Shifts:
    """A reference and its quants on the same items of one task.

    Attributes
    ----------
    right : bool, shape (items, quants)
    reference_right : bool, shape (items,)
    quants : column of the item table → (items, quants)
    reference : column → (items,); divergences, which a reference has not, are NaN
    """

    right: np.ndarray
    reference_right: np.ndarray
    quants: Mapping[str, np.ndarray]
    reference: Mapping[str, np.ndarray]

    def of(self, items: np.ndarray) -> Shifts:
        """The same for some of the items, by a mask or by numbers."""
        return replace(
            self,
            right=self.right[items],
            reference_right=self.reference_right[items],
            quants={name: values[items] for name, values in self.quants.items()},
            reference={name: values[items] for name, values in self.reference.items()},
        )

    def shift(self, column: str) -> np.ndarray:
        """Quant less reference, (items, quants)."""
        return self.quants[column] - self.reference[column][:, None]

    @property
    def net(self) -> np.ndarray:
        """Score less the reference's, a fraction of 1, (quants,)."""
        return self.right.mean(axis=0) - self.reference_right.mean()


# --- parts of definitions ---------------------------------------------------------------------------------------------


def margin_width(shifts: Shifts) -> float:
    """`WIDTH` standard deviations of the reference's margins, nats: b of the boundary's weights, τ of the soft step.

    Raises
    ------
    StatisticsError
        If all margins are equal.
    """
    spread = float(shifts.reference["margin"].std())
    if not spread > 0:
        raise StatisticsError(
            "The reference's margins do not vary.",
            expected="margins of items that differ in difficulty",
            found=f"standard deviation {spread:g} over {shifts.reference['margin'].size} items",
            do="use more items",
        )
    return WIDTH * spread


def boundary_weights(shifts: Shifts) -> np.ndarray:
    """exp(−½ (m_r/b)²) of each item, m_r its margin under the reference: 1 where an answer is about to flip."""
    return np.exp(-0.5 * (shifts.reference["margin"] / margin_width(shifts)) ** 2)


def _over_spread(margins: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Φ(margin/spread); a step where a quant moves all margins alike, so that the spread is 0."""
    margins, spread = np.broadcast_arrays(margins, spread)
    steps = np.where(margins == 0, 0.0, np.copysign(np.inf, margins))
    return ndtr(np.divide(margins, spread, out=steps, where=spread > 0))


# --- signed by the right answers: direction ---------------------------------------------------------------------------


def margin_shift(shifts: Shifts) -> np.ndarray:
    """Drift μ: mean of Δ, the margin (ln p of the right choice less the best wrong one) less the reference's, nats."""
    return shifts.shift("margin").mean(axis=0)


def boundary_shift(shifts: Shifts) -> np.ndarray:
    """Σ w Δ / Σ w with `boundary_weights`, nats: only items near the boundary can flip."""
    weights = boundary_weights(shifts)
    return weights @ shifts.shift("margin") / weights.sum()


def soft_accuracy(shifts: Shifts) -> np.ndarray:
    """Mean of Φ(m_q/τ) − Φ(m_r/τ), a fraction of 1: the score with a soft step in place of right or wrong."""
    width = margin_width(shifts)
    return (ndtr(shifts.quants["margin"] / width) - ndtr(shifts.reference["margin"] / width)[:, None]).mean(axis=0)


def expected_net(shifts: Shifts) -> np.ndarray:
    """Mean of Φ((m_r + μ)/s) − 1(m_r > 0), s the standard deviation of Δ: the net of a margin model.

    It holds the drift μ and the loss that spread alone brings where more margins lie above 0 than below.
    """
    delta, reference = shifts.shift("margin"), shifts.reference["margin"][:, None]
    return (_over_spread(reference + delta.mean(axis=0), delta.std(axis=0)) - (reference > 0)).mean(axis=0)


def gold_sign(shifts: Shifts) -> np.ndarray:
    """Sign of the change of ln p of the right answer, (items, quants): of ``logp_right``, else of the margin."""
    return np.sign(shifts.shift("logp_right" if "logp_right" in shifts.quants else "margin"))


def directional_kld(shifts: Shifts) -> np.ndarray:
    """Mean of KL⁺ − KL⁻, nats per token: KLD on the right answer's tokens, signed by `gold_sign`, item by item."""
    return (shifts.quants["kl_choice_right"] * gold_sign(shifts)).mean(axis=0)


def directional_balance(shifts: Shifts) -> np.ndarray:
    """(KL⁺ − KL⁻)/(KL⁺ + KL⁻), between −1 and 1: the direction alone; 0 for a quant that does not diverge."""
    total = shifts.quants["kl_choice_right"].mean(axis=0)
    return np.divide(directional_kld(shifts), total, out=np.zeros_like(total), where=total > 0)


def sharpening(shifts: Shifts) -> np.ndarray:
    """Mean Δ ln p of the reference's own answer, nats per token, where that is right, less the same where it is wrong.

    Above 0 the quant sharpens towards the truth. Written answers have it too.

    Raises
    ------
    StatisticsError
        If the reference has no item right, or none wrong.
    """
    known = shifts.reference_right
    if known.all() or not known.any():
        raise StatisticsError(
            "The reference's answers are all right or all wrong.",
            expected="items that the reference answers right, and items that it answers wrong",
            found=f"{int(known.sum())} of {known.size} right",
            do="use more items",
        )
    moved = shifts.shift("logp_reference_answer")
    return moved[known].mean(axis=0) - moved[~known].mean(axis=0)


def net(shifts: Shifts) -> np.ndarray:
    """Score less the reference's on these items: what the others have to beat as predictors of the same on others."""
    return shifts.net


# --- unsigned: volume -------------------------------------------------------------------------------------------------


def expected_flips(shifts: Shifts) -> np.ndarray:
    """−mean of Φ(−|m_r|/s), s the standard deviation of Δ: the flip rate of a margin model without drift."""
    margin = np.abs(shifts.reference["margin"])[:, None]
    return -_over_spread(-margin, shifts.shift("margin").std(axis=0)).mean(axis=0)


def flips(shifts: Shifts) -> np.ndarray:
    """−share of items on which the quant and the reference differ in being right."""
    return -(shifts.right != shifts.reference_right[:, None]).mean(axis=0)


def mean_of(column: str) -> Callable[[Shifts], np.ndarray]:
    """−mean over items of a divergence, nats."""
    return lambda shifts: -shifts.quants[column].mean(axis=0)


def boundary_mean_of(column: str) -> Callable[[Shifts], np.ndarray]:
    """−Σ w KLD / Σ w with `boundary_weights`, nats."""

    def weighted(shifts: Shifts) -> np.ndarray:
        weights = boundary_weights(shifts)
        return -(weights @ shifts.quants[column]) / weights.sum()

    return weighted


# --- all of them ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Metric:
    """One metric: its name, whether it is one of ``direction`` or ``volume``, the columns it reads, its definition."""

    name: str
    kind: str
    needs: tuple[str, ...]
    compute: Callable[[Shifts], np.ndarray]

    def missing(self, shifts: Shifts) -> list[str]:
        """Columns that these items lack."""
        return [column for column in self.needs if column not in shifts.quants]


def metrics_of(divergence: str) -> tuple[Metric, ...]:
    """Every metric, with a column of the item table as the items' KLD."""
    margin = ("margin",)
    return (
        Metric("expected_net", "direction", margin, expected_net),
        Metric("soft_accuracy", "direction", margin, soft_accuracy),
        Metric("margin_shift", "direction", margin, margin_shift),
        Metric("boundary_shift", "direction", margin, boundary_shift),
        Metric("directional_kld", "direction", ("kl_choice_right", *margin), directional_kld),
        Metric("directional_balance", "direction", ("kl_choice_right", *margin), directional_balance),
        Metric("sharpening", "direction", ("logp_reference_answer",), sharpening),
        Metric("net", "direction", (), net),
        Metric("item_kld", "volume", (divergence,), mean_of(divergence)),
        Metric("boundary_kld", "volume", (divergence, *margin), boundary_mean_of(divergence)),
        Metric("options_kld", "volume", ("kl_options",), mean_of("kl_options")),
        Metric("expected_flips", "volume", margin, expected_flips),
        Metric("flips", "volume", (), flips),
    )


COLUMNS = ("margin", "logp_right", "logp_reference_answer", "kl_choice_right", "kl_options")
"""Columns of the item table that the metrics read, beside the items' KLD."""
