"""What the walk returns for every scored token."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from qkld.divergence.sums import RunningSums, kl_from_sums


@dataclass(frozen=True)
class TokenDivergence:
    """Quantities of one scored token each, shape (tokens,). float64, in nats; NaN where a logit is not finite.

    A token whose logit is −inf under *both* models is outside the vocabulary: it adds nothing to any sum, and the row
    is measured over the rest. Any other logit that is not finite makes the whole row missing: −inf under one model
    alone is an infinite KL in one direction, which no mean survives.

    Attributes
    ----------
    kl : KL(reference ‖ quant) = Σ p_reference · ln(p_reference / p_quant)
    kl_reverse : KL(quant ‖ reference)
    nll_reference, nll_quant : −ln p(target)
    same_top1 : bool, whether the most probable tokens are equal; False where a logit is not finite
    top5_shared : share of the reference's five most probable tokens (of all, where there are fewer) that are among the
        quant's five; on both sides the lower token id goes first among equal logits
    entropy_reference : −Σ p_reference · ln p_reference
    p_reference, p_quant : p(target)
    greedy_quant : bool, whether the target is the quant's most probable token; False where a logit is not finite
    total_variation : ½ Σ |p_reference − p_quant|; 1 − it is the expected acceptance rate of speculative decoding with
        the quant as draft (Leviathan et al. 2023, arXiv:2211.17192, theorem 3.5); None without the second walk
    jensen_shannon : ½ KL(p_reference ‖ m) + ½ KL(p_quant ‖ m) with m = (p_reference + p_quant) / 2, at most ln 2; None
        without the second walk
    """

    kl: Tensor
    kl_reverse: Tensor
    nll_reference: Tensor
    nll_quant: Tensor
    same_top1: Tensor
    top5_shared: Tensor
    entropy_reference: Tensor
    p_reference: Tensor
    p_quant: Tensor
    greedy_quant: Tensor
    total_variation: Tensor | None = None
    jensen_shannon: Tensor | None = None

    @classmethod
    def cat(cls, parts: list[TokenDivergence]) -> TokenDivergence:
        """Several blocks of tokens, one after the other; all with the second walk, or none."""
        return cls(**{name: torch.cat([getattr(part, name) for part in parts]) for name in parts[0]._measured()})

    def columns(self) -> dict[str, Tensor]:
        """Name → values, as the columns of a token table; ``greedy_quant`` is none: only benchmarks ask for it."""
        return {name: getattr(self, name).cpu() for name in self._measured() if name != "greedy_quant"}

    def _measured(self) -> list[str]:
        return [f.name for f in fields(self) if getattr(self, f.name) is not None]


def quantities(
    reference: RunningSums, quant: RunningSums, targets: Tensor, overlap: tuple[Tensor, Tensor] | None = None
) -> TokenDivergence:
    """Every quantity from the first walk's sums; ``overlap`` holds the second's two, each of shape (tokens,)."""
    kl, kl_reverse = kl_from_sums(reference, quant), kl_from_sums(quant, reference)
    finite = torch.isfinite(torch.stack([kl, kl_reverse, reference.nll, quant.nll])).all(dim=0)
    finite &= ~(reference.leaders.empty | quant.leaders.empty)
    nan = torch.full_like(kl, torch.nan)
    second = () if overlap is None else zip(("total_variation", "jensen_shannon"), overlap, strict=True)
    values = {
        "kl": kl.clamp(min=0.0),  # rounding alone goes below 0
        "kl_reverse": kl_reverse.clamp(min=0.0),
        "nll_reference": reference.nll,
        "nll_quant": quant.nll,
        "top5_shared": reference.leaders.shared_with(quant.leaders),
        "entropy_reference": reference.entropy,
        "p_reference": torch.exp(-reference.nll),
        "p_quant": torch.exp(-quant.nll),
        **dict(second),
    }
    return TokenDivergence(
        **{name: torch.where(finite, value, nan) for name, value in values.items()},
        same_top1=(reference.leaders.top == quant.leaders.top) & finite,
        greedy_quant=(quant.leaders.top == targets) & finite,
    )
