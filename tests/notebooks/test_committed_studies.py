"""Tables in the repository give their study's numbers again: a drawn study's, and those of every study kept here."""

import json
import shutil
from types import SimpleNamespace

import pandas as pd
import pytest
from committed_check import check_files, check_same_tables, differences, numbers_made_again, run_here
from conftest import REPOSITORY, copy_project
from simulated_project import NAME, write_simulated

from qkld.analysis.committing import export_study, licences, without_texts
from qkld.analysis.measured import collect
from qkld.analysis.opening import open_stage
from qkld.analysis.study import load_study
from qkld.errors import StageError, TableError
from qkld.report.explore import window_tokens
from qkld.report.study import study_numbers
from qkld.study.params import load_params
from qkld.study.paths import project_root
from qkld.study.schemas import ITEMS, read_table
from qkld.workflow import cli

pytestmark = pytest.mark.notebook
KEPT = sorted(path.parent.name for path in (REPOSITORY / "studies").glob("*/cohort.parquet"))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A project with a drawn study that has been run to its numbers and exported."""
    place = copy_project(tmp_path_factory.mktemp("committed"))
    write_simulated(REPOSITORY, place.root, place.folder / "runs")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in place.variables.items():
            patch.setenv(name, value)
        collect(NAME)
        for stage in ("04_correlation", "05_silent_zone", "06_volume_direction", "07_prompts"):
            run_here(stage, NAME)
        numbers = study_numbers(load_study(NAME))
        assert cli.main(["export", NAME]) == 0
        yield SimpleNamespace(numbers=numbers, root=place.root, variables=place.variables)


@pytest.fixture
def elsewhere(place, tmp_path, monkeypatch):
    """The same project on a machine on which nothing was run."""
    monkeypatch.setenv("QKLD_RUNS", str(tmp_path / "runs"))
    return place


def test_a_drawn_study_gives_its_numbers_again(elsewhere):
    check_files(project_root() / "studies" / NAME)
    found = numbers_made_again(NAME)
    assert len(found) > 5000
    assert differences(found, elsewhere.numbers) == {}
    assert "no run of 'simulated' here" in load_study(NAME).origin


def test_analyse_gives_the_notebooks_numbers_table_by_table(place, tmp_path):
    check_same_tables(NAME, project_root() / "studies" / NAME, tmp_path / "out")


def test_a_number_that_is_another_is_found(place):
    key = next(k for k, v in place.numbers.items() if isinstance(v, float))
    assert differences(place.numbers | {key: place.numbers[key] + 0.01}, place.numbers).keys() == {key}
    assert differences({k: v for k, v in place.numbers.items() if k != key}, place.numbers).keys() == {key}


def test_a_notebook_that_names_no_study_opens_the_kept_one(elsewhere, capsys):
    opened = open_stage("05_silent_zone", {"study": None})
    assert opened.params.study == NAME
    assert opened.committed is not None
    assert f"study '{NAME}': no study was run here yet" in capsys.readouterr().out
    assert len(opened.cohort) == len(opened.quants) + 3


def test_a_run_of_ones_own_comes_first(place):
    assert load_study(NAME).committed is None
    assert load_study(NAME).origin == "tables of the run of 'simulated' here"


def test_the_page_says_what_the_tables_are_of(place):
    page = (project_root() / "studies" / NAME / "README.md").read_text()
    for what, licence in licences(load_params(NAME)).items():
        assert f"- {what}: {licence}" in page
    assert "- benchmark sciq: CC BY-NC 3.0" in page
    assert "Apache-2.0" in page
    assert str(place.root) not in page


def test_texts_stay_out(place):
    items = load_study(NAME).items
    assert "written" not in without_texts(items.assign(written="Paris"))
    with pytest.raises(TableError, match="question"):
        without_texts(items.assign(question="What is the capital of France?"))
    kept = read_table(project_root() / "studies" / NAME / "items" / "reference.parquet", ITEMS, made_in="a test")
    pd.testing.assert_frame_equal(kept, items[items["model"] == "reference"].reset_index(drop=True)[list(kept)])


def test_an_export_is_whole_or_not_there(place, monkeypatch, tmp_path):
    folder = project_root() / "studies" / NAME
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setattr("qkld.analysis.committing.LARGEST_FILE", 20_000)
    with pytest.raises(TableError, match="too large for the repository"):
        export_study(NAME)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert [path.name for path in folder.parent.iterdir()] == [NAME]
    monkeypatch.undo()
    for name, value in place.variables.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["export", NAME, "--out", str(tmp_path / "kept"), "--without-tokens"]) == 0
    check_files(tmp_path / "kept")
    assert not (tmp_path / "kept" / "tokens").exists()
    assert "notebook 04 needs a run" in (tmp_path / "kept" / "README.md").read_text()


def test_nothing_run_nothing_exported(elsewhere):
    with pytest.raises(StageError, match=f"qkld run {NAME}"):
        export_study(NAME)


def test_tokens_without_ids_are_no_text(elsewhere):
    tokens = load_study(NAME).tokens(load_study(NAME).quants[0])
    with pytest.raises(TableError, match="without them"):
        window_tokens(tokens, "prose", 512, 0)


@pytest.mark.parametrize("name", ["cohort.parquet", "items/reference.parquet", "tokens/floor-dtype.parquet"])
def test_an_altered_table_is_refused(name, elsewhere, tmp_path, monkeypatch):
    root = tmp_path / "project"
    shutil.copytree(project_root(), root)
    path = root / "studies" / NAME / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    monkeypatch.setenv("QKLD_ROOT", str(root))
    with pytest.raises((TableError, AssertionError)):
        check_files(root / "studies" / NAME)
    study = load_study(NAME)
    with pytest.raises(TableError):
        {"cohort": lambda: study.cohort, "items": lambda: study.items, "tokens": lambda: study.tokens("floor-dtype")}[
            name.split("/")[0].removesuffix(".parquet")
        ]()


@pytest.mark.parametrize("study", ["none kept", *KEPT])
def test_a_kept_study_gives_its_numbers_again(study, tmp_path, monkeypatch):
    folders = {path.name for path in (REPOSITORY / "studies").glob("*") if path.is_dir()}
    assert folders == set(KEPT), "a folder without its cohort is no study"
    if study not in KEPT:
        return
    monkeypatch.setenv("QKLD_ROOT", str(REPOSITORY))
    monkeypatch.setenv("QKLD_RUNS", str(tmp_path))
    check_files(REPOSITORY / "studies" / study)
    kept = json.loads((REPOSITORY / "figures" / study / "numbers.json").read_text())
    assert differences(numbers_made_again(study), kept) == {}
    check_same_tables(study, REPOSITORY / "studies" / study, tmp_path / "out")
