"""What a folder of committed tables has to hold, and its numbers made again by notebooks 04 to 07."""

import json
import math
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import pyarrow.parquet as pq
from conftest import REPOSITORY

from qkld.analysis.committing import LARGEST_FILE, NAMES
from qkld.analysis.evidence import Evidence, Settings
from qkld.analysis.study import load_study
from qkld.report import Reading, analyse_table
from qkld.report.study_report import study_numbers
from qkld.statistics.prompts.prompt_rows import ALL_BENCHMARKS
from qkld.study.column import WORDS
from qkld.study.columns import COLUMNS
from qkld.study.params import load_params
from qkld.study.parquet import read_note
from qkld.study.paths import CommittedPaths
from qkld.study.provenance import sha256_of_file
from qkld.study.registry import OF_STUDIES
from qkld.study.schemas import COHORT, FIDELITY, ITEMS, KEPT_TOKENS
from qkld.workflow.rules import notebook_parameters

matplotlib.use("Agg")
ANALYSIS = ("04_correlation", "05_silent_zone", "06_volume_direction", "07_prompts")
SCHEMAS = {schema.name: schema for schema in (COHORT, FIDELITY, ITEMS, KEPT_TOKENS)}
TOLERANCE = 1e-6
"""Relative difference of a number that another processor's rounding may make."""


def listed_checksums(page: Path) -> dict[str, str]:
    """File → SHA-256 as a page of `data_page` lists them."""
    lines = [line.split("|") for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    return {cells[1].strip(" `"): cells[4].strip(" `") for cells in lines}


def check_files(folder: Path, *, ended: bool = True) -> None:
    """Every file is small, listed with its checksum, without text and with its key; what made a result lies beside."""
    listed = listed_checksums(CommittedPaths(folder).page)
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "README.md"]
    assert set(listed) == {path.relative_to(folder).as_posix() for path in files if path.suffix != ".json"}
    assert {path.stem for path in files if path.suffix == ".json"} == (set(OF_STUDIES) if ended else set())
    for name, sha256 in listed.items():
        assert (folder / name).stat().st_size < LARGEST_FILE, name
        assert sha256_of_file(folder / name) == sha256, name
    for path in (folder / "items").iterdir():
        words = {field.name for field in pq.read_schema(path) if str(field.type).endswith("string")}
        assert words <= NAMES, path
    for path in folder.rglob("*.parquet"):
        assert set(SCHEMAS[read_note(path)["schema"]].key) <= set(pq.read_schema(path).names), path
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


# --- the same by `qkld analyse` ---------------------------------------------------------------------------------------

SAME_TABLES = (
    *("zone_curve", "partial", "noise", "verdict", "leave_one_out", "two_scores", "zone_edge"),
    *("flips", "volume_direction", "thinning", "decision", "probability", "pairs"),
    *("prompts", "prompt_baselines", "prompt_within", "prompt_flips", "router", "directional"),
)
"""Tables that notebooks 04 to 07 and ``qkld analyse`` both write; its ``correlation`` is in the study's ``zone``."""

OF_STUDY_ALONE = ("rule", "cut", "selection", "n_full", "n_zone")


TWO_WAY = ["twoway_low", "twoway_high"]
"""Rest on draws of all benchmarks in turn, so that they are the same only where the composite is of all."""


def tables_of_analyse(study: str, folder: Path, out: Path) -> dict[str, pd.DataFrame]:
    """What ``qkld analyse`` writes of the tables that are exported in ``folder``, with the study's draws and zone."""
    loaded = load_study(study)
    evidence, settings = Evidence.of_study(loaded), Settings.of_study(loaded.params)
    assert settings.zone_rule == "kld_cut"
    analyse_table(
        folder / "cohort.parquet",
        "kl_mean",
        evidence.tasks,
        zone=f"kl_mean<={settings.zone_cut!r}",
        out=out,
        items=folder / "items",
        margin=settings.equivalence_margin,
        size="bits_per_weight",
        resampling=loaded.resampling,
        settings=settings,
        reading=Reading(item_kld=loaded.params.prompts.prompt_divergence),
    )
    return {path.stem: pd.read_csv(path) for path in out.glob("*.csv")}


def check_same_tables(study: str, folder: Path, out: Path) -> None:
    """Table by table, ``qkld analyse`` gives the numbers that the notebooks wrote, on the composite and its tasks."""
    loaded, found = load_study(study), tables_of_analyse(study, folder, out)
    evidence = Evidence.of_study(loaded)
    both = [*evidence.tasks, evidence.headline, *([ALL_BENCHMARKS] if evidence.tasks == evidence.benchmarks else [])]
    alone = evidence.tasks[0] if len(evidence.tasks) == 1 else None  # a table with one score has no composite
    own = {name: loaded.analysis(name) for name in SAME_TABLES}
    own["correlation"] = loaded.analysis("zone").drop(columns=[*OF_STUDY_ALONE])
    for name, table in own.items():
        table = table if alone is None else _of_the_one(table, alone, evidence.headline)
        expected, mine = (_of_scores(t, both) for t in (table, found[name]))
        if name == "zone_edge" and alone is None:
            mine = mine[mine["benchmark"] == evidence.headline]
        if name == "partial":
            assert set(mine["control"]) == {"size"}
            mine = mine.assign(control="bits_per_weight", note=mine["note"].str.replace("size", "bits_per_weight"))
        mine = mine.reset_index(drop=True)
        assert list(mine) == list(expected), name
        if evidence.tasks != evidence.benchmarks:
            mine, expected = (t.drop(columns=TWO_WAY, errors="ignore") for t in (mine, expected))
        pd.testing.assert_frame_equal(mine, expected, obj=name, check_dtype=False, rtol=TOLERANCE, atol=1e-9)


def _of_the_one(table: pd.DataFrame, task: str, headline: str) -> pd.DataFrame:
    """The rows of the one benchmark of a composite; the composite's under its name where it has none of its own."""
    if (table["benchmark"] == task).any():
        return table[table["benchmark"] == task]
    return table[table["benchmark"] == headline].assign(benchmark=task)


def _of_scores(table: pd.DataFrame, scores: list[str]) -> pd.DataFrame:
    """The rows of these scores, words that are empty as such."""
    rows = table[table["benchmark"].isin(scores)].reset_index(drop=True)
    words = [c for c in rows if c in COLUMNS and COLUMNS[c].unit == WORDS]
    return rows.assign(**{c: rows[c].astype("object").fillna("").astype("str") for c in words})


# --- numbers ----------------------------------------------------------------------------------------------------------

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
