"""What a few items said of each benchmark: kept, read by the plan while it fits the study, and shown."""

from __future__ import annotations

import pytest

from qkld.errors import StoreError
from qkld.study.params import Benchmark, load_params
from qkld.study.paths import StudyPaths
from qkld.study.samples import Sample, read_samples, write_samples
from qkld.workflow.benchmark_signal import sampled_speed, signal_lines
from qkld.workflow.plan import HEAD_WORK, benchmark_costs, item_cost, item_tokens, items_of, known_shape, plan_job

ARC = Sample(items=48, tokens=40.0, head_tokens=16.0, seconds=0.2, score=0.5, probability=0.45)
SCIQ = Sample(items=48, tokens=110.0, head_tokens=6.0, seconds=0.4, score=0.75, probability=0.7)


@pytest.fixture
def demo(tmp_path, monkeypatch):
    monkeypatch.setenv("QKLD_RUNS", str(tmp_path))
    demo, tasks = load_params("demo"), ("arc_easy", "sciq")
    return demo.model_copy(update={"benchmarks": tuple(Benchmark(task=t, chance=0.25, limit=100) for t in tasks)})


def test_without_a_sample_the_head_is_at_a_share_of_an_items_tokens(demo):
    arc = demo.benchmarks[0]
    at_choices, each = item_cost(demo, arc), item_tokens(arc)
    assert at_choices.tokens == each
    assert 0 < at_choices.head_tokens < each
    knobs = demo.benchmark_scores.model_copy(update={"item_kld": "prompts"})
    assert item_cost(demo.model_copy(update={"benchmark_scores": knobs}), arc).head_tokens == each
    assert plan_job(demo, "benchmark_scores", "bnb-nf4").head_tokens == benchmark_costs(demo).head_tokens
    assert sampled_speed(demo) is None
    assert "`qkld plan demo --measure`" in signal_lines(demo, cores=2, flop_per_second=1e10)[1]


def test_a_sample_gives_the_plan_its_costs_and_its_speed(demo):
    write_samples(demo, {"arc_easy": ARC, "sciq": SCIQ})
    counts = {b.task: items_of(b) for b in demo.benchmarks}
    job = plan_job(demo, "benchmark_scores", "bnb-nf4")
    assert job.tokens == counts["arc_easy"] * 40 + counts["sciq"] * 110
    assert job.head_tokens == counts["arc_easy"] * 16 + counts["sciq"] * 6
    shape = known_shape(demo)
    work = [s.tokens * shape.trunk_flop + s.head_tokens * HEAD_WORK * shape.head_flop for s in (ARC, SCIQ)]
    assert sampled_speed(demo) == pytest.approx(sum(work) / 0.6)
    found = {line.split()[0]: line for line in signal_lines(demo, cores=2, flop_per_second=1e10) if line[:1].isalpha()}
    assert "50% ± 7%" in found["arc_easy"]
    resolved = {task: float(found[task].split("±")[-1].split()[0]) for task in counts}
    assert resolved["arc_easy"] < resolved["sciq"], "items that cost less are more in an hour"


def test_more_items_need_no_new_sample_and_another_way_to_compute_does(demo):
    write_samples(demo, {"arc_easy": ARC, "sciq": SCIQ})
    more = tuple(b.model_copy(update={"limit": 500}) for b in demo.benchmarks)
    assert read_samples(demo.model_copy(update={"benchmarks": more})) == {"arc_easy": ARC, "sciq": SCIQ}
    prompts = demo.benchmark_scores.model_copy(update={"item_kld": "prompts"})
    assert read_samples(demo.model_copy(update={"benchmark_scores": prompts})) == {}
    rotated = demo.reference.model_copy(update={"rotate": 1})
    assert read_samples(demo.model_copy(update={"reference": rotated})) == {}
    by_length = (demo.benchmarks[0].model_copy(update={"metric": "acc_norm"}), demo.benchmarks[1])
    assert read_samples(demo.model_copy(update={"benchmarks": by_length})) == {"sciq": SCIQ}


def test_an_edited_sample_is_refused(demo):
    write_samples(demo, {"arc_easy": ARC})
    path = StudyPaths("demo").samples
    path.write_text(path.read_text().replace("0.5", "0.9", 1))
    with pytest.raises(StoreError, match="damaged or edited"):
        read_samples(demo)
