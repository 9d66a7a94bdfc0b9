"""What a run has finished goes to studies/ model by model, and a fresh clone goes on from there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from committed_check import check_files
from conftest import REPOSITORY, Place, copy_project
from simulated_project import NAME, write_simulated

from qkld.analysis.committing import export_study
from qkld.analysis.measured import collect
from qkld.analysis.study import load_study
from qkld.errors import ParameterError, StageError, StoreError, TableError
from qkld.study.params import load_params
from qkld.study.paths import StudyPaths
from qkld.study.processors import processor, processor_in
from qkld.study.provenance import METRICS_VERSION
from qkld.study.schemas import COHORT, ITEMS, read_table, read_table_and_provenance, write_table
from qkld.study.sealing import write_sealed
from qkld.study.taken import read_taken
from qkld.workflow import cli, taking
from qkld.workflow import rules as flow
from qkld.workflow.kept_jobs import kept_files, kept_jobs, parameters_digest, recorded_digests
from qkld.workflow.kept_study import keep_study, read_kept
from qkld.workflow.taking import check_reference, fitting, take_kept

pytestmark = [pytest.mark.pipeline, pytest.mark.long]

STORES = {"prose": "0123456789abcdef", "code": "00112233445566aa", "chat": "ffeeddccbbaa9988"}


def seal_corpora(paths: StudyPaths, stores: dict[str, str]) -> None:
    write_sealed(paths.corpora_seal, {"corpora": {name: {"key": key} for name, key in stores.items()}})


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A drawn study whose models Snakemake has recorded as run, and that is kept. No test changes anything of it."""
    place = copy_project(tmp_path_factory.mktemp("ended"))
    write_simulated(REPOSITORY, place.root, place.folder / "runs", stores=list(STORES.values()))
    with pytest.MonkeyPatch.context() as patch:
        send(place, patch)
        study, paths = load_params(NAME), StudyPaths(NAME)
        seal_corpora(paths, STORES)
        collect(NAME)
        for file in flow.declared_files(study, paths):
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("stands in for a result")
    done = place.qkld("run", NAME, "--", "--touch", "--forceall")
    assert done.returncode == 0, done.stderr
    shutil.rmtree(place.folder / "runs" / NAME / "analysis")  # of stand-ins: results that are kept are real ones
    kept = place.qkld("keep", NAME)
    assert kept.returncode == 0, kept.stderr
    assert f"`qkld run {NAME}` in a fresh clone goes on from here" in kept.stdout
    return place


def send(place: Place, patch: pytest.MonkeyPatch) -> None:
    for name, value in place.variables.items():
        patch.setenv(name, value)


