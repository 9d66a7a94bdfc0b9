"""Per-token divergence of two models in one walk over the vocabulary, or two on request."""

from qkld.divergence.logit_sources import FullLogits, HeadLogits, LogitSource
from qkld.divergence.per_token import token_divergence
from qkld.divergence.quantities import TokenDivergence

__all__ = ["FullLogits", "HeadLogits", "LogitSource", "TokenDivergence", "token_divergence"]
