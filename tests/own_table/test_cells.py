"""Cells as people write them: what is read, what is said of it, and what has two readings."""

import pandas as pd
import pytest

from qkld.analysis.own_table.cells import Unread, decimal_sign, number_of, parse_cell
from qkld.analysis.own_table.number_columns import read_numbers
from qkld.errors import TableError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("70.1", 70.1), ("70.1%", 70.1), ("70.1 %", 70.1), ("**70.2**", 70.2), ("`0.5`", 0.5), ("<b>70.1</b>", 70.1),
        ("_70.1_", 70.1), ("[70.1](https://a.b/c)", 70.1), ("70.1*", 70.1), ("70.1†", 70.1), ("70.1¹", 70.1),
        ("70.1<sup>a</sup>", 70.1), ("70.1 [1]", 70.1), ("🥇 70.1", 70.1), ("70.1 🚀", 70.1), ("−0.3", -0.3),
        ("–0.3", -0.3), ("+0.3", 0.3), ("1.2e-3", 0.0012), ("1.2E-03", 0.0012), ("1.2×10⁻³", 0.0012),
        ("1.2 x 10^-3", 0.0012), (r"$1.2 \times 10^{-3}$", 0.0012), ("~0.01", 0.01), ("≈ 0.01", 0.01), ("8.5 GB", 8.5),
        ("8.5G", 8.5), ("4.5 bpw", 4.5), ("0.5 nats", 0.5), (".5", 0.5), (r"\textbf{70.1}", 70.1), ("70.1 ↑", 70.1),
        ("70.1 (+0.3)", 70.1), ("70.1 (99.8%)", 70.1), ("70.1 [69.5, 70.7]", 70.1), ("12/30", 0.4), ('="70.1"', 70.1),
        ("***70.1***", 70.1), ("\u200b70.1\ufeff", 70.1), ("&minus;0.3", -0.3),
    ],
)  # fmt: skip
def test_numbers_in_their_clothes(text, value):
    cell = parse_cell(text)
    assert number_of(cell.value, ".") == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    ["0.12 ± 0.01", "0.12±0.01", "0.12 +/- 0.01", "0.12 +- 0.01", "0.12 (±0.01)", r"$0.12 \pm 0.01$",
     "0.12 &plusmn; 0.01", "**0.12** ± 0.01", r"0.12_{\pm 0.01}", "0.12% ± 0.01%", "0.12 ± 0.01 %", "0.12 ± 0.01†"],
)  # fmt: skip
def test_errors_after_a_sign(text):
    cell = parse_cell(text)
    assert (cell.value, cell.error) == ("0.12", "0.01")


@pytest.mark.parametrize(
    "text",
    ["66.1 +0.9/−0.8", "66.1 (+0.9/-0.8)", "66.1 +0.9 -0.8", r"$66.1^{+0.9}_{-0.8}$", "66.1 −0.8/+0.9",
     "66.1 [-0.8, +0.9]", "66.1% +0.9%/-0.8%"],
)  # fmt: skip
def test_errors_that_differ_up_and_down_are_left_out_and_said(text):
    cell = parse_cell(text)
    assert (cell.value, cell.error) == ("66.1", None)
    assert len(cell.said) == 1
    assert "left out" in cell.said[0]


def test_a_factor_that_is_no_power_of_ten_is_no_part_of_a_number():
    with pytest.raises(Unread):
        parse_cell("5 x 1000")


@pytest.mark.parametrize(
    "text",
    ["", " ", "-", "—", "N/A", "n/a", "NaN", "null", "None", "?", "…", "OOM", "DNF", "failed", "not tested", "#N/A"],
)
def test_words_for_no_value(text):
    assert parse_cell(text) is None


@pytest.mark.parametrize(
    ("text", "readings"),
    [
        ("70.1 (0.4)", ("an error of 0.4", "another number 0.4")),
        ("70.1(4)", ("an error of 4", "another number 4")),
        ("<0.001", ("the number 0.001", "any number <0.001")),
        ("≥ 99", ("the number 99", "any number ≥ 99")),
        ("70.1 / 68.2", ("70.1", "68.2")),
        ("70 - 72", ("70", "72")),
        ("30/12", ("30", "12")),
    ],
)
def test_two_readings_are_both_named(text, readings):
    with pytest.raises(Unread) as found:
        parse_cell(text)
    assert all(part in whole for part, whole in zip(readings, found.value.readings, strict=True))


