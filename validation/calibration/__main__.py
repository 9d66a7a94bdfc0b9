"""Simulate the error rates of every statistic; write calibration.json, calibration.md and summary.md.

Finished blocks of runs are kept in runs/calibration, so the same command resumes a run that was stopped.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qkld.errors import QkldError
from qkld.study.paths import StudyPaths
from qkld.study.provenance import made_by, write_json, written_whole
from qkld.workflow.commands.arguments import whole_number
from validation.calibration.runs import PARTS, SEED, Calibration, calibrate
from validation.calibration.summary import summary_markdown
from validation.calibration.table import calibration_json, calibration_markdown

NAME = "calibration"
"""Of its folders under ``runs`` and ``figures``."""

RUNS = 2000
"""Cohorts a cell: a rate of .05 then has a standard error of .005."""


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m validation.calibration", description=__doc__)
    parser.add_argument(
        "--runs", type=whole_number, default=RUNS, help="simulated cohorts per cell (default %(default)s)"
    )
    parser.add_argument("--cores", type=whole_number, default=2, help="parallel processes (default %(default)s)")
    parser.add_argument("--part", action="append", choices=list(PARTS), help="only this part; repeatable")
    parser.add_argument("--out", type=Path, help="output folder (default figures/calibration)")
    return parser.parse_args(arguments)


def _write(out: Path, found: Calibration, made: dict[str, Any]) -> None:
    write_json(out / "calibration.json", calibration_json(found, made))
    for name, text in (("calibration", calibration_markdown(found, made)), ("summary", summary_markdown(found, made))):
        with written_whole(out / f"{name}.md") as temporary:
            temporary.write_text(text, encoding="utf-8")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, write, and print the bounds; the exit status is 0 whether or not they hold, as the table says it."""
    options = _options(arguments)
    own = StudyPaths(NAME)
    out, folder = options.out or own.figures, own.run if options.out is None else options.out / "blocks"
    parts = tuple(options.part or PARTS)
    try:
        start = time.perf_counter()
        found = calibrate(options.runs, cores=options.cores, parts=parts, folder=folder, progress=_say)
        wall = time.perf_counter() - start
        _write(out, found, made_by(runs=options.runs, seed=SEED, cores=options.cores, wall_seconds=round(wall)))
    except QkldError as error:
        print(error, file=sys.stderr)
        return 1
    failed = [b for b in found.bounds if b.missed]
    for bound in failed:
        print(f"not met: {bound.what}: {bound.where}: {bound.rate:.3f}, wanted {bound.wanted} (p {bound.p:.4f})")
    print(f"{len(found.bounds)} bounds, {len(failed)} not met, {wall:.0f} s: {out / 'calibration.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
