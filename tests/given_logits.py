"""Pairs of logits, and what is to be found for them: every quantity by its definition in float64."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor, Tensor]
"""The reference's logits, the quant's, and the true tokens."""


def definition(reference: Tensor, quant: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Every quantity from full log-probabilities in float64."""
    log_p, log_q = reference.double().log_softmax(-1), quant.double().log_softmax(-1)
    p, q = log_p.exp(), log_q.exp()
    rows = torch.arange(len(targets))
    return {
        "kl": (p * (log_p - log_q)).sum(-1),
        "kl_reverse": (q * (log_q - log_p)).sum(-1),
        "nll_reference": -log_p[rows, targets],
        "nll_quant": -log_q[rows, targets],
        "same_top1": p.argmax(-1) == q.argmax(-1),
        "entropy_reference": -(p * log_p).sum(-1),
        "p_reference": p[rows, targets],
        "p_quant": q[rows, targets],
    }


def peaked(tokens: int, vocabulary: int, noise: float) -> Pair:
    """Logits of language-model shape and their disturbed copies."""
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(tokens, vocabulary, generator=generator) * 3
    quant = reference + noise * torch.randn(tokens, vocabulary, generator=generator)
    return reference, quant, torch.randint(vocabulary, (tokens,), generator=generator)


def with_divergence(kl: float, vocabulary: int, dtype: torch.dtype, offset: float) -> Pair:
    """Two rows whose KL is within a factor of two of ``kl``, the reference's lifted by ``offset``, the quant's lowered.

    Logits are quarters below 64 in magnitude, which every dtype holds exactly, so that rounding to 16 bits does not
    drown a small divergence. All of it comes from one token: of probability p and raised by d,
    KL = ln(1 + p (e^d − 1)) − p d.
    """
    p, rise = (kl / 0.718, 1.0) if kl <= 0.1 else (0.1, 3.0 if kl < 3 else 13.25)
    generator = torch.Generator().manual_seed(1)
    reference = (torch.randn(2, vocabulary, generator=generator).clamp(-4, 4) * 4).round() / 4
    reference[:, -1] = -torch.inf
    log_rest = reference.double().logsumexp(-1) + math.log(p / (1 - p))
    reference[:, -1] = (log_rest * 4).round().float() / 4
    quant = reference.clone()
    quant[:, -1] += rise
    targets = torch.tensor([0, vocabulary - 1])
    return (reference + offset).to(dtype), (quant - offset).to(dtype), targets


def allowed_error(kl: Tensor) -> Tensor:
    """What a KL from given logits may err by against float64, in nats: 1e-6 relative and absolute, 1e-7 below 1e-5."""
    return torch.where(kl < 1e-5, 1e-7, 1e-6 + 1e-6 * kl)
