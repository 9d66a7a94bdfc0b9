"""`qkld analyse`: anybody's table of quants, and their benchmark items where there are any, without torch."""

from qkld.analyse.answer import lines_of
from qkld.analyse.items import Reading
from qkld.analyse.measure import Columns
from qkld.analyse.published import analyse_published
from qkld.analyse.request import parse_item_counts, parse_zone
from qkld.analyse.run import PAPER, analyse_table

__all__ = [
    "PAPER",
    "Columns",
    "Reading",
    "analyse_published",
    "analyse_table",
    "lines_of",
    "parse_item_counts",
    "parse_zone",
]
