"""Per-token divergence of two models in one walk over the vocabulary, or two on request."""

from qkld.divergence.quantities import TokenDivergence
from qkld.divergence.sources import FullLogits, HeadLogits, LogitSource
from qkld.divergence.walk import token_divergence

__all__ = ["FullLogits", "HeadLogits", "LogitSource", "TokenDivergence", "token_divergence"]
