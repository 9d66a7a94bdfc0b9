"""Quants that only run behind a server: their top log-probabilities, as a top-k store."""

from qkld.compare.served.address import ServedModel, is_served, served_model
from qkld.compare.served.answered import record_served, sendable, served_header
from qkld.compare.served.asking import Asker, open_asker

__all__ = [
    "Asker",
    "ServedModel",
    "is_served",
    "open_asker",
    "record_served",
    "sendable",
    "served_header",
    "served_model",
]
