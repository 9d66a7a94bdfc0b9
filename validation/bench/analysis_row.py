"""Row 6: everything that notebooks 04 to 06 compute from cohort and items, at the paper's size.

The work runs in a process of its own on simulated tables, from their reading to the written results:
``python -m validation.bench.analysis_row '{"quants": 41, …}'`` prints its seconds and peak memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qkld.analysis import build_tables, correlation_tables, flip_tables, score_tables, zone_tables
from qkld.analysis.cohort import composite_of
from qkld.analysis.evidence import Evidence
from qkld.analysis.headline import zone_of
from qkld.analysis.study import LoadedStudy
from qkld.errors import QkldError
from qkld.statistics.items.scores import benchmark_scores
from qkld.study.params import ToBeChecked, load_params
from qkld.study.provenance import made_by
from qkld.study.schemas import COHORT, ITEMS, write_table
from qkld.study.texts import lines
from validation.bench.figures import Figure
from validation.bench.machine import Machine
from validation.bench.memory import peak_memory
from validation.bench.simulated_tables import simulated_tables

STUDY = "devstral-small-2-24b"
"""The study whose quants, benchmarks, variants and numbers of draws are taken: 41 quants, B = 10,000."""

DRAWS = {
    "silent_zone": ("split_rounds", "null_draws", "left_out_draws", "edge_draws"),
    "volume_direction": ("thinning_draws",),
}
"""Numbers of draws beside those of the bootstrap, by section."""

LEAST_DRAWS = 20
SEED = 2606
SECONDS_TARGET, BYTES_TARGET = 60.0, 2e9

Tables = dict[str, pd.DataFrame]


@dataclass(frozen=True)
class AnalysisSizes:
    """Quants, items over all benchmarks together, resamples of the bootstrap, and threads."""

    quants: int = 41
    items: int = 20_000
    resamples: int = 10_000
    threads: int = 2


@dataclass(frozen=True)
class AnalysisCost:
    """Seconds from written tables to written results, of each notebook's share, and peak resident bytes meanwhile."""

    seconds: float
    shares: dict[str, float]
    peak_bytes: int


# --- the work ---------------------------------------------------------------------------------------------------------


def correlations(study: LoadedStudy) -> Tables:
    """Notebook 04 without what it reads from tokens."""
    evidence = Evidence.of_study(study)
    return {
        "scores": benchmark_scores(study.items),
        "composite": composite_of(study.params, study.items),
        "correlation": correlation_tables.correlation_table(evidence),
        "partial": correlation_tables.partial_table(evidence),
    }


def zone(study: LoadedStudy) -> Tables:
    """Notebook 05."""
    evidence = Evidence.of_study(study)
    return {
        "zone_members": zone_tables.members_table(evidence),
        "zone": zone_tables.zone_table(evidence),
        "zone_rules": zone_tables.rules_table(evidence),
        "zone_split": zone_tables.split_table(evidence),
        "zone_break": zone_tables.break_table(evidence),
        "variants": zone_tables.variants_table(evidence),
        "differences": zone_tables.differences_table(evidence),
        "zone_curve": zone_tables.curve_table(evidence),
        "noise": zone_tables.noise_table(evidence),
        "verdict": zone_tables.verdict_table(evidence),
        "leave_one_out": zone_tables.leave_one_out_table(evidence),
        "zone_edge": zone_tables.edge_table(evidence),
        "two_scores": score_tables.two_scores_table(evidence),
    }


def direction(study: LoadedStudy) -> Tables:
    """Notebook 06, with the zone that notebook 05 wrote."""
    evidence = Evidence.of_study(study, zone=zone_of(study).labels)
    replicates = build_tables.replicates(evidence)
    return {
        "flips": flip_tables.flip_table(evidence),
        "self_flips": flip_tables.self_flip_table(evidence, study.second_run),
        "volume_direction": flip_tables.direction_table(evidence),
        "thinning": flip_tables.thinning_table(evidence),
        "decision": flip_tables.decision_table(evidence),
        "pairs": flip_tables.pair_table(evidence),
        "probability": score_tables.probability_table(evidence),
        **{name: make(replicates) for name, make in build_tables.TABLES.items()},
    }