@pytest.fixture
def clone(ended: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A clone that keeps all that the ended study has made, on a machine that has run nothing."""
    place = Place(tmp_path, shutil.copytree(ended.root, tmp_path / "project"))
    send(place, monkeypatch)
    return place


def edit(place: Place, change: Callable[[dict[str, Any]], None]) -> None:
    file = place.root / "params" / f"{NAME}.yaml"
    values = yaml.safe_load(file.read_text())
    change(values)
    file.write_text(yaml.safe_dump(values))


def forget(labels: list[str]) -> None:
    """Take these models out of what is kept."""
    kept = StudyPaths(NAME).committed
    for job in kept_jobs(load_params(NAME)):
        if job[1] in labels:
            for file in kept_files(kept, job):
                file.unlink()


def remade(change: Callable[[dict[str, Any]], dict[str, Any]], label: str) -> None:
    """Write a model's kept items anew, as made by something else."""
    path = StudyPaths(NAME).committed.items(label)
    table, made = read_table_and_provenance(path, ITEMS, made_in="a test")
    write_table(path, table, ITEMS, change(made))


def test_every_finished_model_is_kept_without_texts(clone: Place, ended: Place):
    kept, study = StudyPaths(NAME).committed, load_params(NAME)
    check_files(kept.folder, ended=False)
    assert {*kept.folder.rglob("*.parquet")} == {file for job in kept_jobs(study) for file in kept_files(kept, job)}
    for job in kept_jobs(study):
        for _, made in read_kept(kept, job):
            assert made["parameters"] == parameters_digest(study, job)
            assert made["processor"] == processor()
    assert f"processor {processor()['name']} ({processor()['kind']})" in kept.page.read_text()


def test_a_fresh_clone_takes_what_is_kept_and_runs_the_rest(clone: Place, ended: Place, capsys):
    study, paths = load_params(NAME), StudyPaths(NAME)
    missing = [study.quants[2].label, study.quants[5].label]
    forget(missing)
    (said,) = take_kept(study)
    assert f"KLD of {len(study.quants)} models, items of {len(study.quants)} models are taken from" in said
    assert processor()["kind"] in said
    assert flow.labels_to_run(study, paths, "quant_kld") == tuple(missing)
    jobs = clone.qkld("run", NAME, "--dry-run").stdout
    for rule, count in {"reference_corpora": 1, "quant_kld": 2, "benchmark_scores": 2, "cohort": 1}.items():
        assert f"{rule} " in jobs
        assert next(line.split()[1] for line in jobs.splitlines() if line.startswith(f"{rule} ")) == str(count)
    assert take_kept(study) == []


def test_tables_made_of_taken_ones_are_those_of_the_run(clone: Place, ended: Place):
    study, paths = load_params(NAME), StudyPaths(NAME)
    take_kept(study)
    collect(NAME)
    there = ended.folder / "runs" / NAME
    for name, schema in {"cohort": COHORT, "items": ITEMS}.items():
        own, other = (read_table(f / f"{name}.parquet", schema, made_in="a test") for f in (paths.run, there))
        pd.testing.assert_frame_equal(own, other, check_exact=True)
    assert load_study(NAME).committed is None
    assert "token" not in load_study(NAME).tokens(study.quants[0].label)
    assert len(load_study(NAME).fidelity) > 0
    with pytest.raises(StageError, match=f"keep its results with `qkld keep {NAME}`"):
        export_study(NAME)


def test_what_is_taken_is_not_a_models_own_result_and_is_kept_as_it_was(clone: Place):
    study, paths = load_params(NAME), StudyPaths(NAME)
    before = {path: path.read_bytes() for path in paths.committed.folder.rglob("*.parquet")}
    take_kept(study)
    assert recorded_digests(study, paths) == {}
    said = keep_study(NAME)
    assert "(0 of both from this run)" in said[0]
    assert {
        path: path.read_bytes() for path in paths.committed.folder.rglob("items/*.parquet")
    }.items() <= before.items()
    assert not paths.committed.cohort.exists()
    assert "The study has not ended" in paths.committed.page.read_text()


def test_an_exported_study_is_run_without_a_word_unless_all_were_to_be_taken(own_place: Place):
    study = load_params("demo")
    assert set(fitting(study, StudyPaths("demo")).refused.values()) == {taking.EXPORTED}
    assert take_kept(study) == []
    with pytest.raises(StageError, match="kept by `qkld export`"):
        take_kept(study, "all")


def test_another_quant_in_the_place_of_one_is_run_again(clone: Place):
    label = load_params(NAME).quants[0].label
    edit(clone, lambda values: values["quants"][0].update(bits=4))
    study = load_params(NAME)
    (_, refused) = take_kept(study)
    assert refused == (
        f"not taken, and run again here: KLD of {label}; items of {label} "
        "(made with other parameters of the model, its reference or the texts)"
    )
    assert flow.labels_to_run(study, StudyPaths(NAME), "quant_kld") == (label,)
    with pytest.raises(StageError, match="do not fit"):
        take_kept(study, "all")


def test_a_knob_of_the_reference_alone_refuses_every_kld(clone: Place):
    edit(clone, lambda values: values["reference_logits"].update(score_from=0.25))
    fit = fitting(load_params(NAME), StudyPaths(NAME))
    assert {rule for rule, _ in fit.made} == {"benchmark_scores"}
    assert {rule for rule, _ in fit.refused} == {"quant_kld"}


def test_an_edit_after_taking_removes_what_was_taken(clone: Place):
    label, paths = load_params(NAME).quants[0].label, StudyPaths(NAME)
    take_kept(load_params(NAME))
    edit(clone, lambda values: values["quants"][0].update(bits=4))
    said = take_kept(load_params(NAME))
    assert (
        said[0] == f"removed from the run, as taken before and not fitting any more: KLD of {label}; items of {label}"
    )
    assert not paths.kld(label).exists()
    assert not paths.items(label).exists()
    assert ("quant_kld", label) not in read_taken(paths).jobs


def test_none_takes_nothing_and_gives_back(clone: Place):
    study, paths = load_params(NAME), StudyPaths(NAME)
    assert take_kept(study, "none") == []
    take_kept(study)
    assert "removed from the run" in take_kept(study, "none")[0]
    assert not list(paths.run.glob("*/*.parquet"))


def test_an_earlier_metrics_version_is_named(clone: Place):
    remade(lambda made: made | {"metrics_version": METRICS_VERSION - 1}, "reference")
    refused = fitting(load_params(NAME), StudyPaths(NAME)).refused
    assert refused == {
        ("benchmark_scores", "reference"): f"metrics version {METRICS_VERSION - 1}, here {METRICS_VERSION}"
    }


def test_a_table_that_names_no_parameters_is_not_taken(clone: Place):
    remade(lambda made: {k: v for k, v in made.items() if k != "parameters"}, "reference")
    assert ("benchmark_scores", "reference") in fitting(load_params(NAME), StudyPaths(NAME)).refused


def test_another_reference_is_found_when_it_has_run(clone: Place):
    study, paths = load_params(NAME), StudyPaths(NAME)
    take_kept(study)
    check_reference(study)
    seal_corpora(paths, STORES)
    check_reference(study)
    seal_corpora(paths, STORES | {"chat": "another"})
    with pytest.raises(StageError, match="another reference"):
        check_reference(study)
    said = take_kept(study)
    assert "removed from the run" in said[0]
    assert "measured against another reference" in said[-1]
    assert {rule for rule, _ in read_taken(paths).jobs} == {"benchmark_scores"}


def test_builds_of_one_recipe_are_of_one_kind_of_processor(clone: Place):
    first, second, third = (quant.label for quant in load_params(NAME).quants[:3])

    def of_one_recipe(values: dict[str, Any]) -> None:
        for quant in values["quants"][:3]:
            quant["recipe_id"] = "one"

    edit(clone, of_one_recipe)
    elsewhere = {"processor": {"kind": "AuthenticAMD avx2", "name": "another"}}
    remade(lambda made: made | elsewhere, second)
    study, paths = load_params(NAME), StudyPaths(NAME)
    assert fitting(study, paths).refused == {
        ("benchmark_scores", second): "made on AuthenticAMD avx2, and other builds of its recipe not"
    }
    for label in (first, third):
        remade(lambda made: made | elsewhere, label)
    assert fitting(study, paths).refused == {}, "all of one kind, wherever that was"
    forget([third])
    assert set(fitting(study, paths).refused) == {("benchmark_scores", first), ("benchmark_scores", second)}


def test_an_altered_table_is_not_taken(clone: Place):
    path = StudyPaths(NAME).committed.items("reference")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(TableError, match="altered"):
        take_kept(load_params(NAME))


def test_a_note_of_what_was_taken_that_was_edited_is_refused(clone: Place):
    take_kept(load_params(NAME))
    note = StudyPaths(NAME).taken
    note.write_text(note.read_text().replace("quant_kld", "quant_klx", 1))
    with pytest.raises(StoreError, match="damaged or edited"):
        read_taken(StudyPaths(NAME))


def test_a_run_that_was_killed_while_it_took_tables_takes_the_rest(clone: Place, monkeypatch):
    study, paths, copied = load_params(NAME), StudyPaths(NAME), []

    def copy(*arguments: Any) -> None:
        if len(copied) == 3:
            raise KeyboardInterrupt
        copied.append(arguments)
        own(*arguments)

    own = taking._copy
    monkeypatch.setattr(taking, "_copy", copy)
    with pytest.raises(KeyboardInterrupt):
        take_kept(study)
    monkeypatch.undo()
    send(clone, monkeypatch)
    (said,) = take_kept(study)
    assert "are taken from" in said
    assert all(file.exists() for job in kept_jobs(study) for file in flow_files(paths, job))


def flow_files(paths: StudyPaths, job: tuple[str, str]) -> tuple[Path, ...]:
    rule, label = job
    return (paths.kld(label), paths.fidelity(label)) if rule == "quant_kld" else (paths.items(label),)


def test_a_models_tables_made_with_other_parameters_are_not_kept(ended: Place, clone: Place, capsys):
    shutil.rmtree(StudyPaths(NAME).committed.folder)
    label = load_params(NAME).quants[0].label
    edit(clone, lambda values: values["quants"][0].update(bits=4))
    assert cli.main(["keep", NAME, "--runs", str(ended.folder / "runs")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1] == f"not finished: KLD of {label}, items of {label}"
    assert not StudyPaths(NAME).committed.items(label).exists()


def test_nothing_finished_is_said(clone: Place, capsys):
    shutil.rmtree(StudyPaths(NAME).committed.folder)
    assert cli.main(["keep", NAME]) == 2
    assert f"No model of '{NAME}' is finished." in capsys.readouterr().err
    assert not StudyPaths(NAME).committed.folder.exists()
    assert cli.main(["keep", "unknown"]) == 2
    with pytest.raises(ParameterError):
        keep_study("unknown")


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        (
            "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Processor @ 2.60GHz\n"
            "flags\t\t: fpu sse2 avx avx2 fma avx512f avx512bw\n\nprocessor\t: 1\nvendor_id\t: other\n",
            "GenuineIntel avx2 avx512f",
            "Intel(R) Xeon(R) Processor @ 2.60GHz",
        ),
        ("processor\t: 0\nCPU implementer\t: 0x41\nFeatures\t: fp asimd sve\n", "0x41 asimd sve", None),
    ],
)
def test_a_processors_kind_is_its_maker_and_what_chooses_the_code_of_products(tmp_path, text, kind, name):
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    found = processor_in(file)
    assert found["kind"] == kind
    assert name is None or found["name"] == name
    assert set(processor_in(tmp_path / "none")) == {"kind", "name"}
