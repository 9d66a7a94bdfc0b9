"""Why SLURM jobs failed, in words: from Snakemake's log, and from the logs that SLURM kept of the jobs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^Error in (?:rule|group) (\w+).*:\n((?:[ \t].*\n?)+)", re.MULTILINE)
_STATE = re.compile(r"SLURM-job '[^']+' failed.*?SLURM status is:? '([A-Z_]+)'|failed due to a (node failure)")
_LOGS = re.compile(r"^ +log: (.*?)(?: \(check log file.*)?$", re.MULTILINE)
_NUMBER = re.compile(r"^ +external_jobid: (\S+)$", re.MULTILINE)
_MEMORY = re.compile(r"exceeded (?:job |step )?memory limit|oom.kill|out of memory", re.IGNORECASE)

NOTEBOOK = ".ipynb"

STATES: Mapping[str, str] = {
    "OUT_OF_MEMORY": "it was killed for memory; raise memory_mb in the site's file",
    "TIMEOUT": "it ran longer than its time limit; raise minutes in the site's file",
    "CANCELLED": "it was cancelled, by scancel or by whoever runs the cluster",
    "DEADLINE": "it could not end before its deadline",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node did not start",
}
"""What a job's last state says of why it ended. A plain FAILED says nothing: the job's own word counts."""

UNSEEN = (
    "it left no log here: its node does not see this folder. Put the runs (QKLD_RUNS), the figures, the data and the "
    "environment on a file system that every node mounts"
)


@dataclass(frozen=True)
class FailedJob:
    """A job that SLURM ran, or did not, and that failed.

    Attributes
    ----------
    name : str
        Of its executed notebook, as `qkld.workflow.rules.job_name` gives it; of its rule where it has none.
    number : str
        Of the SLURM job, or task of an array.
    state : str
        Its last state.
    log : Path or None
        Where SLURM's log of it should lie.
    """

    name: str
    number: str
    state: str
    log: Path | None

    def cause(self) -> str | None:
        """Why it failed, as far as SLURM knows; None where the job itself has to say it."""
        text = self._logged()
        if self.state == "OUT_OF_MEMORY" or (text and _MEMORY.search(text)):
            return f"SLURM job {self.number}: {STATES['OUT_OF_MEMORY']}"
        if self.state in STATES:
            return f"SLURM job {self.number}: {STATES[self.state]}"
        return f"SLURM job {self.number}: {UNSEEN}" if text is None else None

    def _logged(self) -> str | None:
        try:
            return self.log.read_text(errors="replace") if self.log else None
        except OSError:
            return None


def failed_jobs(log: str, run: Path) -> Iterator[FailedJob]:
    """The jobs that Snakemake's log of a run calls failed, in order."""
    for rule, block in _BLOCK.findall(log):
        state, number = _STATE.search(block), _NUMBER.search(block)
        if state is None or number is None:
            continue
        files = [Path(name) for found in _LOGS.findall(block) for name in found.split(", ")]
        notebooks = [file for file in files if file.suffix == NOTEBOOK]
        kept = [file for file in files if file.suffix != NOTEBOOK]
        name = notebooks[0].stem if notebooks else rule
        yield FailedJob(name, number[1], state[1] or "NODE_FAIL", _log_of(kept, number[1], run))


def _log_of(named: list[Path], number: str, run: Path) -> Path | None:
    """SLURM's log of a job: the one that is named, or, of a task of an array, the one that is there."""
    found = next((run / ".snakemake" / "slurm_logs").rglob(f"{number}.log"), None)
    return found or (named[0] if named else None)


def causes(log: Path, run: Path) -> dict[str, str]:
    """Job → why SLURM ended it, of those jobs of a run that did not say so themselves."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return {job.name: cause for job in failed_jobs(text, run) if (cause := job.cause())}
