"""Running sums over the vocabulary, from which every quantity of the first walk follows.

Online softmax (Milakov & Gimelshein 2018, arXiv:1805.02867), here for two distributions at once: weights are
exp(logit − running maximum), and every sum fades when the maximum rises.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qkld.divergence.leaders import Leaders

MASKED = -1e300
"""Stands for −inf where both models exclude a token: its weight beside any real logit is exactly 0, as −inf's is, and
products and differences with it stay finite."""


@dataclass
class RunningSums:
    """One distribution over the tiles seen so far, every tensor of shape (tokens,) and float64.

    Attributes
    ----------
    maximum : largest logit
    weight : Σ exp(logit − maximum)
    weighted_logit : Σ exp(logit − maximum) · logit
    weighted_gap : Σ exp(logit − maximum) · (logit − the other model's logit)
    target : logit of the true token
    leaders : the five largest logits; filled before `add` takes the same tile, whose maximum they hold
    """

    maximum: Tensor
    weight: Tensor
    weighted_logit: Tensor
    weighted_gap: Tensor
    target: Tensor
    leaders: Leaders

    @classmethod
    def none(cls, tokens: int, device: torch.device) -> RunningSums:
        """Before the first tile."""
        maximum, weight, weighted_logit, weighted_gap, target = (
            torch.full((tokens,), value, dtype=torch.float64, device=device)
            for value in (MASKED, 0.0, 0.0, 0.0, torch.nan)
        )
        return cls(maximum, weight, weighted_logit, weighted_gap, target, Leaders.none(tokens, device))

    def add(self, rows: slice, maximum: Tensor, weight: Tensor, weighted_logit: Tensor, weighted_gap: Tensor) -> None:
        """Take in a tile's own sums for some rows, shape (rows,) each, with ``maximum`` the largest logit so far."""
        fade = torch.exp(self.maximum[rows] - maximum)
        self.weight[rows] = self.weight[rows] * fade + weight
        self.weighted_logit[rows] = self.weighted_logit[rows] * fade + weighted_logit
        self.weighted_gap[rows] = self.weighted_gap[rows] * fade + weighted_gap
        self.maximum[rows] = maximum

    @property
    def log_normaliser(self) -> Tensor:
        """ln Σ exp(logit)."""
        return self.maximum + torch.log(self.weight)

    @property
    def entropy(self) -> Tensor:
        """−Σ p · ln p, nats."""
        return self.log_normaliser - self.weighted_logit / self.weight

    @property
    def nll(self) -> Tensor:
        """−ln p(true token), nats."""
        return self.log_normaliser - self.target


def kl_from_sums(own: RunningSums, other: RunningSums) -> Tensor:
    """KL(own ‖ other) = Σ p_own · (logit_own − logit_other) − (ln Z_own − ln Z_other), nats, shape (tokens,).

    As computed: rounding can leave it some 1e-14 below 0.
    """
    return own.weighted_gap / own.weight - (own.log_normaliser - other.log_normaliser)
