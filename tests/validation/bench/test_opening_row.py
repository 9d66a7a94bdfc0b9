"""Row 7: the way to the first window in a fresh process, over what an earlier commit takes."""

from __future__ import annotations

import pytest

from qkld.errors import QkldError
from qkld.study.params import load_params
from validation.bench import opening_row
from validation.bench.machine import Machine
from validation.bench.opening_row import Opening, State, earlier, limit_seconds, openings_of, today

pytestmark = pytest.mark.long

MACHINE = Machine("Some CPU", 8, 1, False, 10e9, 100e9, 5e9, 1e9)


def openings(*seconds: float) -> list[Opening]:
    return [Opening(2 * s, s / 2, s) for s in seconds]


def test_the_row_is_the_median_of_neighbours_in_time(monkeypatch):
    """The machine is twice as slow in the second round and thrice in the third."""
    found = [openings(4.0, 8.0, 12.0), openings(8.0, 20.0, 20.0)]
    monkeypatch.setattr(State, "opening", lambda *_: None)
    monkeypatch.setattr(opening_row, "openings_of", lambda stage, states, rounds: found[: len(states)])
    monkeypatch.setattr(opening_row, "limit_seconds", lambda machine: 0.1)
    seconds, ratio, *_ = opening_row.opening_row(MACHINE)
    assert (seconds.value, seconds.gap) == (4.0, pytest.approx(40))
    assert (ratio.value, ratio.is_met) == (0.5, True)
    assert "8.0 s over 20.0 s" in ratio.what


def test_without_that_commit_nothing_is_judged(monkeypatch):
    monkeypatch.setattr(opening_row, "BEFORE", "no-such-commit")
    monkeypatch.setattr(State, "opening", lambda *_: openings(4.0)[0])
    monkeypatch.setattr(opening_row, "limit_seconds", lambda machine: 0.1)
    _, unknown, *_ = opening_row.opening_row(MACHINE)
    assert (unknown.value, unknown.is_met) == (None, None)
    assert "does not have commit no-such-commit" in unknown.note


@pytest.mark.model
def test_fresh_processes_of_both_states_open_the_reference(tmp_path):
    before = earlier(tmp_path)
    states = [state for state in (today(), before) if state is not None]
    for (found,) in openings_of("03_benchmark_scores", states, rounds=1):
        assert 0 < found.imports < found.whole
        assert found.processor > 1
        assert 0 < limit_seconds(MACHINE) < found.processor
    told = f"limit: {load_params('demo').benchmarks[0].limit}}}"
    assert before is None or told in (tmp_path / "params" / "demo.yaml").read_text()


def test_a_process_that_fails_says_so(monkeypatch):
    monkeypatch.setattr(opening_row, "STUDY", "no-such-study")
    with pytest.raises(QkldError, match="benchmark of opening for 02_quant_kld failed"):
        openings_of("02_quant_kld", [today()], rounds=1)