@pytest.mark.parametrize(
    "text", ["Q4_K_M", "inf", "70.1 apples", "~~70.1~~", "2^3", "n.a.!", "70.1 ± x", "0.1 ± 1 % GB"]
)
def test_what_is_no_number(text):
    with pytest.raises(Unread):
        parse_cell(text)


@pytest.mark.parametrize(
    ("text", "sign"),
    [("70.1", "."), ("70,1", ","), ("0,123", ","), ("8,500.5", "."), ("8.500,5", ","), ("1,234,567", "."),
     ("1.234.567", ","), ("1234,567", ","), ("1,234", "?"), ("1.234", "?"), ("12", None), ("8 500,5", ",")],
)  # fmt: skip
def test_what_a_number_says_of_its_decimal_sign(text, sign):
    assert decimal_sign(text) == sign


@pytest.mark.parametrize("text", ["1.2.3", "1,2,3", "12,34.5,6"])
def test_signs_where_no_reading_has_them(text):
    with pytest.raises(Unread):
        decimal_sign(text)


# --- columns ----------------------------------------------------------------------------------------------------------


def read(form="commas", **columns):
    table = pd.DataFrame(columns, dtype=object)
    return read_numbers(table, ["a"], source="t.csv", form=form)["a"]


@pytest.mark.parametrize(
    ("a", "more", "expected"),
    [
        (["1,234", "5.5"], {}, [1234, 5.5]),
        (["1,234", "5,5"], {}, [1.234, 5.5]),
        (["1.234", "5,5"], {}, [1234, 5.5]),
        (["1,234", "2,345"], {"b": ["0.1", "0.25"]}, [1234, 2345]),
        (["1.234", "2.345"], {}, [1.234, 2.345]),
        (["1\u00a0234,5", "2 345,5"], {}, [1234.5, 2345.5]),
        (["1'234", "2’345"], {}, [1234, 2345]),
        (["8.5 GB", "850 MB"], {}, [8.5e9, 8.5e8]),
        (["8.5 GB", "4 GiB"], {}, [8.5e9, 2**32]),
        (["70.1%", "69.8"], {}, [70.1, 69.8]),
        ([70.1, "69.8", None], {}, [70.1, 69.8, float("nan")]),
    ],
)
def test_a_column_decides_what_its_cells_leave_open(a, more, expected):
    assert read(a=a, **more).values.tolist() == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("a", "more", "form", "found"),
    [
        (["1,234", "2,345"], {}, "commas", r"'1,234' in a, row 1, either 1234 or 1.234"),
        (["1.234", "2.345"], {}, "semicolons", r"'1.234' in a, row 1, either 1.234 or 1234"),
        (["1,234"], {"b": ["0.5"], "c": ["0,5"]}, "semicolons", "either 1234 or 1.234"),
        (["0.5", "0,5"], {}, "commas", "'0,5' in a, row 2, either"),
        (["0.5", "0,5", "1,234"], {}, "commas", "'1,234' in a, row 3, either"),
        (["70.1%", "0.698"], {}, "commas", "'0.698' in a, row 2, either a fraction or percent"),
        (["8.5 GB", "7"], {}, "commas", "'7' in a, row 2, either gb"),
        (["8.5 GB", "4.5 bpw"], {}, "commas", "row . or . |row 2, either|row 1, either"),
        ([True, "1"], {}, "commas", "True in a, row 1"),
    ],
)
def test_cells_that_stay_open_are_refused_with_place_and_readings(a, more, form, found):
    with pytest.raises(TableError, match=found):
        read(form, a=a, **{name: (cells * len(a))[: len(a)] for name, cells in more.items()})


def test_what_was_read_is_counted():
    found = read(a=["**70.1** ± 0.4", "69.8 ± 0.4", "68.0† ± 0.4*", "67.5 (+0.2)"])
    assert found.errors.tolist()[:3] == [0.4, 0.4, 0.4]
    assert set(found.said) >= {"3 cells with '± error'", "1 cell with bold or other emphasis"}
    assert any("second number in brackets, left out" in phrase for phrase in found.said)


def test_shares_of_one_number_of_items_say_it():
    assert (read(a=["12/30", "9/30"]).items, read(a=["12/30", "9/31"]).items) == (30, None)
