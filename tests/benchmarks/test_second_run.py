"""The reference's second run: other forward passes over the same items, and the same answers in float32."""

from dataclasses import replace

import pytest

from qkld.benchmarks import harness_tasks
from qkld.benchmarks.reference_items import record_benchmarks
from qkld.benchmarks.stage import score_benchmarks
from qkld.study.params import FLOOR_BATCH, Benchmark, load_params
from qkld.study.paths import StudyPaths


def test_the_second_run_packs_otherwise_and_answers_alike(tiny, write_lines, arc_rows, tmp_path, monkeypatch):
    monkeypatch.setenv("QKLD_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(harness_tasks, "fetch", {"benchmark-arc_easy": write_lines(arc_rows)}.__getitem__)
    smoke = load_params("smoke")
    params = smoke.model_copy(update={"benchmarks": (Benchmark(task="arc_easy", chance=0.125),)})
    record_benchmarks(params, tiny.reference)
    again = replace(tiny.reference, entry=tiny.reference.entry.model_copy(update={"label": FLOOR_BATCH}))
    one, two = (score_benchmarks(params, model) for model in (tiny.reference, again))
    assert set(two["model"]) == {FLOOR_BATCH}
    assert list(two["correct"]) == list(one["correct"])
    assert list(two["margin"]) == pytest.approx(list(one["margin"]), abs=1e-3)
    assert two["kl_prompt"].max() < 1e-6
    folder = StudyPaths(params.study).partial / "items"
    passes = [len(list((folder / model.label).rglob("*.json"))) for model in (tiny.reference, again)]
    assert 0 < passes[0] < passes[1]
