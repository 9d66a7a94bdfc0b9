"""Answers item by item that other tools wrote, as one table; imports without torch."""

from qkld.importing.formats import FORMATS, import_items

__all__ = ["FORMATS", "import_items"]
