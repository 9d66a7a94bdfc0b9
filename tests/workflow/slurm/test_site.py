"""What a site may say, what jobs ask for by a study's plan, and how Snakemake is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import REPOSITORY

from qkld.errors import ClusterError, ParameterError
from qkld.study.params import load_params
from qkld.workflow.plan import job_seconds, known_shape, plan_job
from qkld.workflow.rules import RULES
from qkld.workflow.slurm.cluster import most_minutes, within
from qkld.workflow.slurm.site import (
    DEFAULT,
    MODEL_RULES,
    SHORTEST_MINUTES,
    UNKNOWN_MINUTES,
    Request,
    Site,
    labels_of,
    read_site,
    requests,
    snakemake_arguments,
)

SPEED = 2e10
"""Operations a second of one slow core."""


def site_file(folder: Path, text: str) -> Path:
    file = folder / "our cluster.yaml"
    file.write_text(text)
    return file


def test_the_shipped_file_sets_nothing_that_a_site_may_lack():
    assert read_site(REPOSITORY / DEFAULT) == Site()
    assert (Site().partition, Site().account, Site().gpus) == (None, None, 0)


def test_every_key_of_a_site_stands_in_the_shipped_file():
    lines = (REPOSITORY / DEFAULT).read_text().splitlines()
    assert {line.partition(":")[0] for line in lines if not line.startswith("#")} == set(Site.model_fields)


def test_the_command_line_goes_before_the_file(tmp_path):
    file = site_file(tmp_path, "partition: long\naccount: physics\ngpus: 2\n")
    assert read_site(file, partition="short", gpus=None) == Site(partition="short", account="physics", gpus=2)
    assert read_site(file, gpus=0).gpus == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("partitions: long", "unknown key; did you mean 'partition'?"),
        ("gpus: -1", "greater than or equal to 0"),
        ("threads: 0", "greater than or equal to 1"),
        ("threads: many", "threads"),
        ("partition: a b", "partition"),
        ("- partition", "describes no site"),
        ("minutes: 10\nminutes: 20", "key given twice"),
    ],
)
def test_a_site_that_says_something_else_is_refused(tmp_path, text, said):
    with pytest.raises(ParameterError) as caught:
        read_site(site_file(tmp_path, text))
    assert said in str(caught.value)
    assert "our cluster.yaml" in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ParameterError, match=r"nowhere\.yaml"):
        read_site(tmp_path / "nowhere.yaml")


def test_only_jobs_that_run_a_model_get_threads_and_gpus_and_the_sites_limits_are_of_all():
    asked = requests(load_params("smoke"), Site(gpus=2, threads=6, minutes=90, memory_mb=64_000), SPEED)
    assert set(asked) == set(RULES) - {"make_quants"}
    for rule, request in asked.items():
        threads, gpus = (6, 2) if rule in MODEL_RULES else (1, 0)
        assert request == Request(threads, gpus, memory_mb=64_000, minutes=90)


@pytest.mark.parametrize("study", ["smoke", "demo", "gguf"])
def test_one_request_of_a_rule_is_enough_for_each_of_its_jobs(study):
    """An array's jobs ask for the same: none may need more memory or time than its plan has."""
    loaded = load_params(study)
    asked, shape = requests(loaded, Site(), SPEED), known_shape(loaded)
    for rule in asked:
        for job in (plan_job(loaded, rule, label) for label in labels_of(loaded, rule)):
            assert asked[rule].memory_mb * 1_000_000 > job.memory_bytes
            seconds = job_seconds(job, shape, SPEED)
            assert seconds is None or asked[rule].minutes * 60 > 2 * seconds


def test_times_follow_the_speed_and_are_long_where_it_is_not_known():
    study = load_params("demo")
    slow, slower = requests(study, Site(), SPEED), requests(study, Site(), SPEED / 10)
    assert slower["quant_kld"].minutes > slow["quant_kld"].minutes >= SHORTEST_MINUTES
    assert requests(study, Site(), None)["quant_kld"].minutes == UNKNOWN_MINUTES
    assert requests(study, Site(tokens_per_second=1e6), None)["quant_kld"].minutes == SHORTEST_MINUTES


def test_snakemake_is_told_partition_and_account_only_where_there_are_any():
    asked = {"quant_kld": Request(8, 1, 9_000, 30), "findings": Request(1, 0, 2_000, 15)}
    bare = snakemake_arguments(asked, Site())
    assert "--default-resources" not in bare
    assert bare[bare.index("--set-resources") + 1 : bare.index("--set-threads")] == [
        *("quant_kld:mem_mb=9000", "quant_kld:runtime=30", "quant_kld:gpu=1"),
        *("findings:mem_mb=2000", "findings:runtime=15"),
    ]
    assert bare[-2:] == ["quant_kld=8", "findings=1"]
    assert "quant_kld:gpu_model='a100'" in snakemake_arguments(asked, Site(gpu_model="a100"))
    full = snakemake_arguments(asked, Site(partition="long", account="physics"))
    assert full[:3] == ["--default-resources", "slurm_partition='long'", "slurm_account='physics'"]


@pytest.mark.parametrize(
    ("written", "minutes"),
    [("1-00:00:00", 1440), ("02:30:00", 150), ("7-12:00:01", 10801), ("UNLIMITED", None), ("00:00:30", 1)],
)
def test_a_partitions_longest_time_is_read_as_slurm_prints_it(written, minutes):
    assert most_minutes({"MaxTime": written}) == minutes


def test_a_planned_time_is_held_to_the_partitions_limit_and_a_given_one_beyond_it_is_refused():
    partition = {"PartitionName": "short", "MaxTime": "01:00:00"}
    asked = {"quant_kld": Request(1, 0, 1, 240), "findings": Request(1, 0, 1, 15)}
    assert {rule: r.minutes for rule, r in within(partition, Site(), asked).items()} == {
        "quant_kld": 60,
        "findings": 15,
    }
    with pytest.raises(ClusterError, match="No job may run for 240 minutes in partition 'short'"):
        within(partition, Site(minutes=240), asked)
