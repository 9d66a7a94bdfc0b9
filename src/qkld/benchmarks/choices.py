"""What the log-probabilities of an item's choices say of a model beside its reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qkld.statistics.items.probability import PROBABILITY, SCORES, choice_scores, log_probabilities

COLUMNS = ("logp_right", "logp_reference_answer", "choice_entropy", "kl_options", "kl_answer")
"""Columns that weigh a model's choices against the reference's."""


def a_token(logp: float | None, tokens: int) -> float | None:
    """ln p of an answer, nats, as its mean over tokens; None where there is none."""
    return None if logp is None else float(logp) / tokens


def probability_columns(model: Sequence[float], right: int, lengths: Sequence[float] | None = None) -> dict[str, Any]:
    """The probability of the right choice, and the scores of all choices that it is of, in single precision.

    Single precision is 4e-6 nats at 60. Where a choice has no finite ln p there are no scores, and the probability is
    0, as such an answer is wrong. Parameters as of `choice_columns`.
    """
    if not np.isfinite(model).all():
        return {PROBABILITY: 0.0, SCORES: None}
    scores = choice_scores(model, lengths)
    return {PROBABILITY: float(np.exp(log_probabilities(scores)[right])), SCORES: scores.astype(np.float32)}


def choice_columns(
    model: Sequence[float],
    nll_reference: Sequence[float | None],
    kl: Sequence[float | None],
    tokens: Sequence[int],
    right: int,
    lengths: Sequence[float] | None = None,
) -> dict[str, float | None]:
    """Columns of the item table that weigh the choices against each other; all None where a choice has no finite ln p.

    Parameters
    ----------
    model : ln p of each choice under the model, nats, NaN where it is not known
    nll_reference : mean −ln p of each choice's tokens under the reference, nats
    kl : mean KL(reference ‖ model) over each choice's tokens, nats
    tokens : tokens of each choice
    right : the right choice
    lengths : what the metric divides each choice's ln p by, its characters for ``acc_norm``; None for ``acc``

    Returns
    -------
    dict
        ``logp_right``: the model's ln p of the right choice; ``logp_reference_answer``: its mean ln p over the tokens
        of the reference's own choice, and ``kl_answer``: ``kl`` of that one; ``choice_entropy`` of its probabilities of
        the choices, and ``kl_options``: KL(reference ‖ model) of those, both renormalised to the choices, nats. The
        reference's choice and these probabilities are by the metric's ln p, divided by ``lengths``.
    """
    if None in nll_reference or not np.isfinite(model).all():
        return dict.fromkeys(COLUMNS)
    divisor = np.ones(len(model)) if lengths is None else np.array(lengths, dtype=float)
    reference = -np.array(nll_reference, dtype=float) * np.array(tokens) / divisor
    own, theirs = log_probabilities(np.array(model, dtype=float) / divisor), log_probabilities(reference)
    answer = int(np.argmax(reference))
    return {
        "logp_right": float(model[right]),
        "logp_reference_answer": a_token(model[answer], tokens[answer]),
        "choice_entropy": float(-(np.exp(own) * own).sum()),
        "kl_options": max(0.0, float((np.exp(theirs) * (theirs - own)).sum())),
        "kl_answer": kl[answer],
    }
