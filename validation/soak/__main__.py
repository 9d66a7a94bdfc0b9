"""``python -m validation.soak``: faults of four kinds, counted → ``figures/soak/soak.json`` and ``soak.md``."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qkld.errors import QkldError
from qkld.study.paths import StudyPaths
from qkld.workflow.commands.arguments import whole_number
from validation.soak.disks import disks_count
from validation.soak.flips import HELD, flip_bytes
from validation.soak.kills import kills_count, notebooks_to_kill
from validation.soak.record import Count, write_record
from validation.soak.studies import ANALYSED, MEASURED, StudyFolder, without
from validation.soak.twice import twice_count

SEED = 2606


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, write and print; 1 where a fault was lost, 2 for an error that names expected, found and what to do."""
    options = _options(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="qkld-soak-") as folder:
            counts, more = soak(options, Path(folder))
        print(write_record(options.out or StudyPaths("soak").figures, counts, more))
    except QkldError as error:
        print(f"soak: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 1 if any(count.lost for count in counts) else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m validation.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=whole_number, default=20, help="SIGKILLs (default 20)")
    parser.add_argument("--flips", type=whole_number, default=1000, help="bytes that are changed (default 1000)")
    parser.add_argument("--disks", type=whole_number, default=10, help="full disks (default 10)")
    parser.add_argument("--twice", type=whole_number, default=5, help="studies started twice (default 5)")
    parser.add_argument("--cores", type=whole_number, default=2, help="of each run (default 2)")
    parser.add_argument("--analysis", action="store_true", help="kills and full disks from notebook 03b on alone")
    parser.add_argument("--unbroken", type=Path, help="folder with runs/ and figures/ of a finished smoke study")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of what is drawn (default {SEED})")
    parser.add_argument("--out", type=Path, help="folder of the record (default figures/soak)")
    return parser.parse_args(arguments)


def soak(options: argparse.Namespace, folder: Path) -> tuple[list[Count], dict[str, Any]]:
    """Every kind of fault in turn, in a folder of its own below this one."""
    rng, start = np.random.default_rng(options.seed), time.monotonic()
    whole = _unbroken(options, folder)
    flips = flips_counts(whole, options.flips, rng)
    _told("flips", start)
    twice = twice_count(whole, whole.run, options.twice)
    _told("twice", start)
    killed = StudyFolder(folder / "kills", options.cores)
    if options.analysis:
        without(whole.run, killed.run, ANALYSED)
    kills, every_kill = kills_count(killed, whole.run, notebooks_to_kill(options.kills, options.analysis, rng), rng)
    _told("kills", start)
    begun = without(whole.run, folder / "begun", ANALYSED if options.analysis else MEASURED)
    disks, every_disk = disks_count(folder / "disk", begun, whole.run, options.disks, rng)
    _told("disks", start)
    more = {"seed": options.seed, "kills": every_kill, "disks": every_disk, "seconds": time.monotonic() - start}
    return [kills, *flips, disks, twice], more


def _told(what: str, start: float) -> None:
    print(f"soak: {what} after {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


def _unbroken(options: argparse.Namespace, folder: Path) -> StudyFolder:
    """A copy of the finished study that was given, else one that is run now."""
    whole = StudyFolder(folder / "whole", options.cores)
    if options.unbroken:
        shutil.copytree(options.unbroken, whole.folder)
    status, words = whole.said()
    if status:
        raise QkldError("The unbroken study does not end.", expected="status 0", found=words[-2000:], do="mend it")
    return whole


def flips_counts(whole: StudyFolder, number: int, rng: np.random.Generator) -> list[Count]:
    """A row of the record for each kind of file; what was lost is also printed."""
    os.environ.update({name: value for name, value in whole.variables().items() if name.startswith("QKLD_")})
    outcomes = flip_bytes(whole, number, rng)
    for place in (place for found in outcomes.values() for place in found.missed):
        print(f"soak: {place}", file=sys.stderr, flush=True)
    return [found.count(kind, HELD[kind]) for kind, found in outcomes.items()]


if __name__ == "__main__":
    sys.exit(main())
