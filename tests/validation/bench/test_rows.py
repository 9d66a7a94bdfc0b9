"""The benchmarks' own arithmetic against definitions, and each row once at a small size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from qkld.errors import QkldError
from validation.bench.items_row import Sizes as ItemSizes
from validation.bench.items_row import items_row
from validation.bench.llamacpp_row import llama_files, llamacpp_row
from validation.bench.machine import Machine
from validation.bench.measuring_row import Variant, measuring_row
from validation.bench.scaling_row import Point, scaling_figures, scaling_row
from validation.bench.store_row import base_file_bytes, order0_entropy_bytes, store_row
from validation.bench.walk_row import WAYS, Sizes, cost_apart, inputs, time_limit, walk_row

pytestmark = pytest.mark.long

MACHINE = Machine("Some CPU", 8, 1, False, 10e9, 100e9, 5e9, 1e9)
SMALL = Sizes(tokens=24, vocabulary=3001, width=16, repeats=1, threads=1)


def test_entropy_of_bytes_is_that_of_each_place():
    low = np.tile(np.arange(256), 4).astype("uint16")  # every low byte as often: 8 bits; the high byte is always 3
    assert order0_entropy_bytes(low + 3 * 256) == pytest.approx(1.0)
    assert order0_entropy_bytes(np.full(100, 7, dtype="uint32")) == 0.0
    halves = np.array([0x0000, 0x0100] * 50, dtype="uint16")
    assert order0_entropy_bytes(halves) == pytest.approx(1 / 8)


@pytest.mark.parametrize(("vocabulary", "size"), [(49_152, 98_312), (151_937, 303_884), (248_320, 496_648)])
def test_a_row_of_the_base_file(vocabulary, size):
    assert base_file_bytes(vocabulary) == size


def test_all_ways_find_the_same_divergence():
    ours, *others = (way(*inputs(SMALL)) for way in WAYS.values())
    for theirs in others:
        torch.testing.assert_close(ours.float(), theirs, rtol=1e-3, atol=1e-6)
    assert ours.mean() > 1e-5


def test_the_walks_row_runs_each_way_apart():
    figures, costs = walk_row(MACHINE, SMALL)
    assert [f.target for f in figures] == [0.7, 0.1]
    assert len(costs) == 3
    assert [c["kl_mean"] for c in costs.values()] == pytest.approx([costs["full"]["kl_mean"]] * 3, rel=1e-3)
    assert figures[0].value == pytest.approx(costs["walk"]["seconds"] / costs["full"]["seconds"])


def test_the_walks_limit_is_two_products_two_readings_and_two_exponentials_a_logit():
    products, heads, logits = 2 * 2 * 24 * 3001 * 16, 2 * 4 * 3001 * 16, 2 * 24 * 3001
    assert time_limit(SMALL, MACHINE) == pytest.approx(products / 100e9 + heads / 10e9 + logits / 1e9)


def test_a_way_that_fails_says_so():
    with pytest.raises(QkldError, match="benchmark of 'walk' failed"):
        cost_apart("walk", replace(SMALL, tokens=-1))


def points(seconds: list[float], peaks: list[float]) -> list[Point]:
    return [Point(4096 * 2**i, 1024 * 2**i, s, int(p)) for i, (s, p) in enumerate(zip(seconds, peaks, strict=True))]


def test_times_on_a_line_and_constant_memory_are_met():
    line, memory = scaling_figures(points([1.5, 2.0, 3.0, 5.0], [1e9, 1e9, 1.01e9, 1.02e9]))
    assert line.value == pytest.approx(0.0, abs=1e-6)
    assert "1.00 s + 0.122 s a thousand tokens" in line.what
    assert line.is_met
    assert memory.is_met
    assert memory.value == pytest.approx(1.02)


def test_quadratic_times_and_growing_memory_are_missed():
    line, memory = scaling_figures(points([1.0, 4.0, 16.0, 64.0], [1e9, 1.2e9, 1.6e9, 2.4e9]))
    assert line.is_met is False
    assert memory.is_met is False
    assert f"{1.4e9 / (7 * 1024):,.0f} B a further scored token" in memory.what


def test_without_llama_cpp_its_row_says_how_to_build_it(tmp_path, monkeypatch):
    monkeypatch.setenv("QKLD_LLAMA_CPP", str(tmp_path))
    assert llama_files() is None
    [figure] = llamacpp_row(MACHINE, tmp_path)
    assert figure.value is figure.is_met is None
    assert "tools.build_llama_cpp" in figure.note


@pytest.mark.model
def test_measuring_is_timed_against_the_bare_pass_and_its_store_is_weighed(tmp_path):
    variants = (
        Variant("float32", windows=2, timed_windows=2, repeats=1, context=32),
        Variant("bfloat16", windows=2, timed_windows=1, repeats=1, context=32),
    )
    figures, timings = measuring_row(MACHINE, tmp_path, variants)
    ratios = [f for f in figures if f.unit == "×"]
    assert [f.target for f in ratios] == [None, 1.25]
    assert ratios[1].is_met is None  # the machine of this test has no bfloat16 units
    assert all(f.value > 1.0 for f in ratios)
    trunks = [min(1.0, t.same_attention_seconds / t.bare_seconds) for t in timings]
    assert all(f.limit > trunk for f, trunk in zip(ratios, trunks, strict=True))
    changes = [f for f in figures if f.unit == "mnat"]
    assert all(0.1 < f.value < 100 for f in changes)
    assert "from float32" in changes[1].what
    raw, compressed, *_, alone = store_row(timings[1].store)
    assert raw.value == 1152
    assert raw.is_met
    assert 0.5 * raw.value < compressed.limit < raw.value
    assert alone.value == pytest.approx(4000 * compressed.value / 1e6)


@pytest.mark.model
def test_time_and_memory_are_taken_at_every_size(tmp_path):
    figures, found = scaling_row(tmp_path, (512, 1024))
    assert [p["tokens"] for p in found] == [512, 1024]
    assert [p["scored"] for p in found] == [128, 256]
    assert all(p["seconds"] > 0 and p["peak_bytes"] > 1e8 for p in found)
    assert len(figures) == 2


@pytest.mark.model
def test_the_items_row_times_both_klds_beside_the_bare_pass_and_the_harness(tmp_path):
    sizes = ItemSizes(mix=(("arc_easy", 6), ("piqa", 3)), batch_sizes=(2,), rounds=1)
    choices, prompts, harness = items_row(MACHINE, tmp_path, sizes)
    assert [f.target for f in (choices, prompts, harness)] == [0.9, 1.25, 0.42]
    assert all(f.row == 8 and f.value > 0 for f in (choices, prompts, harness))
    assert "9 items" in choices.what
    assert "batch size 2" in harness.what
    assert 0 < choices.limit < prompts.limit
