"""Answers item by item that other tools wrote, as one table; imports without torch."""

from qkld.analysis.importing.formats import FORMATS, import_items

__all__ = ["FORMATS", "import_items"]
