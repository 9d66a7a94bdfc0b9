"""Notebooks 03b to 06 on a drawn study with builds, whose primary score is the probability of the right choice."""

from zlib import crc32

import matplotlib
import numpy as np
import pandas as pd
import pytest
import yaml
from committed_check import run_here
from conftest import REPOSITORY, copy_project
from simulated_project import fidelity_of, tokens_of
from simulated_study import items_of_model, model_row

from qkld.analysis.evidence import Evidence
from qkld.analysis.headline import shown_score
from qkld.analysis.study import load_study
from qkld.report.figures.figure_files import saved_figure
from qkld.report.paragraphs import builds_paragraph, show_builds
from qkld.report.results_section import how_measured
from qkld.report.study_report import study_numbers
from qkld.report.study_tables import build_tables
from qkld.study.params import load_params
from qkld.study.provenance import made_by
from qkld.study.schemas import FIDELITY, ITEMS, TOKENS, write_table
from qkld.workflow.planned_and_found import other_sizes

matplotlib.use("Agg")
pytestmark = [pytest.mark.notebook, pytest.mark.long]
NAME = "replicates"
KLD = {"int8": 0.003, "int7": 0.009, "int6": 0.03, "int5": 0.11, "int4": 0.4}
ITEMS_OF = {"arc_easy": (160, 0.4), "sciq": (140, 0.9)}


def torchao(label, bits, **builds):
    return {"label": label, "method": "torchao", "family": "torchao", "maker": "nobody", "recipe": f"{bits} bit",
            "nominal_bits": bits, "scheme": "intx", "bits": bits, "group_size": 32, "builds": builds}  # fmt: skip


def write_params(root):
    values = yaml.safe_load((REPOSITORY / "params" / "smoke.yaml").read_text())
    quants = [torchao(label, int(label[-1]), rotate=[1, 2]) for label in KLD]
    values |= {
        "study": NAME,
        "primary_score": "probability",
        "self_flips": False,
        "corpora": [{"name": "prose", "asset": "boolq-passages", "context_lengths": [512], "windows": 4}],
        "headline": {"corpus": "prose", "context": 512},
        "benchmarks": [{"task": task, "chance": 0.25} for task in ITEMS_OF],
        "quants": [*quants, torchao("int3", 3, permute=[1, 2])],
    }
    values["silent_zone"] |= {"zone_cut": 0.2}
    (root / "params" / f"{NAME}.yaml").write_text(yaml.safe_dump(values))