STAGES: dict[str, Callable[[LoadedStudy], Tables]] = {"04": correlations, "05": zone, "06": direction}


def sized_study(sizes: AnalysisSizes) -> LoadedStudy:
    """`STUDY` with its first quants and this many resamples and permutations, and all other draws in proportion."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ToBeChecked)
        params = load_params(STUDY)
    share = sizes.resamples / params.correlation.correlation_bootstrap
    drawn = {
        "correlation": {"correlation_bootstrap": sizes.resamples, "permutations": sizes.resamples - 1},
        **{section: _scaled(getattr(params, section), names, share) for section, names in DRAWS.items()},
    }
    changes = {section: getattr(params, section).model_copy(update=values) for section, values in drawn.items()}
    return LoadedStudy(params.model_copy(update={"quants": params.quants[: sizes.quants], **changes}))


def _scaled(section: Any, names: Sequence[str], share: float) -> dict[str, int]:
    return {name: max(LEAST_DRAWS, round(share * getattr(section, name))) for name in names}


def cost(sizes: AnalysisSizes) -> AnalysisCost:
    """Simulate the tables, then do the work; below ``$QKLD_RUNS``."""
    study = sized_study(sizes)
    simulated = simulated_tables(study.params, sizes.items, rng=np.random.default_rng(SEED))
    made = made_by(study=STUDY, simulated=True)
    write_table(study.paths.cohort, simulated.cohort, COHORT, made)
    write_table(study.paths.all_items, simulated.items, ITEMS, made)
    del simulated
    shares = {}
    with peak_memory() as peak:
        for name, stage in STAGES.items():
            start = time.perf_counter()
            for table, values in stage(study).items():
                study.save_analysis(table, values)
            shares[name] = time.perf_counter() - start
    return AnalysisCost(sum(shares.values()), shares, peak.highest)


# --- the row ----------------------------------------------------------------------------------------------------------


def cost_apart(sizes: AnalysisSizes, folder: Path) -> AnalysisCost:
    """The work in a process of its own, with as many threads of the linear algebra as ``sizes`` says."""
    threads = {name: str(sizes.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    command = [sys.executable, "-m", "validation.bench.analysis_row", json.dumps(asdict(sizes))]
    environment = {**os.environ, **threads, "QKLD_RUNS": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise QkldError(
            "The benchmark of the analysis failed.",
            expected="exit status 0",
            found=f"{done.returncode}: {done.stderr[-500:]}",
            do="see the message",
        )
    return AnalysisCost(**json.loads(lines(done.stdout)[-1]))


def analysis_row(machine: Machine, folder: Path, sizes: AnalysisSizes) -> tuple[list[Figure], dict[str, Any]]:
    """The figures of row 6, and what they rest on; smaller ``sizes`` than the paper's are not judged."""
    found = cost_apart(sizes, folder)
    shares = ", ".join(f"notebook {name} {seconds:.1f} s" for name, seconds in found.shares.items())
    size = f"{sizes.quants} quants, {sizes.items:,} items, {sizes.resamples:,} resamples"
    as_asked = sizes.quants >= 41 and sizes.items >= 20_000 and sizes.resamples >= 10_000
    note = (
        "Simulated tables: quants, benchmarks, variants and draws of "
        f"`{STUDY}`; from reading cohort and items to written result tables, kernels and figures left out, as is what "
        f"notebook 04 reads from tokens. One process, {machine.threads} threads."
    )
    time_figure = Figure(
        row=6,
        what=f"time, {size}: {shares}",
        value=found.seconds,
        unit="s",
        target=SECONDS_TARGET,
        note=note,
        applies=as_asked,
    )
    memory = Figure(
        row=6, what="peak memory", value=found.peak_bytes / 1e9, unit="GB", target=BYTES_TARGET / 1e9, applies=as_asked
    )
    return [time_figure, memory], {"sizes": asdict(sizes), **asdict(found)}


if __name__ == "__main__":
    print(json.dumps(asdict(cost(AnalysisSizes(**json.loads(sys.argv[1]))))))
