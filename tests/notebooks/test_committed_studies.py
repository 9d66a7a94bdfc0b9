"""Tables in the repository give their study's numbers again: a drawn study's, and those of every study kept here."""

import os
import re
import shutil
from html import unescape
from types import SimpleNamespace

import pandas as pd
import pytest
from committed_check import ANALYSIS, check_files, check_same_tables, differences, numbers_made_again, run_here
from conftest import REPOSITORY, copy_project
from simulated_project import NAME, write_simulated

from qkld.analysis.committing import export_study, licences, without_texts
from qkld.analysis.measured import collect
from qkld.analysis.opened_study import open_stage
from qkld.analysis.study import load_study
from qkld.analysis.tokens import fidelity_breakdown, paired_fidelity
from qkld.errors import StageError, TableError
from qkld.report.figures.figure_files import saved_figure
from qkld.report.paragraphs import SENTENCES, paragraph
from qkld.report.study_report import study_numbers
from qkld.report.window_text import decoder, window_of
from qkld.sources.corpora import corpus_documents
from qkld.study.params import load_params
from qkld.study.paths import StudyPaths, project_root
from qkld.study.registry import FIGURES
from qkld.study.schemas import ITEMS, read_table
from qkld.workflow import cli
from qkld.workflow.notebooks import export_report, run_notebook

pytestmark = [pytest.mark.notebook, pytest.mark.long]
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
        for stage in ANALYSIS:
            run_here(stage, NAME)
        numbers = study_numbers(load_study(NAME))
        assert cli.main(["export", NAME]) == 0
        yield SimpleNamespace(numbers=numbers, root=place.root, variables=place.variables)


@pytest.fixture
def elsewhere(place, tmp_path, monkeypatch):
    """The same project on a machine on which nothing was run."""
    monkeypatch.setenv("QKLD_RUNS", str(tmp_path / "runs"))
    return place


def bytes_below(*folders):
    return {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


def without_torch(folder, monkeypatch):
    """In every process that is started now, an import of torch fails."""
    folder.mkdir()
    (folder / "torch.py").write_text("raise ImportError('notebooks on kept tables need no torch')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))


def test_run_all_on_kept_tables_gives_the_numbers_again_and_changes_none_of_them(elsewhere, tmp_path, monkeypatch):
    """Notebooks 04 to 08 in kernels of their own, with no study named and no torch, as after a clone."""
    check_files(project_root() / "studies" / NAME)
    before = bytes_below(project_root(), StudyPaths(NAME).figures)
    without_torch(tmp_path / "without", monkeypatch)
    for stage in (*ANALYSIS, "08_findings"):
        run_notebook(stage, tmp_path / f"{stage}.ipynb", {})
        said = (tmp_path / f"{stage}.ipynb").read_text()
        assert f"no run of '{NAME}' here: its tables in the repository" in said, stage
    assert bytes_below(project_root(), StudyPaths(NAME).figures) == before
    found = study_numbers(load_study(NAME))
    assert len(found) > 5000
    assert differences(found, elsewhere.numbers) == {}
    made = {path.name for path in (StudyPaths(NAME).run / "figures").iterdir()}
    assert {f"{name}.{kind}" for name in FIGURES for kind in ("pdf", "png")} <= made
    check_report(load_study(NAME), tmp_path / "08_findings.ipynb", tmp_path / "report.html")


def check_report(study, executed, path):
    """The findings without code: six figures with their sentences, every quant, and no cell of the notebook's own."""
    export_report(executed, path, NAME)
    html = path.read_text(encoding="utf-8")
    assert html.count("data:image/png;base64,") == 6
    assert "open_stage" not in html
    assert "Save and look" not in html
    text = unescape(re.sub("<[^>]+>", "", html))
    for figure in SENTENCES:
        assert paragraph(study, figure).replace("*", "") in text, figure
    assert all(f"<td>{label}</td>" in html for label in study.quants)
    assert study.params.description in text


def test_findings_before_their_tables_name_the_notebook_to_run(place, tmp_path, monkeypatch):
    runs = tmp_path / "runs"
    shutil.copytree(StudyPaths(NAME).run, runs / NAME, ignore=shutil.ignore_patterns("kld", "directional.*"))
    monkeypatch.setenv("QKLD_RUNS", str(runs))
    monkeypatch.setenv("QKLD_FIGURES", str(tmp_path / "figures"))
    with pytest.raises(StageError, match="run notebook 07_prompts first"):
        run_here("08_findings", NAME)
    with pytest.raises(StageError, match=r"(?s)Figure 'kld_score'.*run notebook 05_silent_zone first"):
        saved_figure(load_study(NAME), "kld_score")


def test_where_no_tokens_are_kept_their_tables_are_shown_as_made(elsewhere, tmp_path, monkeypatch):
    root = tmp_path / "project"
    shutil.copytree(project_root(), root, ignore=shutil.ignore_patterns("tokens"))
    monkeypatch.setenv("QKLD_ROOT", str(root))
    study = load_study(NAME)
    assert "without its token tables" in study.origin
    for make in (paired_fidelity, fidelity_breakdown):
        pd.testing.assert_frame_equal(make(study), study.analysis(make.__name__))


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
    assert "what notebook 04 makes of them is kept as it was made" in (tmp_path / "kept" / "README.md").read_text()


def test_nothing_run_nothing_exported(elsewhere):
    with pytest.raises(StageError, match=f"qkld run {NAME}"):
        export_study(NAME)


@pytest.mark.model
def test_kept_tokens_are_shown_by_the_text_that_they_are_of(elsewhere):
    study = load_study(NAME)
    rows = window_of(study, study.quants[0], "prose", 512, 1)
    assert "token" not in study.tokens(study.quants[0])
    text = "".join(map(decoder(study), rows["token"]))
    corpus = next(c for c in study.params.corpora if c.name == "prose")
    assert text in "\n\n".join(document.strip() for document in corpus_documents(corpus))


def test_answers_that_no_corpus_has_say_what_to_run(elsewhere):
    study = load_study(NAME)
    with pytest.raises(TableError, match=f"qkld run {NAME}"):
        window_of(study, study.quants[0], "chat", 0, 0)


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
    if study not in KEPT:
        return
    monkeypatch.setenv("QKLD_ROOT", str(REPOSITORY))
    monkeypatch.setenv("QKLD_RUNS", str(tmp_path))
    check_files(REPOSITORY / "studies" / study)
    loaded = load_study(study)
    assert differences(numbers_made_again(study), study_numbers(loaded)) == {}
    check_same_tables(study, REPOSITORY / "studies" / study, tmp_path / "out")
