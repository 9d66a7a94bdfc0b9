"""Row 7: the way to the first window in a fresh process, over what an earlier commit took."""

from __future__ import annotations

import pytest

from qkld.errors import QkldError
from validation.bench import opening_row
from validation.bench.machine import Machine
from validation.bench.opening_row import NOTEBOOKS, Opening, before_on, limit_seconds, opening_of

MACHINE = Machine("Some CPU", 8, 1, False, 10e9, 100e9, 5e9, 1e9)


def test_the_row_is_the_processors_time_over_the_recorded_one(monkeypatch):
    monkeypatch.setattr(opening_row, "opening_of", lambda stage, rounds: Opening(9.0, 5.0, 4.0))
    monkeypatch.setattr(opening_row, "before_on", lambda processor: {"02_quant_kld": 8.0})
    monkeypatch.setattr(opening_row, "limit_seconds", lambda machine: 0.1)
    seconds, ratio, _, unknown = opening_row.opening_row(MACHINE)
    assert (seconds.value, seconds.gap) == (4.0, pytest.approx(40))
    assert (ratio.value, ratio.is_met) == (0.5, True)
    assert (unknown.value, unknown.is_met) == (None, None)
    assert "not timed on Some CPU" in unknown.note


def test_commit_6b8000d_was_timed_for_both_notebooks():
    assert set(before_on("AMD EPYC")) == set(NOTEBOOKS)
    assert before_on("another") == {}


@pytest.mark.model
@pytest.mark.parametrize("stage", NOTEBOOKS)
def test_a_fresh_process_opens_the_reference(stage):
    found = opening_of(stage, rounds=1)
    assert 0 < found.imports < found.whole
    assert found.processor > 1
    assert 0 < limit_seconds(MACHINE) < found.processor


def test_a_process_that_fails_says_so(monkeypatch):
    monkeypatch.setattr(opening_row, "STUDY", "no-such-study")
    with pytest.raises(QkldError, match="benchmark of opening for 02_quant_kld failed"):
        opening_of("02_quant_kld", rounds=1)