def write_measured(runs):
    """Token, fidelity and item tables of every model, as notebooks 02 and 03 leave them."""
    study, rng = load_params(NAME), np.random.default_rng(4)
    base = {task: rng.normal(mean, 1, n) for task, (n, mean) in ITEMS_OF.items()}
    levels = {quant.label: KLD.get(quant.recipe_id, 1.2) * rng.uniform(0.95, 1.05) for quant in study.quants}
    levels |= dict.fromkeys(study.floors, 1e-9)
    for label in (study.reference.label, *study.floors, *levels):
        role = "quant" if label in levels else "reference"
        kld = levels.get(label, 0.0)
        row = pd.Series(model_row(label, role, "torchao", 8.0, kld, rng))
        facts = {"label": label, "bits_per_weight": 8.0, "bits_per_trunk_weight": 8.0, "compute_dtype": "float32",
                 "weights_sha256": f"{crc32(label.encode()):064x}"}  # fmt: skip
        made = made_by() | {"model": facts}
        own = 0.0 if label in study.floors else kld
        items = items_of_model(label, own, base, rng)
        if label != "floor-batch" and label != "floor-dtype":
            write_table(runs / NAME / "items" / f"{label}.parquet", items, ITEMS, made)
        if label in levels:
            at = fidelity_of(row)[lambda t: (t["corpus"] == "prose") & (t["context"] == 512)]
            write_table(runs / NAME / "fidelity" / f"{label}.parquet", at, FIDELITY, made)
            tokens = tokens_of(row)[lambda t: (t["corpus"] == "prose") & (t["context"] == 512)]
            write_table(runs / NAME / "kld" / f"{label}.parquet", tokens, TOKENS, made)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    place = copy_project(tmp_path_factory.mktemp("builds"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in place.variables.items():
            patch.setenv(name, value)
        write_params(place.root)
        write_measured(place.folder / "runs")
        for stage in ("03b_cohort", "04_correlation", "05_silent_zone", "06_volume_direction"):
            run_here(stage, NAME)
        yield load_study(NAME)


def test_a_floor_row_stands_for_every_seed(study):
    floors = study.cohort[study.cohort["role"] == "floor"]
    bases = {"rotate-1", "rotate-2", "permute-1", "permute-2"}
    assert set(floors["basis"]) == {"", *bases}
    own = floors[floors["basis"] != ""]
    assert (own["kl_mean"] < 1e-7).all()
    assert (own["changed_answers"] == 0).all()
    assert own["note"].eq("").all() if "note" in own else True
    assert "In 4 other bases the unquantized reference has a mean KLD of at most 1.00e−9 nats" in how_measured(study)


def test_variances_are_of_the_kind_that_has_recipes_enough(study):
    table = study.analysis("builds")
    full = table.query("basis_kind == 'rotate' and by_score == 'probability' and subset == 'full'").set_index(
        "component"
    )
    assert list(full.index) == ["within", "between"]
    assert (full["recipes"] == 5).all()
    assert (full["builds"] == 10).all()
    assert full.loc["within", "contrasts"] == 4
    assert (full["sd_low"] <= full["sd_high"]).all()
    notes = table.query("basis_kind == 'permute'").groupby("subset")["note"].unique()
    assert notes["full"].item().startswith("Too few recipes for variance components: 1 recipes, 2 builds")
    assert notes["zone"].item().startswith("These quants include no build by permute: none")


def test_recipes_are_what_is_permuted_and_left_out(study):
    rho = study.analysis("build_correlations").query("basis_kind == 'rotate' and subset == 'full'")
    assert set(zip(rho["level"], rho["n"], strict=True)) == {("recipes", 5), ("builds", 10)}
    assert (rho["rearrangements"] == 120).all()
    left = study.analysis("builds_left_out").query("basis_kind == 'rotate' and subset == 'full'")
    assert set(left["left_out"]) == {"", *KLD}
    assert set(left.loc[left["left_out"] != "", "builds"]) == {8}
    r2 = study.analysis("build_r2").query("basis_kind == 'rotate' and subset == 'full'")
    assert (r2["r2_design_low"] <= r2["r2_design_high"]).all()
    assert len(build_tables(study)) == 1


def test_findings_show_builds(study, capsys):
    assert "builds of 5 recipes by rotate" in builds_paragraph(study)
    assert saved_figure(study, "builds").read_bytes().startswith(b"\x89PNG")
    show_builds(study)
    assert "Image" in capsys.readouterr().out


def test_where_every_recipe_has_one_build_findings_say_so(simulated, capsys):
    assert builds_paragraph(simulated).startswith("Every recipe has one build")
    show_builds(simulated)
    assert "Image" not in capsys.readouterr().out


def test_more_items_and_builds_find_smaller_deviations(study):
    (table,) = other_sizes(study)
    assert "builds by rotate: 5." in table.note
    seen = pd.DataFrame(table.rows, columns=table.columns).set_index(["items", "builds a recipe"]).astype(float)
    assert len(seen) == 9
    for score in ("accuracy", "probability"):
        own = seen[[f"{score}: {what}" for what in ("SE", "builds", "recipes")]]
        assert own.loc[("4 ×", "2")].to_numpy() == pytest.approx(own.loc[("1 ×", "2")].to_numpy() / 2, abs=0.011)
        assert (own.xs("1 ×").iloc[:, 1:].diff().dropna() < 0).all().all()
    own = Evidence.of_study(study).by("probability").noises["composite"]
    found = 100 * np.median(np.sqrt(np.diag(own.covariance)))
    assert seen.loc[("1 ×", "2"), "probability: SE"] == pytest.approx(found, abs=0.006)


def test_headline_verdict_and_decisions_are_by_the_primary_score(study):
    means = study.items.groupby(["model", "benchmark"])["probability_right"].mean().unstack().mean(axis=1)
    shown = shown_score(study)
    assert (shown.benchmark, shown.column) == ("composite", "composite_probability")
    composite = study.cohort.set_index("label")["composite_probability"]
    assert composite[study.quants].to_numpy() == pytest.approx(means[study.quants].to_numpy())
    assert composite[list(study.params.floors)].isna().all()
    both = study.analysis("two_scores").set_index(["benchmark", "subset"])
    verdict = study.analysis("verdict").set_index(["benchmark", "subset"]).loc[both.index]
    assert (verdict["verdict"] == both["verdict_probability"]).all()
    assert (both["primary_score"] == "probability").all()
    decision = study.analysis("decision").set_index(["label", "benchmark"]).sort_index()
    second = study.analysis("probability").set_index(["label", "benchmark"]).sort_index()
    for column in ("net", "net_low", "p_difference_holm", "decision"):
        pd.testing.assert_series_equal(decision[column], second[column])
    assert set(decision["margin"]) == {study.params.probability_margin}
    assert decision["flip_rate"].notna().all()
    differing = second["decision"] != second["decision_accuracy"]
    assert ((second["says"] != "") == differing).all()
    at = "metric == 'kl_mean' and benchmark == 'composite' and subset == 'full'"
    rho = [study.analysis(name).query(at)["estimate"].item() for name in ("zone", "noise")]
    assert rho[0] == pytest.approx(rho[1])
    assert rho[0] == pytest.approx(both.sort_index().loc[("composite", "full"), "estimate_probability"])
    numbers = study_numbers_of(study)
    assert numbers["study/primary_score"] == "probability"


def study_numbers_of(study):
    """Numbers of the study without notebook 07, which says nothing of scores."""
    with pytest.MonkeyPatch.context() as patch:
        known = {name: study.analysis(name) for name in ("zone", "two_scores", "builds", "build_r2", "decision")}
        patch.setattr("qkld.report.study_report.result_tables", lambda _: known)
        return study_numbers(study)
