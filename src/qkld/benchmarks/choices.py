"""What the log-probabilities of an item's choices say of a model beside its reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

COLUMNS = ("logp_right", "logp_reference_answer", "choice_entropy", "kl_options", "kl_answer")


def a_token(logp: float | None, tokens: int) -> float | None:
    """ln p of an answer, nats, as its mean over tokens; None where there is none."""
    return None if logp is None else float(logp) / tokens


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
    own, theirs = _log_probabilities(np.array(model, dtype=float) / divisor), _log_probabilities(reference)
    answer = int(np.argmax(reference))
    return {
        "logp_right": float(model[right]),
        "logp_reference_answer": a_token(model[answer], tokens[answer]),
        "choice_entropy": float(-(np.exp(own) * own).sum()),
        "kl_options": max(0.0, float((np.exp(theirs) * (theirs - own)).sum())),
        "kl_answer": kl[answer],
    }


def _log_probabilities(scores: np.ndarray) -> np.ndarray:
    """Scores of the choices less the logarithm of the sum of their exponentials: ln p, renormalised; (choices,).

    As ``scipy.special.log_softmax``, whose import takes longer than the items of many a benchmark.
    """
    below = scores - scores.max()
    return below - np.log(np.exp(below).sum())
