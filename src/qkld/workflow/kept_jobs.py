"""The jobs whose tables a repository keeps model by model, and the digest of the parameters that each was run with."""

from __future__ import annotations

import ast
import json
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qkld.study.params import Study
from qkld.study.paths import CommittedPaths, StudyPaths
from qkld.study.provenance import key_of
from qkld.study.taken import JobKey
from qkld.workflow.plan import measured_labels, scored_labels
from qkld.workflow.rules import VERSIONS, job_parameters

REFERENCES = {"quant_kld": "reference_corpora", "benchmark_scores": "reference_benchmarks"}
"""Rule of a model's job → that of the reference's which it reads."""

OF = {"quant_kld": "KLD", "benchmark_scores": "items"}
"""What a rule's tables hold, in a word."""


def kept_jobs(study: Study) -> list[JobKey]:
    """Every job that measures a model: its KLDs, its items."""
    kld = [("quant_kld", label) for label in measured_labels(study)]
    return kld + [("benchmark_scores", label) for label in scored_labels(study)]


def run_files(paths: StudyPaths, job: JobKey) -> tuple[Path, ...]:
    """The files that a job writes into a run's folder."""
    rule, label = job
    return (paths.kld(label), paths.fidelity(label)) if rule == "quant_kld" else (paths.items(label),)


def kept_files(kept: CommittedPaths, job: JobKey) -> tuple[Path, ...]:
    """The files that are kept of a job, in the order of `run_files`."""
    rule, label = job
    return (kept.tokens(label), kept.fidelity(label)) if rule == "quant_kld" else (kept.items(label),)


def parameters_digest(study: Study, job: JobKey) -> str:
    """Name of everything in the parameters that changes a job's tables: of the model, its reference and the texts."""
    rule, label = job
    return _digest(job_parameters(study, REFERENCES[rule]), job_parameters(study, rule, label))


def _digest(reference: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    return key_of({"reference": reference, "own": own})


# --- what a run was made with -----------------------------------------------------------------------------------------


def recorded_digests(study: Study, paths: StudyPaths) -> dict[JobKey, str]:
    """Job → digest of the parameters that Snakemake has recorded of it, of every job that has ended in a run here."""
    records = dict(_records(paths.run / ".snakemake" / "metadata"))
    seals = {"quant_kld": paths.corpora_seal, "benchmark_scores": paths.benchmarks_seal}
    found = {}
    for job in kept_jobs(study):
        files = [seals[job[0]], *run_files(paths, job)]
        values = [records.get(str(file.relative_to(paths.run))) for file in files]
        if all(file.exists() for file in files) and all(values):
            found[job] = _digest(values[0], values[-1])
    return found


def _records(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """File → parameters that a job was run with, of every file that Snakemake has recorded.

    A record's path is the file's in base64, cut into folders that begin with ``@`` where it is long.
    """
    for path in folder.rglob("*"):
        if path.is_file():
            name = "".join(part.lstrip("@") for part in path.relative_to(folder).parts)
            yield urlsafe_b64decode(name).decode(), _recorded(path)


def _recorded(path: Path) -> dict[str, Any]:
    """Parameters in a record of Snakemake; nothing of one that is being written, or of a rule without values."""
    try:
        values = json.loads(ast.literal_eval(json.loads(path.read_text())["params"][0]))
    except (ValueError, SyntaxError, KeyError, IndexError, TypeError):
        return {}
    return {name: value for name, value in values.items() if name not in VERSIONS} if isinstance(values, dict) else {}
