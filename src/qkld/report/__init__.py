"""Results for people: figures, tables as text, sentences, reports, model cards, and all of `qkld analyse`."""

from qkld.analysis.own_table.answers_by_item import Reading
from qkld.analysis.own_table.measure import Columns
from qkld.analysis.own_table.zone_and_item_counts import parse_item_counts, parse_zone
from qkld.report.own_table.answer_in_words import lines_of
from qkld.report.own_table.run import PAPER, analyse_table
from qkld.report.published import analyse_published

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
