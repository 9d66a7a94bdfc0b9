"""What a folder of committed tables has to hold, and its numbers made again by notebooks 04 to 07."""

import json
import math
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pyarrow.parquet as pq
from conftest import REPOSITORY

from qkld.analysis.committing import LARGEST_FILE, NAMES
from qkld.analysis.study import load_study
from qkld.report.study import study_numbers
from qkld.study.params import load_params
from qkld.study.paths import CommittedPaths
from qkld.study.provenance import sha256_of_file
from qkld.workflow.rules import notebook_parameters

matplotlib.use("Agg")
ANALYSIS = ("04_correlation", "05_silent_zone", "06_volume_direction", "07_prompts")
TOLERANCE = 1e-6
"""Relative difference of a number that another processor's rounding may make."""


def listed_checksums(page: Path) -> dict[str, str]:
    """File → SHA-256 as a page of `data_page` lists them."""
    lines = [line.split("|") for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    return {cells[1].strip(" `"): cells[4].strip(" `") for cells in lines}


def check_files(folder: Path) -> None:
    """Every file is small, listed with its checksum, and without text."""
    listed = listed_checksums(CommittedPaths(folder).page)
    assert set(listed) == {path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet")}
    for name, sha256 in listed.items():
        assert (folder / name).stat().st_size < LARGEST_FILE, name
        assert sha256_of_file(folder / name) == sha256, name
    for path in (folder / "items").iterdir():
        words = {field.name for field in pq.read_schema(path) if str(field.type).endswith("string")}
        assert words <= NAMES, path
    for path in (folder / "tokens").glob("*"):
        assert "token" not in pq.read_schema(path).names, path


def run_here(stage: str, study: str) -> None:
    """Run a notebook's code in this process, cell by cell, with the study's own knobs."""
    names: dict[str, Any] = {}
    for cell in json.loads((REPOSITORY / "notebooks" / f"{stage}.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
        if "parameters" in cell["metadata"].get("tags", []):
            names |= notebook_parameters(load_params(study), stage)
    plt.close("all")


def numbers_made_again(study: str) -> dict[str, Any]:
    """Every number of the report, from the committed tables of a study that has not been run here."""
    assert load_study(study).committed is not None
    for stage in ANALYSIS:
        run_here(stage, study)
    return study_numbers(load_study(study))


VERSION = "study/metrics_version"
"""Of the code that made the numbers, and none of them."""


def differences(found: dict[str, Any], kept: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Keys whose values differ, with both; a key on one side only has None on the other."""
    missing = object()
    keys = (found.keys() | kept.keys()) - {VERSION}
    pairs = {key: (found.get(key, missing), kept.get(key, missing)) for key in keys}
    return {key: pair for key, pair in sorted(pairs.items()) if not _alike(*pair)}


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool) or not isinstance(one, int | float):
        return one == other
    return isinstance(other, int | float) and math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=1e-9)
