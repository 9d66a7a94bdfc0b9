"""Opening a reference or a quant as one thing, whatever its family."""

from qkld.models.opened import OpenedModel
from qkld.models.opening import open_model

__all__ = ["OpenedModel", "open_model"]
