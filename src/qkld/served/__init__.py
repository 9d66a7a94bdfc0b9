"""Quants that only run behind a server: their top log-probabilities, as a top-k store."""

from qkld.served.address import ServedModel, is_served, served_model
from qkld.served.asking import Asker, open_asker
from qkld.served.recording import record_served, sendable, served_header

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
