"""Per-token divergence of two models in one walk over the vocabulary, or two on request."""

from qkld.divergence.per_token import token_divergence
from qkld.divergence.quantities import TokenDivergence
from qkld.divergence.sources import FullLogits, HeadLogits, LogitSource

__all__ = ["FullLogits", "HeadLogits", "LogitSource", "TokenDivergence", "token_divergence"]
