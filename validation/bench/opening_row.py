"""Row 7: from the start of a process to the first window or pack, as the kernels of notebooks 02 and 03 go there.

Beside an earlier commit, which runs in turn with today's state: a machine that others work on too is slower now and
faster then, and pairs of neighbours in time share that.
"""

from __future__ import annotations

import io
import json
import os
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qkld.errors import QkldError
from qkld.models.opening import stored_folder
from qkld.study.params import load_params
from qkld.study.paths import data_folder, project_root
from qkld.study.texts import lines
from qkld.workflow.notebooks import kernel_environment
from qkld.workflow.processes import KERNEL_START
from validation.bench.figures import Figure
from validation.bench.machine import Machine
from validation.bench.stage import STUDY

TARGET = 0.6
ROUNDS = 5

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
"""What runs in a fresh process: the notebook's own imports, then its way to a window or pack.

Making a quant is its library's time: the reference."""

BEFORE = "6b8000d"
"""The commit that today's state is held to."""

ITS_NAMES = {
    "qkld.study.params": "qkld.params",
    "from qkld.benchmarks.harness_tasks import fetched_task, items_of": (
        "from qkld.benchmarks.loading import items_of; from qkld.benchmarks.recording import fetched_task"
    ),
}
"""What `SCRIPT` imports → where it lay at that commit."""


@dataclass(frozen=True)
class Opening:
    """Seconds of one notebook's way to its first window or pack: by the clock, of them imports, and of processor."""

    whole: float
    imports: float
    processor: float


@dataclass(frozen=True)
class State:
    """A state of the project that can be run.

    Attributes
    ----------
    root, data : its root, and its folder of what was downloaded and converted
    start, script : what a kernel of it runs first, and `SCRIPT` in its names
    """

    root: Path
    data: Path
    start: str = ""
    script: str = SCRIPT

    def opening(self, stage: str, runs: Path) -> Opening:
        """One fresh process. A QkldError if it fails."""
        notebook = self.root / "notebooks" / f"{stage}.ipynb"
        own = {"PYTHONPATH": str(self.root / "src"), "QKLD_ROOT": str(self.root), "QKLD_DATA": str(self.data)}
        done = subprocess.run(
            [sys.executable, "-c", self.start + self.script, str(time.monotonic()), str(notebook), STUDY],
            env={**os.environ, **kernel_environment(threads=1), **own, "QKLD_RUNS": str(runs)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise QkldError(
                f"The benchmark of opening for {stage} failed in {self.root}.",
                expected="a process that opens the reference",
                found=done.stderr[-800:],
                do="see the error above",
            )
        return Opening(**json.loads(lines(done.stdout)[-1]))


def today() -> State:
    """The project as it is, in kernels that start as a study's do."""
    return State(project_root(), data_folder(), KERNEL_START)


def earlier(folder: Path) -> State | None:
    """The project at `BEFORE`, unpacked into a folder; None where the repository does not have that commit.

    Its demo gets the number of items that today's has: the work is to be the same. What it converts goes into the same
    folder, and what was downloaded is today's.
    """
    packed = ["git", "-C", str(project_root()), "archive", BEFORE, "src", "notebooks", "params"]
    done = subprocess.run(packed, capture_output=True, check=False)
    if done.returncode:
        return None
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    params, first = folder / "params" / f"{STUDY}.yaml", load_params(STUDY).benchmarks[0]
    told = re.sub(rf"(task: {first.task}, .*limit: )\d+", rf"\g<1>{first.limit}", params.read_text(encoding="utf-8"))
    params.write_text(told, encoding="utf-8")
    (folder / "data").mkdir()
    (folder / "data" / "assets").symlink_to(data_folder() / "assets")
    script = SCRIPT
    for name, its in ITS_NAMES.items():
        script = script.replace(name, its)
    return State(folder, folder / "data", script=script)


def openings_of(stage: str, states: Sequence[State], *, rounds: int) -> list[list[Opening]]:
    """Every state's openings, run in turn: rounds of one each."""
    with tempfile.TemporaryDirectory(prefix="qkld-bench-") as runs:
        found = [[state.opening(stage, Path(runs, str(i))) for i, state in enumerate(states)] for _ in range(rounds)]
    return [list(of_state) for of_state in zip(*found, strict=True)]


def limit_seconds(machine: Machine) -> float:
    """See `LIMIT`."""
    study = load_params(STUDY)
    stored = sum(file.stat().st_size for file in stored_folder(study.reference).iterdir() if file.is_file())
    return 3 * stored / machine.bytes_per_second


def opening_row(machine: Machine, *, rounds: int = ROUNDS) -> list[Figure]:
    """Both notebooks' processor time, and the median of its quotients by that of the earlier commit, pair by pair."""
    with tempfile.TemporaryDirectory(prefix="qkld-bench-") as folder:
        before = earlier(Path(folder))
        states = [today(), *([] if before is None else [before])]
        for state in states:
            state.opening(NOTEBOOKS[0], Path(folder, "runs"))  # untimed: what is converted once lies there from then on
        found = {stage: openings_of(stage, states, rounds=rounds) for stage in NOTEBOOKS}
    limit = limit_seconds(machine)
    return [figure for stage in NOTEBOOKS for figure in _figures(stage, found[stage], limit)]


def _figures(stage: str, found: Sequence[Sequence[Opening]], limit: float) -> list[Figure]:
    now, *before = found
    best = min(now, key=lambda opening: opening.processor)
    detail = f"{stage}: {best.whole:.1f} s by the clock, {best.imports:.1f} s of them imports; of processor"
    figures = [Figure(7, detail, best.processor, "s", limit=limit, limit_formula=LIMIT)]
    if not before:
        note = f"The repository here does not have commit {BEFORE}."
        return [*figures, Figure(7, f"{stage} over commit {BEFORE}", None, target=TARGET, note=note)]
    pairs = [(one.processor, other.processor) for one, other in zip(now, before[0], strict=True)]
    ours, its = (statistics.median(times) for times in zip(*pairs, strict=True))
    what = f"{stage} over commit {BEFORE}, median of {len(pairs)} pairs: {ours:.1f} s over {its:.1f} s"
    return [*figures, Figure(7, what, statistics.median(one / other for one, other in pairs), target=TARGET)]
