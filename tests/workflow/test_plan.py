"""The plan against what the smoke study and the published cohorts are known to cost."""

from __future__ import annotations

import pytest

from qkld.study.params import Study, ToBeChecked, load_params
from qkld.workflow import plan
from qkld.workflow.plan import has_native_bf16, product_flop_per_second
from qkld.workflow.plan_report import in_bytes, in_time, plan_text, rule_seconds

COHORTS = {"qwen3.6-35b-a3b": 28, "devstral-small-2-24b": 41}


@pytest.fixture(scope="module")
def smoke():
    return load_params("smoke")


def test_tokens_of_the_smoke_study(smoke):
    prose, code, chat = smoke.corpora
    assert plan.run_tokens(prose, 12) == 6 * 64
    assert plan.scored_tokens(prose, 12, 0.5) == 6 * (8 + 16 + 32)
    assert plan.kept_positions(prose, 12, 0.5) == 6 * 56  # positions 8…63: every context's second half lies in them
    assert plan.scored_tokens(code, 12, 0.5) == 6 * 32
    assert plan.scored_tokens(chat, 12, 0.5) == 4 * 12


def test_written_answers_are_read_and_written(smoke):
    """With answers of n tokens an item reads its prompt twice and the reference's answer, and writes n, every time."""
    arc = smoke.benchmarks[0]
    alone = plan.benchmark_costs(smoke.model_copy(update={"benchmarks": (arc,)})).tokens
    for repeats in (1, 4):
        writes = arc.model_copy(update={"answer_tokens": 50, "repeats": repeats})
        tokens = plan.benchmark_costs(smoke.model_copy(update={"benchmarks": (writes,)})).tokens
        assert tokens == pytest.approx(alone + 12 * 50 + repeats * (alone + 12 * plan.WRITING_WORK * 50))


def test_one_job_for_each_notebook_run(smoke):
    rules = [job.rule for job in plan.plan_jobs(smoke)]
    assert {rule: rules.count(rule) for rule in rules} == {
        "reference_corpora": 1, "reference_benchmarks": 1, "quant_kld": 5, "benchmark_scores": 5, "cohort": 1,
        "correlation": 1, "silent_zone": 1, "volume_direction": 1, "prompts": 1, "findings": 1,
    }  # fmt: skip


def test_a_basis_of_builds_is_a_job_with_a_folder_and_files(smoke):
    made = {"method": "gguf", "made": {"type": "Q4_0"}}
    facts = {"family": "g", "maker": "m", "recipe": "r", "nominal_bits": 4.5}
    torch = {**facts, "label": "h", "method": "hqq", "bits": 4, "group_size": 64}
    values = smoke.model_dump(mode="json")
    values["quants"] = [
        {**torch, "builds": {"rotate": [1, 2]}},
        {**facts, **made, "label": "g", "builds": {"rotate": [2]}},
    ]
    study = Study(**values)
    jobs = {(j.rule, j.label): j for j in plan.plan_jobs(study)}
    one, both = jobs["make_basis", "rotate-1"], jobs["make_basis", "rotate-2"]
    assert both.written_bytes > 2 * one.written_bytes > 1e9
    assert both.fixed_seconds > one.fixed_seconds > plan.START_SECONDS
    assert {label for rule, label in jobs if rule == "quant_kld"} == {
        *study.floors,
        "h-rotate-1",
        "h-rotate-2",
        "g-rotate-2",
    }
    assert {"floor-rotate-1", "floor-rotate-2"} <= {label for rule, label in jobs if rule == "benchmark_scores"}
    assert ("make_quants", None) not in jobs
    assert "make_basis" in plan_text(study, cores=2, flop_per_second=1e10)


def test_more_windows_cost_more_of_everything(smoke):
    corpora = [c.model_copy(update={"windows": c.windows * 10}) for c in smoke.corpora]
    larger = smoke.model_copy(update={"corpora": tuple(corpora)})
    small, large = plan.plan_job(smoke, "quant_kld", "bnb-nf4"), plan.plan_job(larger, "quant_kld", "bnb-nf4")
    assert large.tokens == 10 * small.tokens
    assert large.written_bytes == 10 * small.written_bytes
    shape = plan.known_shape(smoke)
    assert plan.job_seconds(large, shape, 1e10) > plan.job_seconds(small, shape, 1e10)


def test_speed_in_tokens_is_speed_in_operations(smoke):
    """A job that only ran the model and its head once a token would take tokens / speed seconds."""
    shape = plan.known_shape(smoke)
    job = plan.Job("quant_kld", None, 1000.0, 1000.0 / plan.HEAD_WORK, 0.0, 0, 0.0)
    assert plan.job_seconds(job, shape, plan.flop_rate(shape, 50.0)) == pytest.approx(20.0)


def test_an_unknown_model_is_said_to_be_unknown(smoke):
    other = smoke.model_copy(
        update={"reference": smoke.reference.model_copy(update={"asset": None, "path": "models/mine"})}
    )
    text = plan_text(other, cores=2, flop_per_second=1e10)
    assert "the reference's size" in text
    assert "time on 2 cores" in text
    assert "unknown" in text.split("time on 2 cores")[1].splitlines()[0]


@pytest.mark.parametrize(("study", "quants"), COHORTS.items())
def test_cohorts_like_the_papers_can_be_planned(study, quants):
    with pytest.warns(ToBeChecked):
        parsed = load_params(study)
    text = plan_text(parsed, cores=1, flop_per_second=plan.flop_rate(plan.known_shape(parsed), 3000.0))
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith(("quant_kld", "bench"))}
    assert rows["quant_kld"][0] == str(quants + 2)
    assert rows["benchmark_scores"][0] == str(quants + 1)
    assert "GB" in text.split("files to download")[1].splitlines()[0]
    assert "speed of this device" not in text


def test_a_study_on_a_gpu_asks_for_its_speed(smoke):
    on_gpu = smoke.model_copy(update={"compute": smoke.compute.model_copy(update={"device": "cuda"})})
    assert "--tokens-per-second" in plan_text(on_gpu, cores=1, flop_per_second=None)


def test_jobs_side_by_side_share_the_time(smoke):
    jobs = [job for job in plan.plan_jobs(smoke) if job.rule == "quant_kld"]
    shape = plan.known_shape(smoke)
    one, two = (rule_seconds(jobs, shape, 1e10, cores) for cores in (1, 2))
    assert one == pytest.approx(2 * two)


def test_units():
    assert [in_bytes(v) for v in (None, 12, 1_500, 2_500_000_000)] == ["unknown", "12 B", "1.5 kB", "2.5 GB"]
    assert [in_time(v) for v in (None, 12, 600, 7200)] == ["unknown", "12 s", "10 min", "2.0 h"]


def test_the_machine_is_measured():
    assert 1e8 < product_flop_per_second(seconds=0.05) < 1e13


def test_bf16_is_read_from_the_processors_flags(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("flags : fpu avx2 avx512_bf16\n")
    assert has_native_bf16(file)
    file.write_text("flags : fpu avx2\n")
    assert not has_native_bf16(file)
    assert not has_native_bf16(tmp_path / "missing")
