"""Rates of a machine, and the peak of a process's memory."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from validation.bench.machine import (
    Machine,
    best_seconds,
    copy_rate,
    exp_rate,
    processor_name,
    product_rate,
    seconds_of,
)
from validation.bench.memory import peak_memory, resident_bytes

MACHINE = Machine("Some CPU", 8, 2, False, 10e9, 100e9, 5e9, 1e9)


def test_times_are_work_over_rates():
    assert MACHINE.product_seconds(512, 576, 49_152, torch.float32) == pytest.approx(2 * 512 * 576 * 49_152 / 100e9)
    assert MACHINE.product_seconds(512, 576, 49_152, torch.bfloat16) == pytest.approx(2 * 512 * 576 * 49_152 / 5e9)
    assert MACHINE.copy_seconds(5e9) == pytest.approx(0.5)
    assert MACHINE.exp_seconds(3e9) == pytest.approx(3.0)


def test_rates_are_those_of_a_computer():
    assert 1e7 < copy_rate(1 << 20) < 1e13
    assert 1e7 < product_rate(torch.float32, 64) < 1e14
    assert 1e5 < product_rate(torch.bfloat16, 32) < 1e14
    assert 1e6 < exp_rate(1 << 10) < 1e12


def test_the_first_call_is_not_counted():
    calls: list[int] = []
    assert best_seconds(lambda: calls.append(1), repeats=3) >= 0.0
    assert len(calls) == 4
    assert seconds_of(lambda: calls.append(1)) >= 0.0


def test_the_processor_has_a_name(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n")
    assert processor_name(file) == "Some CPU @ 2 GHz"
    assert processor_name(tmp_path / "none")


def test_memory_that_was_given_back_still_counts_as_the_peak():
    extra, after = map(int, in_a_fresh_process(GIVEN_BACK).split())
    assert 60e6 < extra < 120e6
    assert after < 30e6


def test_the_peak_is_never_below_what_was_there_before():
    with peak_memory() as peak:
        pass
    assert 0 < peak.before <= peak.highest
    assert resident_bytes() > 0


GIVEN_BACK = """
from validation.bench.memory import peak_memory
with peak_memory() as peak:
    block = bytearray(64 << 20)
    del block
with peak_memory() as nothing:
    pass
print(peak.extra, nothing.extra)
"""


def in_a_fresh_process(code: str) -> str:
    """What the code prints; this process may hold freed memory that it would fill without growing."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
