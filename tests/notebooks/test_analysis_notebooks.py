"""Notebooks 03b to 07 run on a drawn cohort, and on one of three quants, where they say what cannot be computed."""

import json
import shutil

import matplotlib
import matplotlib.pyplot as plt
import papermill
import pytest
from conftest import REPOSITORY, copy_project
from simulated_project import NAME, second_run, simulated_tables, write_simulated
from simulated_tokens import tokens_of_quant

from qkld.analysis.study import load_study
from qkld.errors import StageError
from qkld.statistics.core.correlations_of_resamples import correlation
from qkld.study.params import load_params
from qkld.study.provenance import made_by
from qkld.study.schemas import FIDELITY, ITEMS, TOKENS, write_table
from qkld.workflow.rules import notebook_parameters

matplotlib.use("Agg")
pytestmark = pytest.mark.notebook
ANALYSIS = ("04_correlation", "05_silent_zone", "06_volume_direction", "07_prompts")
SMOKE_PLACES = {("prose", 512): ("prose", 64), ("prose", 128): ("prose", 16), ("prose", 1024): ("prose", 32),
                ("code", 512): ("code", 64), ("chat", 0): ("chat", 0)}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = copy_project(tmp_path_factory.mktemp("analysis"))
    write_simulated(REPOSITORY, place.root, place.folder / "runs")
    write_smoke(place)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in place.variables.items():
            patch.setenv(name, value)
        patch.delenv("MPLBACKEND", raising=False)  # kernels draw inline by themselves
        yield place


def write_smoke(place):
    """Smoke's three quants, with the tables of three drawn ones, and few items, as made without the second score."""
    _, fidelity, items, facts = simulated_tables()
    items = items | {"floor-batch": second_run(items["reference"])}
    smoke = load_params("smoke", place.root / "params" / "smoke.yaml")
    labels = [q.label for q in smoke.quants]
    drawn = dict(zip(labels, ("torchao-8-g32", "torchao-4-g64", "bitsandbytes-4-g64"), strict=True))
    tasks = dict(zip((b.task for b in smoke.benchmarks), ("arc_easy", "sciq", "openbookqa"), strict=True))
    base = made_by()
    for label in (smoke.reference.label, "floor-batch", "floor-dtype", *labels):
        source = drawn.get(label, label)
        made = base | {"model": facts[source]}
        if source in fidelity:
            table = fidelity[source].assign(quant=label)
            where = [SMOKE_PLACES[key] for key in zip(table["corpus"], table["context"], strict=True)]
            table["corpus"], table["context"] = zip(*where, strict=True)
            write_table(place.folder / f"runs/smoke/fidelity/{label}.parquet", table, FIDELITY, made)
            means = {tuple(w): m for w, m in zip(where, table["estimate"], strict=True)}
            write_table(place.folder / f"runs/smoke/kld/{label}.parquet", tokens_of_quant(source, means), TOKENS, made)
        if source in items:
            few = items[source][items[source]["item"].astype(int) < 8].assign(model=label)
            few = few.drop(columns=["probability_right", "choice_scores"])
            few["benchmark"] = few["benchmark"].map({old: new for new, old in tasks.items()})
            write_table(place.folder / f"runs/smoke/items/{label}.parquet", few, ITEMS, made)


def run(place, stage, study, **parameters):
    """Run a notebook in a kernel of its own, as the workflow does; returns it executed."""
    output = place.folder / f"{study}-{stage}.ipynb"
    papermill.execute_notebook(
        str(place.root / "notebooks" / f"{stage}.ipynb"), str(output),
        notebook_parameters(load_params(study), stage) | parameters, cwd=str(place.root), progress_bar=False,
    )  # fmt: skip
    return json.loads(output.read_text())


