"""Tables in a notebook: at most ten rows, a line that says how many there are, nothing where there is none."""

from __future__ import annotations

from qkld.report.telling import LONGEST, first_rows, rows_of
from qkld.study.text_table import table_of_words


def table(rows):
    return table_of_words(("quant", "note"), tuple((f"quant-{i}", "a|b") for i in range(rows)))


def test_a_short_table_is_shown_whole():
    assert first_rows(table(LONGEST)).data == table(LONGEST).markdown()


def test_a_long_table_says_how_many_rows_it_has():
    shown = first_rows(table(LONGEST + 1)).data
    assert f"quant-{LONGEST - 1} " in shown
    assert f"quant-{LONGEST} " not in shown
    assert shown.endswith(f"The first {LONGEST} of {LONGEST + 1} rows.")


def test_a_table_without_rows_is_not_shown(simulated):
    assert first_rows(table(0)) is None
    assert rows_of("pairs", simulated.analysis("pairs").iloc[:0]) is None
    assert "Noise or missing direction" in rows_of("verdict", simulated.analysis("verdict")).data
