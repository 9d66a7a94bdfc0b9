"""What the cluster at hand says: whether it can run the jobs, how to ask for their states, and which are left over."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from qkld.errors import ClusterError
from qkld.workflow.slurm.site import Request, Site

PROGRAMS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")

ANSWER_SECONDS = 60.0
"""What a command of SLURM gets; without its controller it gives up by itself after about ten seconds."""

LONGEST_LOOK = 180
"""Most seconds between two looks of Snakemake's executor at its jobs: finished ones must be known for longer."""

END_SECONDS = 60.0
"""What cancelled jobs get to be gone."""

_FACT = re.compile(r"^(\w+)\s*=\s*(.*?)\s*$", re.MULTILINE)
_WORD = re.compile(r"(\w+)=(\S*)")


def ask(*command: str) -> str:
    """What a command of SLURM prints.

    Raises
    ------
    ClusterError
        If there is no such command, or it fails or does not answer; the message holds what it said.
    """
    done = _done(*command)
    if done.returncode:
        raise _silent(command, done.stderr.strip() or f"status {done.returncode}")
    return done.stdout


def _done(*command: str) -> subprocess.CompletedProcess[str]:
    """A command of SLURM that has ended, well or not."""
    if shutil.which(command[0]) is None:
        raise ClusterError(
            "There is no SLURM cluster here.",
            expected=f"its commands {', '.join(PROGRAMS)}",
            found=f"no {command[0]}",
            do="start the study on a machine that submits jobs, or without --profile slurm",
        )
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise _silent(command, f"nothing in {ANSWER_SECONDS:.0f} s") from error


def _silent(command: tuple[str, ...], found: str) -> ClusterError:
    return ClusterError(
        "The SLURM cluster does not answer.",
        expected=f"an answer to {' '.join(command)}",
        found=found,
        do="try again when `sinfo` answers; jobs that run meanwhile go on",
    )


def partitions() -> dict[str, dict[str, str]]:
    """Every partition that the user can see, with what `scontrol show partition` says of it."""
    lines = ask("scontrol", "--oneliner", "show", "partition").splitlines()
    described = [dict(_WORD.findall(line)) for line in lines if line.strip()]
    return {words["PartitionName"]: words for words in described if "PartitionName" in words}


def check_partition(site: Site) -> dict[str, str]:
    """What the cluster says of the site's partition, or of its default one.

    Raises
    ------
    ClusterError
        If there is no such partition, or none is named and the cluster has no default.
    """
    known = partitions()
    default = next((name for name, words in known.items() if words.get("Default") == "YES"), None)
    name = site.partition or default
    if name is None:
        raise ClusterError(
            "No partition is named, and this cluster has no default one.",
            expected=f"one of {sorted(known)}",
            found="none",
            do="give --partition NAME, or write it into the site's file",
        )
    if name not in known:
        raise ClusterError(
            f"This cluster has no partition '{name}'.",
            expected=f"one of {sorted(known)}",
            found=name,
            do="give another by --partition or in the site's file",
        )
    return known[name]


