"""A notebook opens a study with the study's own knobs until others are given, and refuses what it does not know."""

import os
import shutil
import time

import nbformat
import pandas as pd
import pytest
from conftest import REPOSITORY
from nbclient import NotebookClient

from qkld.analysis.opened_study import default_study, open_stage
from qkld.errors import ParameterError, StageError
from qkld.study.knobs import STAGES, knob_names
from qkld.study.params import load_params
from qkld.study.paths import StudyPaths
from qkld.workflow.notebooks import kernel_environment


@pytest.fixture
def smoke(project, monkeypatch):
    """A project with the smoke study, in which nothing was run."""
    for name, value in project.variables.items():
        monkeypatch.setenv(name, value)
    return load_params("smoke")


@pytest.mark.parametrize("stage", STAGES)
def test_none_is_the_studys_own_value_in_every_notebook(stage, smoke, capsys):
    opened = open_stage(stage, {"study": "smoke", **dict.fromkeys(knob_names(stage))})
    assert opened.params == smoke
    assert opened.written == opened.paths == StudyPaths("smoke")
    assert capsys.readouterr().out == ""


def test_the_studys_own_value_given_by_hand_changes_nothing(smoke):
    opened = open_stage("05_silent_zone", {"study": "smoke", "zone_rule": "kld_cut", "zone_cut": 1.0})
    assert opened.written == opened.paths


def test_another_value_is_said_and_written_beside(smoke, capsys):
    opened = open_stage("05_silent_zone", {"study": "smoke", "zone_cut": 0.02, "permutations": None})
    assert opened.params.silent_zone.zone_cut == 0.02
    assert opened.params.correlation == smoke.correlation
    assert opened.written.analysis("zone") == StudyPaths("smoke").run / "by-hand/zone_cut=0.02/analysis/zone.csv"
    said = capsys.readouterr().out
    assert "zone_cut = 0.02, where the study has 1.0" in said
    assert str(opened.written.run) in said


@pytest.mark.parametrize(
    ("stage", "given", "do"),
    [
        ("05_silent_zone", {"zone_cutt": 0.02}, "correct the name"),
        ("04_correlation", {"zone_cut": 0.02}, "give it to notebook 05_silent_zone"),
        ("03b_cohort", {"permutations": 99}, "give it to notebook 04_correlation or 05_silent_zone"),
        ("00_make_quants", {"quants": ["q4"]}, "remove the line"),
        ("02_quant_kld", {"model": "reference"}, "remove the line"),
        ("explore/study", {"zone": 0.1}, "remove the line"),
    ],
)
def test_what_a_notebook_does_not_know_is_refused(stage, given, do, smoke):
    with pytest.raises(ParameterError, match=f"(?s)Notebook {stage} has no parameter {next(iter(given))}.*{do}"):
        open_stage(stage, {"study": "smoke", **given})


def test_a_value_out_of_range_is_refused_as_in_the_yaml(smoke):
    with pytest.raises(ParameterError, match=r"permutations.*greater than or equal to 99"):
        open_stage("06_volume_direction", {"study": "smoke", "permutations": 3})


def test_only_literals_of_a_namespace_are_parameters_and_only_before_its_own_cells(smoke):
    namespace = {"study": "smoke", "zone_cut": None, "pd": pd, "POOL": "all quants", "_hidden": 3, "draw": len}
    open_stage("05_silent_zone", namespace)
    namespace |= {"zone": ["q4"], "columns": ["a"], "zone_cut": 0.5, "data": pd.DataFrame()}
    assert open_stage("05_silent_zone", namespace).params.silent_zone.zone_cut == 0.5


def test_a_misspelt_parameter_is_also_found_when_the_cells_are_run_again(smoke):
    namespace = {}
    exec("study: str = 'smoke'\nzone_cut: float = None", namespace)
    open_stage("05_silent_zone", namespace)
    exec("columns = ['a']", namespace)
    exec("study: str = 'smoke'\nzone_cutt: float = 0.02", namespace)
    with pytest.raises(ParameterError, match="no parameter zone_cutt"):
        open_stage("05_silent_zone", namespace)


def test_notebook_01_takes_no_other_knobs_since_all_others_read_its_stores(smoke):
    with pytest.raises(ParameterError, match=r"(?s)score_from = 0\.5.*score_from = 0\.25.*smoke\.yaml"):
        open_stage("01_reference_logits", {"study": "smoke", "score_from": 0.25})
    assert open_stage("01_reference_logits", {"study": "smoke", "part": "corpora"}).params == smoke


# --- which study ------------------------------------------------------------------------------------------------------


def touched(path, age):
    """A file that is ``age`` seconds old."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (time.time() - age,) * 2)


@pytest.fixture
def two_studies(project, smoke):
    """Beside the smoke study another one, of more quants."""
    for name in ("demo", "gguf"):
        shutil.copy(REPOSITORY / "params" / f"{name}.yaml", project.root / "params")
    return project


def test_the_last_study_run_as_far_as_needed_is_the_default(two_studies, capsys):
    touched(StudyPaths("demo").cohort, age=50)
    touched(StudyPaths("smoke").cohort, age=100)
    touched(StudyPaths("smoke").corpora_seal, age=10)
    assert default_study("05_silent_zone") == default_study("explore/study") == "demo"
    assert default_study("02_quant_kld") == "smoke"
    assert "study 'smoke': the last one that was run here" in capsys.readouterr().out
    assert open_stage("07_prompts", {"study": None}).params.study == "demo"


def test_where_nothing_was_run_it_is_one_that_the_repository_keeps(two_studies, capsys):
    for name in ("demo", "gguf"):
        shutil.copytree(REPOSITORY / "studies" / name, two_studies.root / "studies" / name)
    assert default_study("08_findings") == "gguf", "of the kept ones that with the most answers"
    assert "no study was run here yet" in capsys.readouterr().out
    assert default_study("01_reference_logits") == "smoke"
    with pytest.raises(StageError, match="for notebook 03_benchmark_scores"):
        default_study("03_benchmark_scores")


def test_where_nothing_is_there_the_command_is_named(smoke):
    with pytest.raises(StageError, match=r"(?s)set study to one of smoke.*qkld run smoke"):
        open_stage("04_correlation", {})


# --- in a notebook ----------------------------------------------------------------------------------------------------


@pytest.fixture
def executed(project, monkeypatch):
    """Cells' sources → the notebook, executed to its end in a kernel in the project, errors kept."""
    for name, value in {**project.variables, **kernel_environment()}.items():
        monkeypatch.setenv(name, value)

    def run(*sources):
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        client = NotebookClient(book, kernel_name="python3", allow_errors=True, timeout=120)
        return client.execute(cwd=str(project.root)).cells

    return run


@pytest.mark.notebook
def test_an_error_of_ours_is_four_lines_and_its_traceback_comes_on_request(executed):
    cells = executed(
        "study = 'smoke'\nzone_cut = -1.0",
        "from qkld import open_stage\ndata = open_stage('05_silent_zone', globals())",
        "%tb",
        "1 / 0",
    )
    ours, asked, other = (["\n".join(o.get("traceback", [])) for o in c.outputs] for c in cells[1:])
    assert all(word in ours[0] for word in ("ParameterError", "expected:", "found:", "do:", "zone_cut"))
    assert "open_stage('05_silent_zone'" not in ours[0]
    assert ours[0].count("\n") < 12
    assert "open_stage" in "".join(asked)
    assert "Cell" in other[0], "errors of others are shown as ever, with the line that raised them"
