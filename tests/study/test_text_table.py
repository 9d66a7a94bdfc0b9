"""Tables of text: as Markdown and as lines."""

from qkld.study.text_table import TextTable, table_of_words

TABLE = TextTable(
    "Title", "A note.", ("model", "ρ", "why"), (("a|b", "−0.5", "few"), ("c", "12", "")), frozenset({"why"})
)


def test_a_table_becomes_markdown():
    table = TextTable("Title", "A note.", ("model", "ρ"), (("a|b", "−0.5"),))
    assert table.markdown() == "**Title.**\n\n| model | ρ |\n| --- | ---: |\n| a\\|b | −0.5 |\n\nA note."


def test_columns_of_words_are_set_left():
    assert TABLE.markdown().splitlines()[3] == "| --- | ---: | --- |"
    assert table_of_words(("a", "b"), (("1", "2"),)).markdown() == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_lines_begin_and_end_below_each_other_without_spaces_at_the_end():
    assert TABLE.lines() == ["model     ρ  why", "a|b    −0.5  few", "c        12"]
    assert table_of_words(("a", "long"), ()).lines() == ["a  long"]
