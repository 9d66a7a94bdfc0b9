"""Running the calibration: every cell in blocks with a seed of its own, over several processes.

A block that is done is kept on disk, so that a killed calibration goes on with the blocks that are missing.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from validation.calibration.builds import builds_bounds, builds_cells, builds_rates, run_builds
from validation.calibration.coverage import (
    run_world,
    run_zmax,
    world_bounds,
    world_cells,
    world_rates,
    zmax_bounds,
    zmax_cells,
    zmax_rates,
)
from validation.calibration.few_items import few_bounds, few_cells, few_rates, run_few
from validation.calibration.kept import Block, kept, source_key
from validation.calibration.rounds import rounds_bounds, rounds_cells, rounds_rates, run_rounds
from validation.calibration.second_score import (
    run_second,
    run_temperature,
    second_bounds,
    second_cells,
    second_rates,
    temperature_bounds,
    temperature_cells,
    temperature_rates,
)
from validation.calibration.sizes import run_sizes, size_bounds, size_cells, size_rates
from validation.calibration.targets import Checked
from validation.calibration.tau import run_tau, tau_bounds, tau_cells, tau_rates
from validation.calibration.verdicts import run_verdicts, verdict_bounds, verdict_cells, verdict_rates

SEED = 2606
BLOCK = 250
"""Runs of a cell that one process does at a time. Part of the seed: another block, other numbers."""


@dataclass(frozen=True)
class Part:
    """One part of the calibration: its cells, what a run is, and what is read from the runs.

    ``module`` names the module that a cell's runs come from.
    """

    cells: Callable[[int], Sequence[Any]]
    run: Callable[..., list[dict[str, Any]]]
    rates: Callable[[Any, pd.DataFrame], pd.DataFrame]
    bounds: Callable[[pd.DataFrame], list[Checked]]
    module: Callable[[Any], str] = lambda cell: type(cell).__module__


PARTS = {
    "verdict": Part(verdict_cells, run_verdicts, verdict_rates, verdict_bounds),
    "second_score": Part(second_cells, run_second, second_rates, second_bounds),
    "temperature": Part(temperature_cells, run_temperature, temperature_rates, temperature_bounds),
    "two_way": Part(world_cells, run_world, world_rates, world_bounds),
    "few_items": Part(few_cells, run_few, few_rates, few_bounds),
    "builds": Part(builds_cells, run_builds, builds_rates, builds_bounds),
    "tau": Part(tau_cells, run_tau, tau_rates, tau_bounds),
    "rounds": Part(rounds_cells, run_rounds, rounds_rates, rounds_bounds),
    "zmax": Part(zmax_cells, run_zmax, zmax_rates, zmax_bounds),
    "size": Part(size_cells, run_sizes, size_rates, size_bounds, lambda cell: cell.null.draw.__module__),
}


@dataclass(frozen=True)
class Calibration:
    """The tables of every part, the bounds checked, and the processor seconds that each part's runs took."""

    tables: dict[str, pd.DataFrame]
    bounds: list[Checked]
    seconds: dict[str, float]


def block_rng(cell: Any, block: int) -> np.random.Generator:
    """The generator of a cell's block: a function of the cell's name and not of processes or of other cells."""
    name = repr(replace(cell, runs=0))
    return np.random.default_rng([SEED, zlib.crc32(name.encode()), block])


def _blocks(cell: Any) -> list[tuple[Any, int]]:
    sizes = [min(BLOCK, cell.runs - start) for start in range(0, cell.runs, BLOCK)]
    return [(replace(cell, runs=size), number) for number, size in enumerate(sizes)]


def _run_block(part: str, cell: Any, block: int) -> Block:
    start = time.process_time()
    table = pd.DataFrame(PARTS[part].run(cell, rng=block_rng(cell, block)))
    return Block(table, time.process_time() - start)


def block_name(part: str, cell: Any, block: int) -> dict[str, Any]:
    """What names a block on disk: the code it comes from, and its seed."""
    source = source_key((block_rng, PARTS[part].run), PARTS[part].module(cell))
    return {"source": source, "seed": SEED, "part": part, "cell": repr(cell), "block": block}


def _block(part: str, cell: Any, block: int, folder: Path | None) -> Block:
    """A block as kept in ``folder``, or run and kept there; only run without a folder."""
    if folder is None:
        return _run_block(part, cell, block)
    return kept(folder, block_name(part, cell, block), lambda: _run_block(part, cell, block))


def calibrate(
    runs: int,
    *,
    cores: int,
    parts: Sequence[str] = tuple(PARTS),
    folder: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Calibration:
    """Run every cell ``runs`` times; the same numbers whatever the number of ``cores``.

    Blocks of runs are kept in ``folder`` under a name that holds the code they came from, and taken from there where
    they are; ``progress`` is told each cell that is done.

    Raises
    ------
    Whatever a run raises: a calibration with holes is none.
    """
    tables, checked, seconds = {}, [], {}
    with ProcessPoolExecutor(max_workers=cores) as pool:
        started = {
            name: [
                (cell, [pool.submit(_block, name, *block, folder) for block in _blocks(cell)])
                for cell in PARTS[name].cells(runs)
            ]
            for name in parts
        }
        for name, cells in started.items():
            rates, spent = [], 0.0
            for number, (cell, blocks) in enumerate(cells, start=1):
                done = [block.result() for block in blocks]
                rates.append(PARTS[name].rates(cell, pd.concat([b.table for b in done], ignore_index=True)))
                spent += sum(b.seconds for b in done)
                if progress is not None:
                    progress(f"{name} {number}/{len(cells)}: {cell}")
            tables[name] = pd.concat(rates, ignore_index=True)
            checked += PARTS[name].bounds(tables[name])
            seconds[name] = spent
    return Calibration(tables, checked, seconds)
