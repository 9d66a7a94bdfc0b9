"""What runs again after a change: held against Snakemake itself, in dry runs of a finished smoke study."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Place, copy_project

from qkld.errors import ParameterError
from qkld.study.params import load_params
from qkld.study.paths import StudyPaths
from qkld.study.provenance import METRICS_VERSION
from qkld.workflow import cli
from qkld.workflow import rules as flow

pytestmark = pytest.mark.pipeline

ANALYSIS = {"cohort": 1, "correlation": 1, "silent_zone": 1, "volume_direction": 1, "prompts": 1, "findings": 1}
HQQ = {"label": "hqq-3", "method": "hqq", "family": "hqq", "maker": "qkld", "recipe": "HQQ 3 bit"}
HQQ |= {"nominal_bits": 3, "bits": 3, "group_size": 64}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A smoke study that Snakemake takes for finished: every declared file is there, with the values it was made of."""
    place = copy_project(tmp_path_factory.mktemp("finished"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in place.variables.items():
            patch.setenv(name, value)
        for file in flow.declared_files(load_params("smoke"), StudyPaths("smoke")):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("stands in for a table")
    done = place.qkld("run", "smoke", "--", "--touch", "--forceall")
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture
def dry_run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[Place], dict[str, int]]:
    """Jobs by rule that a dry run names: of the command in this process, which starts Snakemake in another."""

    def jobs(place: Place) -> dict[str, int]:
        for name, value in place.variables.items():
            monkeypatch.setenv(name, value)
        status, said = cli.main(["run", "smoke", "--dry-run"]), "".join(capfd.readouterr())
        assert status == 0, said
        stats = re.search(r"^Job stats:\n(.*?)^total", said, re.MULTILINE | re.DOTALL)
        counts = dict(re.findall(r"^(\w+) +(\d+)$", stats[1] if stats else "", re.MULTILINE))
        return {rule: int(number) for rule, number in counts.items() if rule != "all"}

    return jobs


@pytest.fixture
def jobs_after(finished: Place, dry_run: Callable[[Place], dict[str, int]]) -> Any:
    """Jobs by rule that a dry run names after an edit of the study's values; the edit is taken back afterwards."""
    file = finished.root / "params" / "smoke.yaml"
    original = file.read_text()

    def count(edit: Callable[[dict[str, Any]], None] = lambda values: None) -> dict[str, int]:
        values = yaml.safe_load(original)
        edit(values)
        file.write_text(yaml.safe_dump(values))
        return dry_run(finished)

    yield count
    file.write_text(original)


def test_nothing_runs_when_nothing_changed(jobs_after):
    assert jobs_after() == {}


def test_a_quant_more_runs_only_its_own_stages_and_the_analysis(jobs_after):
    counts = jobs_after(lambda values: values["quants"].append(HQQ))
    assert counts == {"quant_kld": 1, "benchmark_scores": 1, **ANALYSIS}


def test_builds_run_with_their_bases_and_floors_which_are_removed_afterwards(jobs_after):
    counts = jobs_after(lambda values: values["quants"].append({**HQQ, "builds": {"rotate": [1, 2]}}))
    basis = {"make_basis": 2, "forget_basis": 2, "quant_kld": 4, "benchmark_scores": 4}
    assert counts == basis | ANALYSIS


def test_a_task_more_runs_all_scores_and_no_kld(jobs_after):
    task = {"task": "openbookqa", "chance": 0.25, "limit": 4}
    counts = jobs_after(lambda values: values["benchmarks"].append(task))
    assert counts == {"reference_benchmarks": 1, "benchmark_scores": 5, **ANALYSIS}


def test_another_recipe_of_one_quant_runs_that_quant(jobs_after):
    counts = jobs_after(lambda values: values["quants"][0].update(group_size=64))
    assert counts == {"quant_kld": 1, "benchmark_scores": 1, **ANALYSIS}


def test_the_references_second_run_is_one_job_more_and_touches_no_other_items(jobs_after):
    counts = jobs_after(lambda values: values.update(self_flips=False))
    assert counts == {"volume_direction": 1, "findings": 1}


def test_a_description_runs_no_model(jobs_after):
    counts = jobs_after(lambda values: values["quants"][0].update(maker="somebody else"))
    assert counts == ANALYSIS


def test_a_corpus_more_runs_all_klds_and_no_scores(jobs_after):
    corpus = {"name": "more", "asset": "boolq-passages", "context_lengths": [32], "windows": 2}
    counts = jobs_after(lambda values: values["corpora"].append(corpus))
    assert counts == {"reference_corpora": 1, "quant_kld": 5, **ANALYSIS}


def test_a_knob_of_a_floor_runs_that_floor_row(jobs_after):
    counts = jobs_after(lambda values: values["quant_kld"].update(floor_windows=3))
    assert counts == {"quant_kld": 1, **ANALYSIS}


def test_figures_without_the_tables_they_came_from_are_no_finished_study(finished, jobs_after):
    run = finished.folder / "runs" / "smoke"
    run.rename(run.with_name("elsewhere"))  # what a clone of a repository with committed figures looks like
    try:
        models = {"reference_corpora": 1, "reference_benchmarks": 1, "quant_kld": 5, "benchmark_scores": 5}
        assert jobs_after() == models | ANALYSIS
    finally:
        shutil.rmtree(run, ignore_errors=True)
        run.with_name("elsewhere").rename(run)


def test_the_zone_cut_runs_the_zone_and_what_reads_it(jobs_after):
    counts = jobs_after(lambda values: values["silent_zone"].update(zone_cut=0.5))
    assert counts == {"silent_zone": 1, "volume_direction": 1, "prompts": 1, "findings": 1}


def test_a_word_of_description_runs_nothing(jobs_after):
    assert jobs_after(lambda values: values.update(description="Said otherwise.")) == {}


@pytest.fixture(scope="module")
def finished_builds(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A finished smoke study with builds of one quant in two bases, of which nothing is left but tables."""
    place = copy_project(tmp_path_factory.mktemp("builds"))
    file = place.root / "params" / "smoke.yaml"
    values = yaml.safe_load(file.read_text())
    values["quants"].append({**HQQ, "builds": {"rotate": [1, 2]}})
    file.write_text(yaml.safe_dump(values))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in place.variables.items():
            patch.setenv(name, value)
        study, paths = load_params("smoke"), StudyPaths("smoke")
        for made in flow.declared_files(study, paths):
            made.parent.mkdir(parents=True, exist_ok=True)
            made.write_text("stands in for a table")
    done = place.qkld("run", "smoke", "--", "--touch", "--forceall")
    assert done.returncode == 0, done.stderr
    return place


def test_a_removed_basis_runs_nothing_and_one_build_that_is_missing_only_itself(finished_builds, dry_run):
    assert dry_run(finished_builds) == {}
    items = finished_builds.folder / "runs" / "smoke" / "items" / "hqq-3-rotate-2.parquet"
    content = items.read_text()
    items.unlink()
    assert dry_run(finished_builds) == {"benchmark_scores": 1, "forget_basis": 1, **ANALYSIS}
    items.write_text(content)


def edited_notebook(finished: Place, stage: str, edit: Callable[[list[dict[str, Any]]], None]) -> tuple[Path, str]:
    file = finished.root / "notebooks" / f"{stage}.ipynb"
    original = file.read_text()
    content = json.loads(original)
    edit(content["cells"])
    file.write_text(json.dumps(content))
    return file, original


def test_changed_code_in_a_notebook_runs_its_stage(finished, jobs_after):
    file, original = edited_notebook(finished, "07_prompts", lambda cells: cells[-1]["source"].append("\n1 + 1"))
    try:
        assert jobs_after() == {"prompts": 1, "findings": 1}
    finally:
        file.write_text(original)


def test_prose_and_outputs_in_a_notebook_run_nothing(finished, jobs_after):
    def edit(cells: list[dict[str, Any]]) -> None:
        cells[0]["source"] = ["# Said otherwise"]
        cells[-1]["execution_count"] = 7

    file, original = edited_notebook(finished, "07_prompts", edit)
    try:
        assert jobs_after() == {}
    finally:
        file.write_text(original)


@pytest.mark.long
@pytest.mark.parametrize("profile", ["slurm", "kubernetes"])
def test_cluster_profiles_plan_the_same_jobs(project, profile):
    volume = {"QKLD_DATA": str(project.folder / "data")}
    done = project.qkld("run", "smoke", "--profile", profile, "--dry-run", more=volume)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^total +19$", done.stdout + done.stderr, re.MULTILINE)


def test_values_hold_each_knob_and_the_metrics_version():
    study = load_params("smoke")
    values = json.loads(flow.rule_values(study, "quant_kld", "bnb-nf4"))
    assert values["knobs"]["vocabulary_tile"] == study.compute.vocabulary_tile
    assert values["quant"] == {"label": "bnb-nf4", "method": "bitsandbytes", "scheme": "nf4", "double_quant": False}
    assert values["metrics_version"] == METRICS_VERSION
    read_by = [s for s in flow.measured_labels(study) if "floor_windows" in flow.rule_values(study, "quant_kld", s)]
    assert read_by == ["floor-batch"]


def test_threads_never_exceed_the_cores():
    study = load_params("smoke")
    for cores in (1, 2, 5, 16):
        for rule, jobs in (("reference_corpora", 2), ("quant_kld", 5), ("benchmark_scores", 5)):
            threads = flow.job_threads(study, rule, cores)
            assert threads >= 1
            assert threads * min(jobs, cores // threads) <= cores


def test_an_unknown_quant_is_refused():
    with pytest.raises(ParameterError, match="has no quant 'bnb-nf5'"):
        flow.notebook_parameters(load_params("smoke"), "02_quant_kld", quant="bnb-nf5")


def test_executed_notebooks_are_named_by_what_they_ran():
    assert flow.job_name("quant_kld", "bnb-nf4") == "02_quant_kld.bnb-nf4"
    assert flow.job_name("reference_corpora") == "01_reference_logits.corpora"
    assert flow.job_name("findings") == "08_findings"