def most_minutes(partition: Mapping[str, str]) -> int | None:
    """The longest time that a partition lets a job run; None where it sets no limit."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", partition.get("MaxTime", ""))
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return days * 1440 + hours * 60 + minutes + (seconds > 0)


def within(partition: Mapping[str, str], site: Site, asked: Mapping[str, Request]) -> dict[str, Request]:
    """The requests, with times that come from the plan held to the partition's limit.

    Raises
    ------
    ClusterError
        If the site's own minutes are beyond it: such a job would wait for ever.
    """
    most = most_minutes(partition)
    if most is None:
        return dict(asked)
    if site.minutes and site.minutes > most:
        raise ClusterError(
            f"No job may run for {site.minutes} minutes in partition '{partition['PartitionName']}'.",
            expected=f"at most {most}",
            found=site.minutes,
            do="lower minutes in the site's file, or name another partition",
        )
    return {rule: replace(request, minutes=min(request.minutes, most)) for rule, request in asked.items()}


def check_requests(site: Site, asked: Mapping[str, Request]) -> None:
    """Ask the cluster whether each request could be run at all; nothing is submitted.

    Raises
    ------
    ClusterError
        With what the cluster said of the first that could not.
    """
    place = [*_option("partition", site.partition), *_option("account", site.account)]
    for request in dict.fromkeys(asked.values()):
        wanted = [f"--cpus-per-task={request.threads}", f"--mem={request.memory_mb}", f"--time={request.minutes}"]
        kind = f"{site.gpu_model}:" if site.gpu_model else ""
        wanted += [f"--gpus={kind}{request.gpus}"] if request.gpus else []
        done = _done("sbatch", "--test-only", *place, *wanted, "--wrap=true")
        if done.returncode:
            rules = [rule for rule, other in asked.items() if other == request]
            raise ClusterError(
                f"This cluster cannot run the jobs of {', '.join(rules)}.",
                expected=f"a node for {' '.join([*place, *wanted])}",
                found="; ".join(line.strip() for line in done.stderr.splitlines() if line.strip()),
                do="change partition, gpus, gpu_model, threads, minutes or memory_mb in the site's file",
            )


def _option(name: str, value: str | None) -> list[str]:
    return [f"--{name}={value}"] if value else []


def _has_accounts(facts: Mapping[str, str]) -> bool:
    return facts.get("AccountingStorageType", "").endswith("slurmdbd") and shutil.which("sacct") is not None


def settings() -> dict[str, str]:
    """The cluster's settings, as `scontrol show config` prints them."""
    return dict(_FACT.findall(ask("scontrol", "show", "config")))


def check_account(site: Site, facts: Mapping[str, str]) -> None:
    """Refuse an account where the cluster has none: no job could be charged to it.

    Raises
    ------
    ClusterError
        If the site names one and the cluster's settings have no accounting.
    """
    if site.account and not _has_accounts(facts):
        raise ClusterError(
            "This cluster keeps no accounts.",
            expected="no account",
            found=site.account,
            do="leave --account away, and take it out of the site's file",
        )


def status_command(facts: Mapping[str, str]) -> str:
    """How the states of jobs are asked for: ``sacct`` where the cluster keeps accounts, else ``squeue``.

    Without accounts sacct answers nothing, and a workflow that asks it waits for ever.

    Raises
    ------
    ClusterError
        If there are no accounts and finished jobs are forgotten sooner than they are looked at.
    """
    if _has_accounts(facts):
        return "sacct"
    kept = re.match(r"\d+", facts.get("MinJobAge", ""))
    if kept and int(kept.group()) <= LONGEST_LOOK:
        raise ClusterError(
            "This cluster keeps no accounts and forgets finished jobs too soon to be seen.",
            expected=f"AccountingStorageType=accounting_storage/slurmdbd, or MinJobAge above {LONGEST_LOOK} s",
            found=f"MinJobAge {kept.group()} s",
            do="ask whoever runs the cluster to raise MinJobAge in slurm.conf",
        )
    return "squeue"


def job_prefix(run: Path) -> str:
    """What the names of all SLURM jobs of a run folder begin with."""
    name = re.sub(r"[^A-Za-z0-9_-]", "-", run.name)[:30]
    return f"qkld-{name}-{hashlib.sha256(str(run).encode()).hexdigest()[:10]}"


def jobs_of(run: Path) -> list[str]:
    """Numbers of the SLURM jobs of this or an earlier run of the same folder that wait, run or end."""
    listed = ask("squeue", "--noheader", f"--user={os.getuid()}", "--format=%A|%j")
    named = (line.partition("|") for line in listed.splitlines())
    return sorted({number for number, _, name in named if name.startswith(job_prefix(run))}, key=int)


def end_jobs(run: Path) -> int:
    """Cancel the SLURM jobs that a run left behind, and wait until they are gone; returns how many there were.

    Raises
    ------
    ClusterError
        If they do not end, or the cluster does not answer.
    """
    left = jobs_of(run)
    if not left:
        return 0
    ask("scancel", *left)
    give_up = time.monotonic() + END_SECONDS
    while still := jobs_of(run):
        if time.monotonic() > give_up:
            raise ClusterError(
                f"SLURM jobs of a stopped run in {run} do not end.",
                expected="none left after scancel",
                found=still,
                do="wait until `squeue` no longer shows them, then run the same command again",
            )
        time.sleep(1.0)
    return len(left)
