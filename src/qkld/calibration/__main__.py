"""``python -m qkld.calibration``: run the calibration and write ``calibration.json`` and ``calibration.md``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from qkld.calibration.runs import PARTS, SEED, Calibration, calibrate
from qkld.calibration.table import calibration_json, calibration_markdown
from qkld.errors import QkldError
from qkld.paths import project_root
from qkld.provenance import made_by, write_json, written_whole

RUNS = 2000
"""Cohorts a cell: a rate of .05 then has a standard error of .005."""


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m qkld.calibration", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="cohorts a cell (default %(default)s)")
    parser.add_argument("--cores", type=int, default=2, help="processes (default %(default)s)")
    parser.add_argument("--part", action="append", choices=list(PARTS), help="only this part; may be given again")
    parser.add_argument("--out", type=Path, help="folder of the results (default figures/calibration)")
    return parser.parse_args(arguments)


def _write(out: Path, found: Calibration, runs: int, wall: float) -> None:
    made = made_by(runs=runs, seed=SEED, wall_seconds=round(wall))
    write_json(out / "calibration.json", calibration_json(found, made))
    with written_whole(out / "calibration.md") as temporary:
        Path(temporary).write_text(calibration_markdown(found, made), encoding="utf-8")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, write, and print the bounds; the exit status is 0 whether or not they hold, as the table says it."""
    options = _options(arguments)
    try:
        start = time.perf_counter()
        found = calibrate(options.runs, cores=options.cores, parts=options.part or tuple(PARTS), progress=_say)
        wall = time.perf_counter() - start
        out = options.out or project_root() / "figures" / "calibration"
        _write(out, found, options.runs, wall)
    except QkldError as error:
        print(error, file=sys.stderr)
        return 1
    failed = [b for b in found.bounds if not b.passed]
    for bound in failed:
        print(f"broken: {bound.what}: {bound.where}: {bound.rate:.3f}, wanted {bound.wanted} (p {bound.p:.4f})")
    print(f"{len(found.bounds)} bounds, {len(failed)} broken, {wall:.0f} s: {out / 'calibration.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
