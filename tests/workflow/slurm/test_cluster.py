"""`qkld run --profile slurm` on a real cluster of one node: what it refuses, and how it names what goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import Place
from slurm_cluster import PARTITION, Cluster, cluster, wait_until, why_no_cluster

from qkld.study.locks import locked
from qkld.study.paths import StudyPaths
from qkld.workflow.slurm.cluster import job_prefix

pytestmark = [pytest.mark.slurm, pytest.mark.pipeline, pytest.mark.model]


def start(made: Cluster, place: Place, *more: str) -> subprocess.Popen:
    """`qkld run smoke` on the cluster; what it says goes to `words_of`."""
    words = made.inside(*place.command("run", "smoke", "--profile", "slurm", *more))
    with words_file(place).open("w") as output:
        variables = made.variables() | place.variables
        return subprocess.Popen(words, env=variables, cwd=place.root, stdout=output, stderr=subprocess.STDOUT)


def words_file(place: Place) -> Path:
    return place.folder / "words.txt"


def said(made: Cluster, place: Place, *more: str) -> tuple[int, str]:
    """Status and words of a run that is to end by itself."""
    status = start(made, place, *more).wait(180)
    return status, words_file(place).read_text()


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
        (("--gpus", "1"), "can not run the jobs of reference_corpora, reference_benchmarks"),
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
    if reason := why_no_cluster():
        pytest.skip(reason)
    with cluster(tmp_path / "cluster", default=False, kept_seconds=60) as made:
        site = ("--site", str(site_file))
        assert "has no default one.\n  expected: one of ['work']" in said(made, own_place, *site)[1]
        assert "forgets finished jobs too soon" in said(made, own_place, *site, "--partition", PARTITION)[1]


def test_a_controller_that_does_not_answer_is_named(tmp_path: Path, own_place: Place):
    if reason := why_no_cluster():
        pytest.skip(reason)
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
        wait_until(lambda: len(waiting_or_running()) == 2, "submission")
        first.kill()
        first.wait()
        orphans = waiting_or_running()
        assert len(orphans) == 2
        second = start(real_cluster, own_place, "--site", str(site_file))
        wait_until(lambda: len(waiting_or_running() - orphans) == 2, "submission again")
        assert not waiting_or_running() & orphans
        second.send_signal(signal.SIGTERM)
        assert second.wait(120) == 128 + signal.SIGTERM
        time.sleep(1.0)
        assert not waiting_or_running()
    finally:
        real_cluster.ask("scontrol", "update", f"PartitionName={PARTITION}", "State=UP")
    words = words_file(own_place).read_text()
    assert "cancelled 2 SLURM jobs that a killed run" in words
    assert "the same command goes on from there" in words
