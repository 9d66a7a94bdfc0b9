"""Where things lie, and how the environment moves them."""

from __future__ import annotations

import pytest

from qkld.errors import ParameterError
from qkld.study.paths import StudyPaths, data_folder, params_file, project_root

VARIABLES = ("QKLD_ROOT", "QKLD_DATA", "QKLD_RUNS", "QKLD_FIGURES")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty project, entered, with none of qkld's variables set."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in ("params", "notebooks/explore", "elsewhere"):
        (tmp_path / "project" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    return (tmp_path / "project").resolve()


@pytest.mark.parametrize("below", [".", "notebooks", "notebooks/explore"])
def test_the_project_is_found_from_any_folder_inside_it(root, monkeypatch, below):
    monkeypatch.chdir(root / below)
    assert project_root() == root


def test_the_environment_names_the_project_from_anywhere(root, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QKLD_ROOT", str(root))
    assert project_root() == root
    assert params_file("demo") == root / "params" / "demo.yaml"


def test_outside_a_project_the_message_says_what_to_do(root, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParameterError, match=r"(?s)No qkld project.*params/ and notebooks/.*QKLD_ROOT"):
        project_root()


def test_everything_of_a_study_lies_below_its_own_folder(root):
    paths = StudyPaths("demo")
    assert data_folder() == root / "data"
    assert paths.run == root / "runs" / "demo"
    assert paths.figures == root / "figures" / "demo"
    assert paths.kld("q8") == root / "runs" / "demo" / "kld" / "q8.parquet"
    assert paths.items("q8") == root / "runs" / "demo" / "items" / "q8.parquet"
    made = [paths.fidelity("q8"), paths.cohort, paths.all_items, paths.analysis("zone"), paths.notebook("02.q8")]
    assert all(paths.run in path.parents for path in [*made, paths.reference, paths.partial, paths.corpora_seal])
    assert len(set(made)) == len(made)


def test_two_studies_and_two_quants_never_share_a_file():
    assert StudyPaths("a").kld("q") != StudyPaths("b").kld("q")
    assert StudyPaths("a").kld("q.1") != StudyPaths("a").kld("q.2")


def test_the_environment_moves_data_runs_and_figures_apart(root, monkeypatch, tmp_path):
    for name in VARIABLES[1:]:
        monkeypatch.setenv(name, str(tmp_path / name))
    assert data_folder() == tmp_path / "QKLD_DATA"
    assert StudyPaths("demo").run == tmp_path / "QKLD_RUNS" / "demo"
    assert StudyPaths("demo").figures == tmp_path / "QKLD_FIGURES" / "demo"
    assert project_root() == root
