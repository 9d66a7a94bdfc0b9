"""Why a job failed, from logs as Snakemake's executor and SLURM write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from qkld.workflow.slurm.failures import STATES, UNSEEN, FailedJob, causes, failed_jobs
from qkld.workflow.watching import Watch, failed_lines

ERROR = """\
[Sun Nov 29 13:42:31 2026]
Error in rule {rule}:
    message: SLURM-job '{number}' failed, SLURM status is: '{state}'. Detailed failure reason unavailable \
(status command is not 'sacct').For further error details see the cluster/cloud log and the log files of the \
involved rule(s).
    jobid: 2
    input: seals/corpora.json
    output: kld/{label}.parquet, fidelity/{label}.parquet
    log: notebooks/02_quant_kld.{label}.ipynb, {log} (check log file(s) for error details)
    shell:
        qkld notebook 02_quant_kld --study smoke --quant {label} --threads 1
        (command exited with non-zero exit code)
    external_jobid: {number}
"""
LINES_OF_MEMORY = (
    "slurmstepd: error: StepId=7.batch exceeded memory limit (410816512 > 104857600), being killed",
    "slurmstepd: error: Exceeded job memory limit",
    "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0. Some of the step tasks have been OOM Killed.",
    "slurmstepd: error: Detected 2 oom-kill event(s) in StepId=7.batch cgroup. Some of your processes may have been "
    "killed by the cgroup out-of-memory handler.",
)


def slurm_log(run: Path, number: str, text: str, folder: str = "rule_quant_kld/a.b-c") -> Path:
    path = run / ".snakemake" / "slurm_logs" / folder / f"{number}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def told(
    run: Path, state: str, *, number: str = "7", label: str = "a.b-c", text: str | None = "done\n"
) -> dict[str, str]:
    """Causes that a run's log with one failed job gives; with ``text``, SLURM's log of the job is there."""
    log = slurm_log(run, number, text) if text is not None else run / "nowhere" / f"{number}.log"
    (run / "run.log").write_text(ERROR.format(rule="quant_kld", number=number, state=state, label=label, log=log))
    return causes(run / "run.log", run)


@pytest.mark.parametrize("state", STATES)
def test_a_state_that_says_why_is_said_in_words(tmp_path, state):
    assert told(tmp_path, state) == {"02_quant_kld.a.b-c": f"SLURM job 7: {STATES[state]}"}


@pytest.mark.parametrize("line", LINES_OF_MEMORY)
@pytest.mark.parametrize("state", ["FAILED", "CANCELLED", "OUT_OF_MEMORY"])
def test_a_job_killed_for_memory_is_named_as_that_whatever_its_state(tmp_path, line, state):
    assert (
        "killed for memory; raise memory_mb"
        in told(tmp_path, state, text=f"Building DAG\n{line}\n")["02_quant_kld.a.b-c"]
    )


def test_a_job_without_a_log_was_on_a_node_that_does_not_see_the_folder(tmp_path):
    assert told(tmp_path, "FAILED", text=None) == {"02_quant_kld.a.b-c": f"SLURM job 7: {UNSEEN}"}


def test_of_a_job_that_failed_by_itself_its_own_word_counts(tmp_path):
    assert told(tmp_path, "FAILED", text="qkld: TableError: …") == {}


def test_an_arrays_task_has_its_log_under_another_folder_than_the_one_named(tmp_path):
    slurm_log(tmp_path, "9_2", LINES_OF_MEMORY[0], folder="rule_quant_kld")
    assert "for memory" in told(tmp_path, "FAILED", number="9_2", text=None)["02_quant_kld.a.b-c"]


def test_a_rule_without_a_notebook_is_named_by_itself_and_other_errors_are_none(tmp_path):
    text = (
        "Error in rule cohort:\n    message: SLURM-job '3' failed, SLURM status is: 'TIMEOUT'. Reason: Unknown.\n"
        "    jobid: 4\n    output: cohort.parquet\n    log: /x/3.log (check log file(s) for error details)\n"
        "    external_jobid: 3\n[now]\nError in rule prompts:\n    message: None\n    jobid: 5\n    log: a.ipynb\n"
    )
    assert list(failed_jobs(text, tmp_path)) == [FailedJob("cohort", "3", "TIMEOUT", Path("/x/3.log"))]


def test_a_failed_node_has_a_sentence_of_its_own_in_the_log(tmp_path):
    text = (
        "Error in rule findings:\n    message: SLURM-job '12' failed due to a node failure, SLURM status is: "
        "'NODE_FAIL'. Failed nodes will be excluded.\n    jobid: 1\n    log: notebooks/08_findings.ipynb, /x/12.log\n"
        "    external_jobid: 12\n"
    )
    assert [(job.name, job.state) for job in failed_jobs(text, tmp_path)] == [("08_findings", "NODE_FAIL")]


def test_what_the_cluster_knows_goes_before_what_the_job_could_say(tmp_path):
    watch = Watch("smoke", tmp_path, tmp_path / "run.log")
    (tmp_path / "02_quant_kld.a.b-c.failed").write_text("its kernel was killed")
    (tmp_path / "08_findings.failed").write_text("TableError: a table")
    lines = failed_lines(watch, 1, told(tmp_path, "OUT_OF_MEMORY"))
    assert [line for line in lines if "02_quant_kld" in line] == [
        "  02_quant_kld.a.b-c: SLURM job 7: it was killed for memory; raise memory_mb in the site's file"
    ]
    assert any("TableError" in line for line in lines)
