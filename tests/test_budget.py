"""What each part of the tests took, from pytest's own reports."""

from __future__ import annotations

import pytest
from budget import Part, lines, parts, seconds_of
from conftest import REPOSITORY

NAMED = [Part("SLURM", 0.5, ("slurm",)), Part("gate", 1, ("gate", "test_gate_action.py")), Part("unit", 1, ())]


def report(seconds: float, *keywords: str, when: str = "call") -> pytest.TestReport:
    """A report as pytest makes one: a test's keywords are its markers and the names of its file and folders."""
    return pytest.TestReport("x", ("x", 0, "x"), dict.fromkeys(keywords, 1), "passed", None, when, duration=seconds)


def test_a_test_counts_for_the_first_part_that_has_it_fixtures_and_all():
    reports = [report(20, "slurm", "test_cluster.py", when="setup"), report(30, "slurm", "gate"), report(5, "gate")]
    assert seconds_of([*reports, report(7, "test_text_table.py")], NAMED) == {"SLURM": 50, "gate": 5, "unit": 7}


def test_what_is_over_its_budget_is_named():
    told = lines({"SLURM": 50.0, "gate": 5.0, "unit": 0.0}, NAMED)
    assert [line.split() for line in told[1:3]] == [["SLURM", "0.8", "0.5"], ["gate", "0.1", "1"]]
    assert told[-1] == "over budget: SLURM"
    assert lines({"SLURM": 5.0, "gate": 5.0, "unit": 0.0}, NAMED)[-1] == "every part is within its budget"


def test_the_parts_together_leave_four_of_thirty_minutes_to_set_up():
    named = parts(REPOSITORY)
    assert sum(part.minutes for part in named) <= 2 * (30 - 4)
    assert named[-1].words == ()
