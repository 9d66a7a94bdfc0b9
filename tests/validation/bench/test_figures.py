"""What the benchmarks report: verdicts, gaps, tables, and what they say of a machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from validation.bench.figures import Figure, bench_tables, figure_row, machine_text, with_unit
from validation.bench.machine import Machine

MACHINE = Machine("Some CPU", 8, 2, False, 10e9, 100e9, 5e9, 1e9)


def test_a_figure_knows_its_gap_and_its_verdict():
    met = Figure(1, "x", 1.2, limit=1.0, target=1.25)
    assert (met.gap, met.is_met) == (1.2, True)
    assert replace(met, value=1.3).is_met is False
    assert replace(met, value=1.25).is_met is True  # at most


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"target": None}, ""),
        ({"applies": False}, "not judged here"),
        ({"value": None}, "not measured"),
        ({}, "met"),
        ({"value": 9.0}, "**missed**"),
        ({"value": 9.0, "limit": 1.5}, "**missed**"),
        ({"value": 9.0, "limit": 3.0}, "**missed**, beyond the limit here"),
    ],
)
def test_the_table_says_of_every_target_what_became_of_it(changes, said):
    figure = replace(Figure(1, "x", 1.0, target=2.0), **changes)
    assert figure_row(figure)[-1] == said


def test_a_figure_without_a_limit_has_no_gap():
    assert Figure(1, "x", 1.0).gap is None
    assert figure_row(Figure(1, "x", 1.0, "MB")) == ("x", "1.00 MB", "", "", "", "")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "B", ""),
        (98312.0, "B", "98,312 B"),
        (0.5, "×", "0.50×"),
        (0.00474, "×", "0.00474×"),
        (12.345, "s", "12.3 s"),
    ],
)
def test_numbers_are_short(value, unit, text):
    assert with_unit(value, unit) == text


def test_every_row_has_its_table_with_its_limits_formula_and_notes_once():
    figures = [
        Figure(3, "time", 0.5, limit=0.4, limit_formula="two products", target=0.7, note="A note."),
        Figure(3, "memory", 0.05, note="A note."),
        Figure(5, "line", 1.0, "%"),
    ]
    text = bench_tables(MACHINE, figures)
    assert text.index("**3. The walk") < text.index("**5. Time against tokens")
    assert "**1." not in text
    assert text.count("A note.") == text.count("Limit: two products.") == 1
    assert "| time | 0.50× | 0.40× | 1.25× | ≤ 0.70× | met |" in text


def test_a_processor_without_bfloat16_units_is_said_to_have_none():
    assert "has no bfloat16 units" in machine_text(MACHINE)
    assert "has no bfloat16 units" not in machine_text(replace(MACHINE, has_native_bf16=True))


def test_a_figure_becomes_json_with_gap_and_verdict():
    assert Figure(2, "x", None, target=0.7, note="not built").as_json() == {
        "row": 2, "what": "x", "value": None, "unit": "×", "limit": None, "limit_formula": "", "target": 0.7,
        "note": "not built", "applies": True, "gap": None, "is_met": None,
    }  # fmt: skip
