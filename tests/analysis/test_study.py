"""A study's tables as data frames."""

import subprocess
import sys

import pandas as pd
import pytest
from simulated_project import NAME

import qkld
from qkld.analysis.measured import collect
from qkld.errors import ParameterError, StageError, TableError
from qkld.study.knobs import knobs
from qkld.study.registry import CORRELATION, OF_STUDIES
from qkld.workflow.notebooks import notebook_file
from qkld.workflow.rules import RULES, outputs


@pytest.fixture
def simulated(measured_project):
    return qkld.load_study(NAME)


def test_tables_are_there_once_they_are_made(simulated):
    with pytest.raises(StageError, match="02_quant_kld"):
        _ = simulated.cohort
    collect(NAME)
    assert (simulated.cohort["role"] == "quant").sum() == len(simulated.quants) == 22
    assert simulated.items["model"].nunique() == 23
    assert simulated.fidelity["quant"].nunique() == 24
    assert simulated.params.study == NAME


def test_missing_input_names_the_notebook(simulated, tmp_path, monkeypatch):
    monkeypatch.setenv("QKLD_RUNS", str(tmp_path))
    with pytest.raises(StageError, match="run notebook 05_silent_zone first"):
        simulated.analysis("zone_curve")
    with pytest.raises(StageError, match="run notebook 02_quant_kld for 'hqq-8-g64' first"):
        simulated.tokens("hqq-8-g64")
    with pytest.raises(StageError, match="There is no result 'zone_kurve'"):
        simulated.analysis("zone_kurve")
    with pytest.raises(ParameterError, match="no model 'unknown'"):
        simulated.tokens("unknown")


def test_results_come_back_as_they_were_saved(simulated):
    known = {"metric": ["kl_mean", "dp_rms"], "estimate": [1 / 3, None], "note": ["", "too few"]}
    table = pd.DataFrame({column: known.get(column, [0, 0]) for column in CORRELATION})
    simulated.save_analysis("correlation", table)
    found = simulated.analysis("correlation")
    assert found["estimate"].iloc[0] == 1 / 3
    assert pd.isna(found["estimate"].iloc[1])
    assert list(found["note"]) == ["", "too few"]
    made = simulated.paths.analysis("correlation").with_suffix(".json")
    assert '"permutations": 199' in made.read_text()


def test_a_result_with_other_columns_than_its_schema_is_not_saved(simulated_copy):
    before = simulated_copy.paths.analysis("scores").read_bytes()
    with pytest.raises(TableError, match="other columns"):
        simulated_copy.save_analysis("scores", pd.DataFrame({"label": ["a"]}))
    assert simulated_copy.paths.analysis("scores").read_bytes() == before


def test_a_result_that_is_in_no_registry_is_not_saved(simulated_copy):
    with pytest.raises(StageError, match="There is no result 'variance_parts'"):
        simulated_copy.save_analysis("variance_parts", pd.DataFrame({"label": ["a"]}))
    assert not simulated_copy.paths.analysis("variance_parts").exists()


def test_knobs_of_a_notebook_are_checked(simulated):
    changed = simulated.with_knobs("04_correlation", permutations=499)
    assert changed.resampling.permutations == 499
    assert simulated.resampling.permutations == 199
    with pytest.raises(ParameterError):
        simulated.with_knobs("04_correlation", permutations=1)


def test_a_study_with_other_knobs_writes_beside_its_own_tables(simulated_copy):
    own = simulated_copy.paths.analysis("scores")
    before = own.read_bytes(), own.with_suffix(".json").read_bytes()
    table = simulated_copy.analysis("scores")
    changed = simulated_copy.with_knobs("05_silent_zone", zone_cut=0.02).with_knobs("07_prompts", direction_splits=20)
    assert changed.written.run.name == "direction_splits=20,zone_cut=0.02"
    assert changed.written.figures.is_relative_to(changed.written.run)
    pd.testing.assert_frame_equal(changed.analysis("scores"), table)
    changed.save_analysis("scores", table.iloc[:3])
    assert len(changed.analysis("scores")) == 3
    assert (own.read_bytes(), own.with_suffix(".json").read_bytes()) == before
    assert len(simulated_copy.analysis("scores")) == len(table)
    same = simulated_copy.with_knobs("05_silent_zone", zone_cut=simulated_copy.params.silent_zone.zone_cut)
    assert same.written == simulated_copy.paths


def test_many_knobs_have_a_folder_of_a_name_that_any_disk_takes(simulated):
    values = knobs(simulated.params, "05_silent_zone")
    more = {name: value + 100 for name, value in values.items() if isinstance(value, int)}
    folders = {simulated.with_knobs("05_silent_zone", **more | {"edge_draws": n}).written.run.name for n in (50, 60)}
    assert len(folders) == 2
    assert all(len(name) <= 100 for name in folders)


def test_results_and_their_notebooks_agree_with_the_workflow():
    study = qkld.load_study("smoke")
    declared = {rule: [f for f in outputs(study.params, study.paths, rule) if f.suffix == ".csv"] for rule in RULES}
    assert sorted(file.stem for files in declared.values() for file in files) == sorted(OF_STUDIES)
    for rule, files in declared.items():
        assert {OF_STUDIES[file.stem].notebook for file in files} <= {RULES[rule].notebook}
    assert all(notebook_file(table.notebook).exists() for table in OF_STUDIES.values())


def test_importing_and_loading_needs_no_torch():
    code = "import sys, qkld; qkld.load_study; from qkld.report import *; import qkld.workflow.cli"
    code += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_other_names_are_no_attributes():
    with pytest.raises(AttributeError, match="load_studies"):
        _ = qkld.load_studies
