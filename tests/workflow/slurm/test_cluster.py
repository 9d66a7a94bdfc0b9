"""`qkld run --profile slurm` on a real cluster of one node: what it refuses, and how it names what goes wrong."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import yaml
from conftest import Place
from slurm_cluster import PARTITION, Cluster, cluster, said, start, wait_for, words_file

from qkld.study.locks import locked
from qkld.study.paths import StudyPaths
from qkld.workflow.slurm.cluster import job_prefix

LONGEST_ARGUMENT = 131_072
"""Bytes of one argument that Linux lets a program have (MAX_ARG_STRLEN); a task of an array gets all others in one."""

pytestmark = [pytest.mark.slurm, pytest.mark.pipeline, pytest.mark.model, pytest.mark.long]


def nothing_was_submitted(made: Cluster, place: Place) -> bool:
    return not [name for _, name, _ in made.jobs() if name.startswith(job_prefix(StudyPaths("smoke").run))]


def test_the_daemons_listen_on_the_loopback_address_alone(real_cluster: Cluster):
    assert real_cluster.addresses() == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (("--partition", "nightly"), f"no partition 'nightly'.\n  expected: one of ['{PARTITION}']"),
        (("--partition", "default"), "no partition 'default'"),
        (("--account", "physics"), "keeps no accounts"),
        (("--gpus", "1"), "cannot run the jobs of reference_corpora, reference_benchmarks"),
        (("--gpus", "-1"), "greater than or equal to 0"),
        (("--site", "nowhere.yaml"), "no such file of a site"),
    ],
)
def test_what_the_cluster_lacks_is_refused_before_anything_is_submitted(
    real_cluster: Cluster, own_place: Place, more: tuple[str, ...], problem: str
):
    status, words = said(real_cluster, own_place, *more)
    assert (status, problem in words) == (2, True), words
    assert "\n  do:       " in words
    assert "Traceback" not in words
    assert nothing_was_submitted(real_cluster, own_place)


@pytest.mark.parametrize("line", ["threads: 512", "memory_mb: 99000000", "minutes: 100000"])
def test_a_job_that_no_node_can_run_is_refused(real_cluster: Cluster, own_place: Place, site_file: Path, line: str):
    site_file.write_text(f"{line}\n")
    status, words = said(real_cluster, own_place, "--site", str(site_file))
    assert status == 2, words
    assert "ClusterError" in words
    assert nothing_was_submitted(real_cluster, own_place)


def test_a_cluster_without_a_default_partition_or_with_a_short_memory_says_what_to_do(
    tmp_path: Path, own_place: Place, site_file: Path
):
    with cluster(tmp_path / "cluster", default=False, kept_seconds=60) as made:
        site = ("--site", str(site_file))
        assert "has no default one.\n  expected: one of ['work']" in said(made, own_place, *site)[1]
        assert "forgets finished jobs too soon" in said(made, own_place, *site, "--partition", PARTITION)[1]


def test_a_controller_that_does_not_answer_is_named(tmp_path: Path, own_place: Place):
    with cluster(tmp_path / "cluster") as made:
        made.kill("slurmctld")
        status, words = said(made, own_place)
    assert (status, "The SLURM cluster does not answer." in words) == (2, True), words


def test_a_study_started_twice_is_refused_and_names_the_first(real_cluster: Cluster, own_place: Place, site_file: Path):
    with locked(StudyPaths("smoke").run / ".lock"):
        status, words = said(real_cluster, own_place, "--site", str(site_file))
    assert (status, f"held by process {os.getpid()} on " in words) == (2, True), words
    assert nothing_was_submitted(real_cluster, own_place)


def test_a_job_killed_for_memory_is_named_as_that(real_cluster: Cluster, own_place: Place, site_file: Path):
    site_file.write_text("threads: 1\nmemory_mb: 500\n")
    status, words = said(real_cluster, own_place, "--site", str(site_file))
    assert status == 1, words
    for part in ("corpora", "benchmarks"):
        (line,) = [line for line in words.splitlines() if line.startswith(f"  01_reference_logits.{part}: ")]
        assert "killed for memory; raise memory_mb in the site's file" in line


def test_a_node_that_does_not_see_the_runs_folder_is_named(real_cluster: Cluster, own_place: Place, site_file: Path):
    hidden = own_place.folder / "runs"
    hidden.mkdir()
    real_cluster.kill("slurmd")
    real_cluster.start_node(hidden=hidden)
    try:
        status, words = said(real_cluster, own_place, "--site", str(site_file))
    finally:
        real_cluster.kill("slurmd")
        real_cluster.start_node()
    assert status == 1, words
    assert words.count("its node does not see this folder") == 2, words


def test_jobs_of_a_killed_run_are_cancelled_by_the_next_and_a_stopped_run_leaves_none(
    real_cluster: Cluster, own_place: Place, site_file: Path
):
    prefix = job_prefix(StudyPaths("smoke").run)

    def waiting_or_running() -> set[str]:
        jobs = real_cluster.jobs("PENDING", "RUNNING")
        return {number for number, name, _ in jobs if name.startswith(prefix)}

    real_cluster.ask("scontrol", "update", f"PartitionName={PARTITION}", "State=DOWN")  # jobs wait
    try:
        first = start(real_cluster, own_place, "--site", str(site_file))
        wait_for(lambda: len(waiting_or_running()) == 2)
        first.kill()
        first.wait()
        orphans = waiting_or_running()
        assert len(orphans) == 2
        second = start(real_cluster, own_place, "--site", str(site_file))
        wait_for(lambda: len(waiting_or_running() - orphans) == 2)
        assert not waiting_or_running() & orphans
        second.send_signal(signal.SIGTERM)
        assert second.wait(300) == 128 + signal.SIGTERM
        time.sleep(1.0)
        assert not waiting_or_running()
    finally:
        real_cluster.ask("scontrol", "update", f"PartitionName={PARTITION}", "State=UP")
    words = words_file(own_place).read_text()
    assert "cancelled 2 SLURM jobs that a killed run" in words
    assert "the same command goes on from there" in words


def forty_quants(place: Place) -> None:
    """A study of forty quants whose reference is done, as far as Snakemake sees."""
    params = yaml.safe_load((place.root / "params" / "smoke.yaml").read_text())
    (quant,) = (quant for quant in params["quants"] if quant["label"] == "bnb-nf4")
    params |= {"study": "forty", "quants": [quant | {"label": f"nf4-{i}", "recipe": f"copy {i}"} for i in range(40)]}
    (place.root / "params" / "forty.yaml").write_text(yaml.safe_dump(params))
    seals = place.folder / "runs" / "forty" / "seals"
    seals.mkdir(parents=True)
    for name in ("corpora", "benchmarks"):
        (seals / f"{name}.json").write_text("{}")


def test_a_cohort_of_forty_is_four_submissions_that_can_be_run(real_cluster: Cluster, project: Place, site_file: Path):
    forty_quants(project)
    real_cluster.ask("scontrol", "update", f"PartitionName={PARTITION}", "State=DOWN")  # jobs wait
    try:
        run = start(real_cluster, project, "--site", str(site_file), study="forty")
        wait_for(lambda: len(real_cluster.jobs("PENDING")) == 2 * (40 + 2))
        arrays = {number.partition("_")[0] for number, _, _ in real_cluster.jobs("PENDING")}
        scripts = [real_cluster.ask("scontrol", "write", "batch_script", number, "-") for number in arrays]
        run.send_signal(signal.SIGTERM)  # a run that ends takes its jobs away, so they are read before
        assert run.wait(300) == 128 + signal.SIGTERM
    finally:
        real_cluster.ask("scontrol", "update", f"PartitionName={PARTITION}", "State=UP")
    assert len(arrays) == 4
    assert max(len(word) for text in scripts for word in text.split()) < LONGEST_ARGUMENT / 2
    assert not real_cluster.jobs("PENDING", "RUNNING")


def test_jobs_that_run_a_model_ask_for_the_sites_gpu(tmp_path: Path, own_place: Place, site_file: Path):
    site_file.write_text("threads: 1\ngpus: 1\ngpu_model: a100\n")
    with cluster(tmp_path / "cluster", gpu_model="a100") as made:
        made.ask("scontrol", "update", f"PartitionName={PARTITION}", "State=DOWN")  # jobs wait
        run = start(made, own_place, "--site", str(site_file))
        wait_for(lambda: len(made.jobs("PENDING")) == 2)
        asked = made.ask("squeue", "--noheader", "--Format=tres-per-job").split()
        run.send_signal(signal.SIGTERM)
        run.wait(300)
        assert asked == ["gres:gpu:a100:1"] * 2
        assert "cannot run the jobs" in said(made, own_place, "--site", str(site_file), "--gpus", "2")[1]