def run_here(stage, study):
    """Run a notebook's code in this process, cell by cell, with its defaults but the study."""
    names = {}
    for cell in json.loads((REPOSITORY / "notebooks" / f"{stage}.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
        if "parameters" in cell["metadata"].get("tags", []):
            names["study"] = study
    plt.close("all")


@pytest.fixture(scope="module")
def simulated(place):
    notebooks = {stage: run(place, stage, NAME) for stage in ("03b_cohort", *ANALYSIS)}
    return load_study(NAME), notebooks


def test_the_drawn_cohort_gives_every_table(simulated):
    study, notebooks = simulated
    found = study.analysis("correlation").set_index(["metric", "benchmark", "method"])
    quants = study.cohort[study.cohort["role"] == "quant"]
    expected = correlation(quants["kl_p99"], quants["score_sciq"])
    assert found.loc[("kl_p99", "sciq", "spearman"), "estimate"] == expected
    assert len(found) == (14 + 2) * 4
    assert study.analysis("zone")["n_zone"].iloc[0] == (quants["kl_mean"] <= 0.05).sum()
    assert len(study.analysis("variants")) == 28
    assert len(study.analysis("flips")) == 22 * 4
    own = study.analysis("self_flips")
    assert set(own["benchmark"]) == {"composite", *study.benchmarks}
    assert own["self_flip_rate"].between(0.015, 0.025).all()  # one answer in fifty
    both = own.merge(study.analysis("flips"), on=["label", "benchmark"])
    assert list(both["flip_rate_x"]) == pytest.approx(list(both["flip_rate_y"]))
    assert set(study.analysis("volume_direction")["subset"]) == {"full", "zone"}
    assert study.analysis("prompts")["ratio"].notna().any()
    assert len(study.analysis("router")) == 3 * (231 + 2) + 2  # all pairs and those of one base; all benchmarks
    directional = study.analysis("directional").set_index(["subset", "metric"])
    assert directional.loc["zone", "estimate"].notna().sum() >= 8
    assert directional.loc[("full", "options_kld"), "note"] == "the items have no kl_options"
    assert study.analysis("composite")["in_composite"].sum() >= 2
    assert len(study.analysis("paired_fidelity")) == 21 * 5
    assert set(study.analysis("fidelity_breakdown")["label"]) == {"floor-batch", "floor-dtype", *study.quants}
    for content in notebooks.values():
        pictures = [o for c in content["cells"] for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
        assert pictures


def test_a_knob_that_is_set_by_hand_leaves_the_studys_tables_as_they_are(place, simulated):
    study, _ = simulated
    files = [path for path in study.paths.run.rglob("*") if path.is_file() and "by-hand" not in path.parts]
    before = {path: path.read_bytes() for path in files}
    content = run(place, "05_silent_zone", NAME, zone_cut=0.02)
    printed = "".join("".join(o.get("text", "")) for c in content["cells"] for o in c.get("outputs", []))
    assert "zone_cut = 0.02, where the study has 0.05" in printed
    zone = study.with_knobs("05_silent_zone", zone_cut=0.02).analysis("zone")
    assert set(zone["cut"]) == {0.02}
    assert zone["n_zone"].iloc[0] == (study.cohort["kl_mean"][study.cohort["role"] == "quant"] <= 0.02).sum()
    assert {path: path.read_bytes() for path in files} == before


def test_three_quants_run_through_and_say_what_is_missing(place):
    for stage in ("03b_cohort", *ANALYSIS):
        run_here(stage, "smoke")
    study = load_study("smoke")
    assert study.cohort["composite"].isna().all()
    for name in ("correlation", "zone", "variants", "volume_direction", "zone_curve"):
        table = study.analysis(name)
        assert table["estimate"].isna().all(), name
        assert (table["note"] != "").all(), name
    assert study.analysis("flips")["net"].notna().all()
    assert (study.analysis("composite")["reason"] != "").all()


@pytest.mark.parametrize("stage", ["03b_cohort", *ANALYSIS])
def test_a_missing_input_names_the_notebook(stage, place, tmp_path, monkeypatch):
    monkeypatch.setenv("QKLD_RUNS", str(tmp_path))
    with pytest.raises(StageError, match="run notebook"):
        run_here(stage, "smoke")
    assert not list(tmp_path.rglob("*"))


def test_volume_needs_the_zone_of_notebook_05(simulated, place, tmp_path, monkeypatch):
    runs = tmp_path / "runs"
    shutil.copytree(place.folder / "runs" / NAME, runs / NAME, ignore=shutil.ignore_patterns("analysis"))
    monkeypatch.setenv("QKLD_RUNS", str(runs))
    with pytest.raises(StageError, match="run notebook 05_silent_zone first"):
        run_here("06_volume_direction", NAME)
