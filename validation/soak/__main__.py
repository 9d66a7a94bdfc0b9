"""Inject faults of four kinds into a study and count how it recovers → figures/soak/soak.json and soak.md.

Of a kind whose number is 0 none is made.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
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
    parser.add_argument("--kills", type=int, default=20, help="number of SIGKILLs (default 20)")
    parser.add_argument("--flips", type=int, default=1000, help="number of changed bytes (default 1000)")
    parser.add_argument("--disks", type=int, default=10, help="number of full disks (default 10)")
    parser.add_argument("--twice", type=int, default=5, help="number of studies started twice (default 5)")
    parser.add_argument("--cores", type=whole_number, default=2, help="cores of each run (default 2)")
    parser.add_argument("--analysis", action="store_true", help="kills and full disks only in notebooks 03b and later")
    parser.add_argument("--unbroken", type=Path, help="folder with runs/ and figures/ of a finished smoke study")
    parser.add_argument("--seed", type=int, default=SEED, help=f"seed of the random choices (default {SEED})")
    parser.add_argument("--out", type=Path, help="output folder (default figures/soak)")
    return parser.parse_args(arguments)


def soak(options: argparse.Namespace, folder: Path) -> tuple[list[Count], dict[str, Any]]:
    """Every kind of fault in turn, in a folder of its own below this one; those of which none are asked for are not."""
    rng, start = np.random.default_rng(options.seed), time.monotonic()
    whole = _unbroken(options, folder)
    counts, more = [], {"seed": options.seed}
    for name, part in PARTS.items():
        if getattr(options, name):
            found, details = part(options, whole, folder, rng)
            counts += found
            more |= {name: details}
            print(f"soak: {name} after {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return counts, more | {"seconds": time.monotonic() - start}


Part = Callable[[argparse.Namespace, StudyFolder, Path, np.random.Generator], tuple[list[Count], Any]]


def _kills(options: argparse.Namespace, whole: StudyFolder, folder: Path, rng: np.random.Generator) -> Any:
    place = StudyFolder(folder / "kills", options.cores)
    if options.analysis:
        without(whole.run, place.run, ANALYSED)
    count, every = kills_count(place, whole.run, notebooks_to_kill(options.kills, options.analysis, rng), rng)
    return [count], every


def _flips(options: argparse.Namespace, whole: StudyFolder, folder: Path, rng: np.random.Generator) -> Any:
    os.environ.update({name: value for name, value in whole.variables().items() if name.startswith("QKLD_")})
    outcomes = flip_bytes(whole, options.flips, rng)
    missed = [place for found in outcomes.values() for place in found.missed]
    print("".join(f"soak: {place}\n" for place in missed), end="", file=sys.stderr, flush=True)
    return [found.count(kind, HELD[kind]) for kind, found in outcomes.items()], missed


def _disks(options: argparse.Namespace, whole: StudyFolder, folder: Path, rng: np.random.Generator) -> Any:
    begun = without(whole.run, folder / "begun", ANALYSED if options.analysis else MEASURED)
    count, every = disks_count(folder / "disk", begun, whole.run, options.disks, rng)
    return [count], every


def _twice(options: argparse.Namespace, whole: StudyFolder, folder: Path, rng: np.random.Generator) -> Any:
    return [twice_count(whole, whole.run, options.twice)], None


PARTS: dict[str, Part] = {"flips": _flips, "twice": _twice, "kills": _kills, "disks": _disks}
"""Option that says how many → what makes so many faults of this kind."""


def _unbroken(options: argparse.Namespace, folder: Path) -> StudyFolder:
    """A copy of the finished study that was given, else one that is run now."""
    whole = StudyFolder(folder / "whole", options.cores)
    if options.unbroken:
        shutil.copytree(options.unbroken, whole.folder)
    status, words = whole.said()
    if status:
        raise QkldError("The unbroken study does not end.", expected="status 0", found=words[-2000:], do="mend it")
    return whole


if __name__ == "__main__":
    sys.exit(main())
