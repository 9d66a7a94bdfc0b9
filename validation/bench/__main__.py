"""Measure speed, memory and size in one run → figures/bench/bench.json and bench.md."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from qkld.errors import QkldError
from qkld.models.transformers_library import quiet_loading
from qkld.study.paths import StudyPaths
from qkld.study.provenance import made_by, write_json, written_whole
from qkld.workflow.commands.arguments import whole_number
from validation.bench.analysis_row import AnalysisSizes, analysis_row
from validation.bench.figures import Figure, bench_tables
from validation.bench.items_row import items_row
from validation.bench.llamacpp_row import llamacpp_row
from validation.bench.machine import Machine, measure_machine
from validation.bench.measuring_row import measuring_row
from validation.bench.opening_row import opening_row
from validation.bench.scaling_row import scaling_row
from validation.bench.store_row import store_row
from validation.bench.walk_row import Sizes, walk_row

GROUPS = ("walk", "measuring", "llamacpp", "scaling", "analysis", "opening", "items")
"""What runs, in this order; ``measuring`` gives rows 1 and 4."""

Result = tuple[list[Figure], dict[str, Any]]


def _walk(machine: Machine, folder: Path) -> Result:
    figures, costs = walk_row(machine, Sizes(threads=machine.threads))
    return figures, {"walk": costs}


def _measuring(machine: Machine, folder: Path) -> Result:
    figures, timings = measuring_row(machine, folder)
    stored = next(t.store for t in timings if t.variant.compute_dtype == "bfloat16")
    return [*figures, *store_row(stored)], {}


def _llamacpp(machine: Machine, folder: Path) -> Result:
    return llamacpp_row(machine, folder), {}


def _scaling(machine: Machine, folder: Path) -> Result:
    figures, points = scaling_row(folder)
    return figures, {"points": points}


def _analysis(machine: Machine, folder: Path) -> Result:
    figures, cost = analysis_row(machine, folder, AnalysisSizes(threads=machine.threads))
    return figures, {"analysis": cost}


def _opening(machine: Machine, folder: Path) -> Result:
    return opening_row(machine), {}


def _items(machine: Machine, folder: Path) -> Result:
    return items_row(machine, folder), {}


RUNNERS: dict[str, Callable[[Machine, Path], Result]] = {
    "walk": _walk,
    "measuring": _measuring,
    "llamacpp": _llamacpp,
    "scaling": _scaling,
    "analysis": _analysis,
    "opening": _opening,
    "items": _items,
}


def run(groups: Sequence[str]) -> tuple[Machine, list[Figure], dict[str, Any]]:
    """Measure the machine, then every group in turn, each in a temporary folder of its own."""
    machine, figures, more = measure_machine(), [], {}
    for group in groups:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="qkld-bench-") as folder:
            found, extra = RUNNERS[group](machine, Path(folder))
        more |= extra | {f"{group}_seconds": time.perf_counter() - start}
        figures += found
        print(f"{group}: {more[f'{group}_seconds']:.0f} s", file=sys.stderr)
    return machine, figures, more


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, write and print; 2 for an error that names expected, found and what to do."""
    parser = argparse.ArgumentParser(prog="python -m validation.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS, help="run only these groups")
    parser.add_argument("--threads", type=whole_number, default=2, help="threads of each program (default 2)")
    parser.add_argument("--out", type=Path, help="output folder (default figures/bench)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        with quiet_loading():
            machine, figures, more = run(options.only)
        write_results(options.out or StudyPaths("bench").figures, machine, figures, more)
    except QkldError as error:
        print(f"bench: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


def write_results(folder: Path, machine: Machine, figures: Sequence[Figure], more: dict[str, Any]) -> None:
    """``bench.json`` with every number and what made it, and ``bench.md``, which is also printed."""
    text = bench_tables(machine, figures)
    values = {"machine": asdict(machine), "figures": [f.as_json() for f in figures], "made_by": made_by(), **more}
    write_json(folder / "bench.json", json.loads(json.dumps(values)))
    with written_whole(folder / "bench.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    sys.exit(main())
