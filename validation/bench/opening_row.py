"""Row 7: from the start of a process to the first window or pack, as the kernels of notebooks 02 and 03 go there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qkld.errors import QkldError
from qkld.models.opening import stored_folder
from qkld.study.params import load_params
from qkld.study.texts import lines
from qkld.workflow.notebooks import kernel_environment, notebook_file
from qkld.workflow.processes import KERNEL_START
from validation.bench.figures import Figure
from validation.bench.machine import Machine
from validation.bench.stage import STUDY

TARGET = 0.6
ROUNDS = 3

BEFORE = Path(__file__).parent / "opening_before.json"
"""Processor seconds of commit 6b8000d, by processor and notebook: the best of four runs of `SCRIPT` in a work tree of
that commit, one thread, on a machine that did nothing else."""

NOTEBOOKS = ("02_quant_kld", "03_benchmark_scores")

LIMIT = (
    "the reference's files read once, its weights written once in the compute dtype and read once for their digest, at "
    "this machine's memory bandwidth"
)

SCRIPT = """
import ast, json, sys, time
START = float(sys.argv[1])
notebook, study = sys.argv[2:]
cells = [cell for cell in json.load(open(notebook))["cells"] if cell["cell_type"] == "code"]
statements = [s for cell in cells for s in ast.parse("".join(cell["source"])).body]
imports = [s for s in statements if isinstance(s, (ast.Import, ast.ImportFrom))]
exec(compile(ast.Module(imports, []), notebook, "exec"))
from qkld.models import open_model
from qkld.study.params import load_params
study = load_params(study)
imported = time.monotonic()
model = open_model(study.reference, reference=study.reference, compute=study.compute)
if "03_benchmark_scores" in notebook:
    from qkld.benchmarks.items import distinct
    from qkld.benchmarks.harness_tasks import fetched_task, items_of
    distinct(items_of(fetched_task(study.benchmarks[0]), model.tokenizer))
opened = time.monotonic()
print(json.dumps({"whole": opened - START, "imports": imported - START, "processor": time.process_time()}))
"""
"""What runs in a fresh process after `KERNEL_START`: the notebook's own imports, then its way to a window or pack.

At commit 6b8000d, whose kernels ran no such start, the modules lay flat in the package, and its demo had other items:
those of today stood in its file. Making a quant is its library's time: the reference."""


@dataclass(frozen=True)
class Opening:
    """Seconds of one notebook's way to its first window or pack: by the clock, of them imports, and of processor."""

    whole: float
    imports: float
    processor: float


def opening_of(stage: str, *, rounds: int = ROUNDS) -> Opening:
    """The best of several fresh processes; processor time is what other work on the machine changes least."""
    with tempfile.TemporaryDirectory(prefix="qkld-bench-") as folder:
        return min((_once(stage, Path(folder)) for _ in range(rounds)), key=lambda opening: opening.processor)


def _once(stage: str, runs: Path) -> Opening:
    command = [sys.executable, "-c", KERNEL_START + SCRIPT, str(time.monotonic()), str(notebook_file(stage)), STUDY]
    environment = {**os.environ, **kernel_environment(threads=1), "QKLD_RUNS": str(runs)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise QkldError(
            f"The benchmark of opening for {stage} failed.",
            expected="a process that opens the reference",
            found=done.stderr[-800:],
            do="see the error above",
        )
    return Opening(**json.loads(lines(done.stdout)[-1]))


def before_on(processor: str) -> Mapping[str, float]:
    """Notebook → processor seconds of commit 6b8000d on this processor; empty where it was not timed there."""
    return json.loads(BEFORE.read_text()).get(processor, {})


def limit_seconds(machine: Machine) -> float:
    """See `LIMIT`."""
    study = load_params(STUDY)
    stored = sum(file.stat().st_size for file in stored_folder(study.reference).iterdir() if file.is_file())
    return 3 * stored / machine.bytes_per_second


def opening_row(machine: Machine, *, rounds: int = ROUNDS) -> list[Figure]:
    """Both notebooks' processor time, and that over the time of commit 6b8000d on the same processor."""
    limit, before, figures = limit_seconds(machine), before_on(machine.processor), []
    for stage in NOTEBOOKS:
        now, then = opening_of(stage, rounds=rounds), before.get(stage)
        detail = f"{stage}: {now.whole:.1f} s by the clock, {now.imports:.1f} s of them imports; of processor"
        figures.append(Figure(7, detail, now.processor, "s", limit=limit, limit_formula=LIMIT))
        ratio = None if then is None else now.processor / then
        what = f"{stage} over commit 6b8000d" + ("" if then is None else f": {now.processor:.1f} s over {then:.1f} s")
        note = "" if then is not None else f"Commit 6b8000d was not timed on {machine.processor}."
        figures.append(Figure(7, what, ratio, target=TARGET, note=note))
    return figures
