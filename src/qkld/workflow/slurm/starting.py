"""What a run on a SLURM cluster is started with: checked requests as Snakemake's arguments, and the environment."""

from __future__ import annotations

from pathlib import Path

from qkld.study.params import Study
from qkld.workflow.plan import model_flop_per_second
from qkld.workflow.slurm.cluster import (
    check_account,
    check_partition,
    check_requests,
    job_prefix,
    settings,
    status_command,
    within,
)
from qkld.workflow.slurm.site import Site, requests, snakemake_arguments


def arguments(study: Study, site: Site, run: Path) -> list[str]:
    """Arguments of Snakemake for a study on the cluster at hand, which is asked whether it can run the jobs.

    Raises
    ------
    ClusterError
        If it cannot, or does not answer; nothing has been submitted then.
    """
    asked = requests(study, site, None if site.tokens_per_second else model_flop_per_second(study))
    asked = within(check_partition(site), site, asked)
    facts = settings()
    check_account(site, facts)
    check_requests(site, asked)
    told = ["--slurm-status-command", status_command(facts), "--slurm-jobname-prefix", job_prefix(run)]
    return [*told, *snakemake_arguments(asked, site)]


def arguments_unasked(study: Study, site: Site) -> list[str]:
    """The same for a dry run, which needs no cluster: nothing is asked of one."""
    return snakemake_arguments(requests(study, site, None), site)
