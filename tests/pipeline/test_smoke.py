"""The smoke study, unbroken, and killed in the middle of stages 01, 02 and 03 in three ways, with equal tables.

Everything that needs the unbroken run stands in this file, because tests that run side by side share files' fixtures.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from browser_check import chromium, jupyter_lab
from committed_check import check_files, differences, numbers_made_again
from conftest import REPOSITORY, Place, copy_project
from explore_check import check_explorer
from lab_check import check_an_error_of_ours, check_every_notebook, check_explorer_widgets
from slurm_cluster import Cluster, cluster, said, wait_for, words_file
from slurm_cluster import start as start_on_slurm

from qkld.analysis.committing import export_study
from qkld.analysis.study import LoadedStudy, load_study
from qkld.report.card.panel import panel_of_card
from qkld.report.study_report import study_numbers
from qkld.report.window_text import window_of, window_tokens
from qkld.study.params import load_params
from qkld.study.paths import StudyPaths
from qkld.study.registry import FIGURES, OF_STUDIES
from qkld.study.schemas import TOKENS, read_table
from qkld.workflow import runner
from qkld.workflow.plan import measured_labels, scored_labels
from validation.gpu import fidelity_lines
from validation.soak.disks import fill_disks, sizes_to_try, small_disk, used_bytes
from validation.soak.flips import HELD, files_by_kind, flip_bytes, reader_of
from validation.soak.kills import kill_at_random, survived
from validation.soak.studies import ANALYSED, StudyFolder, same_tables, without
from validation.soak.twice import started_twice

pytestmark = [pytest.mark.pipeline, pytest.mark.model]

PATIENCE = 420.0
"""Seconds after which a run that should have got on counts as stuck."""

LOOK = 0.03
"""Seconds between two looks at a run; a window takes many times as long."""

Files = dict[Path, tuple[int, int]]
"""Finished windows or packs → inode and time of change: another one of either means that it was written again."""

Start = Callable[..., subprocess.Popen]

CORPORA = ("reference/corpus-*", "reference/answers-*.json")
"""The stores of the corpora, and the answers that the chat's windows hold."""


@dataclass(frozen=True)
class Job:
    """A job to be killed.

    Attributes
    ----------
    notebook, words : its notebook, and words of its command
    done, total : its finished windows or packs as a glob below the run's folder, and how many there are in the end
    output : the file of its rule that Snakemake is asked for
    made : all that it makes, as globs below the run's folder
    """

    notebook: str
    words: str
    done: str
    total: int
    output: str
    made: tuple[str, ...]


def job_of(stage: str) -> Job:
    """The job of a stage that is killed: the one with windows of corpora, and the first quant's.

    The smoke study's items fill at least two packs a benchmark; a pack is a file.
    """
    study = load_params("smoke")
    windows, packs = sum(c.windows for c in study.corpora), 2 * len(study.benchmarks)
    quant = study.quants[0].label
    match stage:
        case "01_reference_logits":
            output = "seals/corpora.json"
            return Job(stage, "--part corpora", "reference/corpus-*/done/*.json", windows, output, (*CORPORA, output))
        case "02_quant_kld":
            return kld_job(quant)
        case _:
            done = f"partial/items/{quant}/*/*.json"
            output = f"items/{quant}.parquet"
            return Job(stage, f"--model {quant}", done, packs, output, (output, f"partial/items/{quant}"))


def kld_job(quant: str) -> Job:
    """The job of stage 02 that measures a quant."""
    windows = sum(corpus.windows for corpus in load_params("smoke").corpora)
    output, done = f"kld/{quant}.parquet", f"partial/kld/{quant}/*/*.parquet"
    made = (output, f"fidelity/{quant}.parquet", f"partial/kld/{quant}")
    return Job("02_quant_kld", f"--quant {quant}", done, windows, output, made)


def run_folder() -> Path:
    return StudyPaths("smoke").run


def processes(*words: str) -> list[psutil.Process]:
    """Processes of the run whose command holds all these words."""
    found = []
    for process in runner.processes_of(run_folder()):
        with suppress(psutil.Error):
            command = " ".join(process.cmdline())
            if all(word in command for word in words):
                found.append(process)
    return found


def kernels_of(job: Job) -> list[psutil.Process]:
    """The kernel that executes a job's notebook."""
    parents = {process.pid for process in processes("qkld", job.notebook, job.words)}
    found = []
    for kernel in processes("ipykernel_launcher"):
        with suppress(psutil.Error):
            if kernel.ppid() in parents:
                found.append(kernel)
    return found


def finished_files(job: Job) -> Files:
    found = {}
    for path in run_folder().glob(job.done):
        with suppress(FileNotFoundError):
            found[path] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return found


def works_in(job: Job, run: subprocess.Popen) -> bool:
    """Whether a kernel of this run, not of an earlier one, executes the job."""
    with suppress(psutil.Error):
        return any(run.pid in {p.pid for p in kernel.parents()} for kernel in kernels_of(job))
    return False


def wait_until(condition: Callable[[], bool], *, alive: subprocess.Popen | None = None) -> None:
    """Until the condition holds; fails where the run that is to bring it about has ended, or is stuck."""
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert alive is None or alive.poll() is None, f"the run ended by itself with {alive.returncode}"
        assert time.monotonic() < give_up, "the run is stuck"
        time.sleep(LOOK)


def kill_group(run: subprocess.Popen, job: Job) -> None:
    """The whole process group: runner, Snakemake and papermill; the kernel has a session of its own."""
    os.killpg(run.pid, signal.SIGKILL)


def kill_kernel(run: subprocess.Popen, job: Job) -> None:
    """The job's kernel alone: papermill sees it, and the run ends by itself with an error."""
    (kernel,) = kernels_of(job)
    kernel.kill()
    assert run.wait(PATIENCE) == 1


def kill_snakemake(run: subprocess.Popen, job: Job) -> None:
    """Snakemake, and the runner that would clear up after it: papermill and its kernel are orphans, and go on."""
    snakemake = [p for p in psutil.Process(run.pid).children() if "snakemake" in " ".join(p.cmdline())]
    run.kill()
    for process in snakemake:
        process.kill()
    assert kernels_of(job), "no kernel was orphaned"


@pytest.fixture
def start(own_place) -> Iterator[Start]:
    """Starts a run in a process group of its own; nothing of it is left behind after the test."""
    started = []

    def run(*more: str) -> subprocess.Popen:
        command = own_place.command("run", "smoke", "--cores", "2", *more)
        with (own_place.folder / "log.txt").open("a") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=own_place.root, start_new_session=True)
        started.append(process)
        return process

    yield run
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    runner.end_processes(run_folder())


def take_back(finished: Path, jobs: Iterable[Job]) -> None:
    """Copy a finished run to this place's run folder, without what these jobs made and all that follows from tables.

    Two more quants, the floor rows and the benchmarks' store stay as they are: no killed job touches them.
    """
    run = shutil.copytree(finished, run_folder())
    for pattern in (*ANALYSED, *(pattern for job in jobs for pattern in job.made)):
        found = list(run.glob(pattern))
        assert found or pattern.startswith("partial/kld"), f"the finished run has no {pattern}"
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def kill_in_the_middle(job: Job, kill: Callable, after: int, start: Start) -> Files:
    """Go on with one job until ``after`` more windows or packs are finished, kill, and return what is finished."""
    before = finished_files(job)
    run = start("--", job.output)
    wait_until(lambda: len(finished_files(job)) >= len(before) + after and works_in(job, run), alive=run)
    kill(run, job)
    run.wait()
    finished = finished_files(job)
    assert len(before) + after <= len(finished) < job.total, f"killed after {len(finished)} of {job.total}"
    assert not (run_folder() / job.output).exists(), "the job had ended before it was killed"
    assert before.items() <= finished.items(), "a finished window was computed again"
    return finished


def go_on_to_the_end(killed: dict[Job, Files], start: Start) -> None:
    """Run the study to its end; the killed jobs go on, and what they had finished stays the same files."""
    run, went_on = start(), set()
    while run.poll() is None:
        for job, before in killed.items():
            now = finished_files(job)
            if before.keys() <= now.keys():
                assert before.items() <= now.items(), f"{job.words}: a finished window was computed again"
                went_on |= {job} if len(now) > len(before) else set()
        time.sleep(LOOK)
    assert run.returncode == 0
    assert went_on == set(killed)


def test_the_unbroken_run_leaves_every_product(smoke_study: Place):
    paths, study = StudyPaths("smoke"), load_params("smoke")
    assert same_tables(paths.run, paths.run) == 2 * 5 + 5 + 2 + len(OF_STUDIES)
    assert json.loads(paths.headline.read_text())["study/quants"] == len(study.quants)
    assert "<html" in paths.report.read_text()
    assert "There is no slider for the zone's cut: no cut has 4 quants inside" in paths.scatter.read_text()
    assert {f"{name}.png" for name in FIGURES} <= {path.name for path in paths.figures.iterdir()}
    executed = {file.stem for file in (paths.run / "notebooks").glob("*.ipynb")}
    assert {f"02_quant_kld.{label}" for label in measured_labels(study)} <= executed
    assert {f"03_benchmark_scores.{label}" for label in scored_labels(study)} <= executed
    assert {"01_reference_logits.corpora", "01_reference_logits.benchmarks", "08_findings"} <= executed


@pytest.fixture(scope="module")
def action(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[int, dict[str, str], str]]:
    """The repository's action on a runner: its own steps in order, in a Python that has what qkld needs, without it."""
    folder = tmp_path_factory.mktemp("runner")
    checkout = folder / "action"
    shutil.copytree(REPOSITORY / "src", checkout / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "action.yml"):
        shutil.copy(REPOSITORY / name, checkout)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "python"], check=True)
    (own,) = (folder / "python").glob("lib/python*/site-packages")
    (own / "packages.pth").write_text(sysconfig.get_path("purelib"))
    outside = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "QKLD_ROOT")}
    outside |= {"GITHUB_ACTION_PATH": str(checkout), "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1"}
    outside["PATH"] = f"{folder / 'python' / 'bin'}{os.pathsep}{outside['PATH']}"
    steps = {s["name"]: s["run"] for s in yaml.safe_load((checkout / "action.yml").read_text())["runs"]["steps"]}

    def step(name: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-e", "-o", "pipefail", "-c", steps[name]]
        return subprocess.run(command, cwd=folder, env=outside | more, capture_output=True, text=True, check=False)

    installed = step("Install")
    assert installed.returncode == 0, installed.stderr[-4000:]
    assert (own / "qkld" / "__init__.py").exists()

    def run(source: Path, quant: str, thresholds: str) -> tuple[int, dict[str, str], str]:
        outputs = folder / "outputs"
        outputs.write_text("")
        inputs = {"SOURCE": str(source), "QUANT": quant, "THRESHOLDS": thresholds, "UNRESOLVED": "fail"}
        done = step("Judge", **inputs, GITHUB_OUTPUT=str(outputs))
        told = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
        return done.returncode, told, done.stdout + done.stderr

    return run


def test_the_action_judges_a_quant_of_the_run(action: Callable, smoke_study: Place) -> None:
    """Every outcome, each from the run's own figures, by the steps that a workflow of others runs."""
    study = load_study("smoke")
    quant = study.quants[0]
    row = study.cohort.set_index("label").loc[quant]
    items = f"--items '{study.paths.all_items}' --reference {study.params.reference.label}"
    asked = {
        f"--max-kld {row['kl_mean_high']}\n--min-top1 0%": (0, "passed"),
        f"--max-kld {row['kl_mean_high']}\n--require kl_max<={row['kl_max'] / 2}": (3, "failed"),
        f"--max-kld {row['kl_mean_high']} --require no_such_metric<=1": (4, "not measured"),
        f"--max-kld {row['kl_mean']}": (5, "not resolved"),
        f"--max-kld {row['kl_mean_high']} --max-loss {study.benchmarks[0]}=100% {items}": (0, "passed"),
    }
    for thresholds, (status, outcome) in asked.items():
        code, told, said = action(study.paths.cohort, quant, thresholds)
        assert (code, told) == (status, {"status": str(status), "outcome": outcome}), said
        assert f"{outcome}: {quant}: kl_mean" in said
    assert action(study.paths.cohort, quant, "--max-kld 0.1 --require kl_mean>=0.2")[:2] == (2, {"status": "2"})


def test_a_quant_of_the_run_is_judged_and_gets_a_card(smoke_study: Place, tmp_path: Path):
    fidelity = load_study("smoke").fidelity
    head = load_params("smoke").headline
    rows = fidelity[(fidelity["metric"] == "kl_mean") & (fidelity["corpus"] == head.corpus)]
    quant = load_study("smoke").quants[0]
    highest = rows[rows["quant"] == quant]["high"].max()
    asked = ("gate", "--study", "smoke", "--quant", quant)
    passed = smoke_study.qkld(*asked, "--max-kld", str(10 * highest + 1))
    assert (passed.returncode, passed.stdout.partition(":")[0]) == (0, "passed"), passed.stdout + passed.stderr
    failed = smoke_study.qkld(*asked, "--max-kld", "1e-9")
    assert (failed.returncode, failed.stdout.partition(":")[0]) == (3, "failed"), failed.stdout + failed.stderr
    card = smoke_study.qkld("card", "--study", "smoke", "--out", str(tmp_path / "card"))
    assert card.returncode == 0, card.stderr
    assert panel_of_card(tmp_path / "card" / "card.md").id is not None


def test_a_finished_run_has_nothing_to_do(smoke_run: Place):
    done = smoke_run.qkld("run", "smoke", "--dry-run")
    assert "Nothing to be done" in done.stdout + done.stderr


@pytest.mark.long
def test_killed_in_the_middle_of_every_stage_it_ends_with_the_same_tables(
    smoke_run: Place, own_place: Place, start: Start, rng: np.random.Generator
):
    """Each stage is killed once, each in another way; which stage gets which, and when, is drawn."""
    unbroken, killed = smoke_run.folder / "runs" / "smoke", {}
    ways = rng.permutation([kill_group, kill_kernel, kill_snakemake])
    furthest = {job_of("01_reference_logits"): 4, job_of("02_quant_kld"): 8, job_of("03_benchmark_scores"): 3}
    take_back(unbroken, furthest)
    for (job, most), kill in zip(furthest.items(), ways, strict=True):
        killed[job] = kill_in_the_middle(job, kill, int(rng.integers(1, most, endpoint=True)), start)
    go_on_to_the_end(killed, start)
    same_tables(unbroken, run_folder())
    for seal in ("corpora", "benchmarks"):  # they name each store's digest
        assert (run_folder() / "seals" / f"{seal}.json").read_bytes() == (unbroken / f"seals/{seal}.json").read_bytes()


@pytest.mark.long
def test_kept_half_way_and_killed_a_fresh_clone_ends_with_the_same_tables(
    smoke_run: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One quant's KLD and another's items are missing; the clone is killed while it makes them, and goes on."""
    clone, study = copy_project(tmp_path), load_params("smoke")
    kept = clone.qkld("keep", "smoke", "--runs", str(smoke_run.folder / "runs"))
    assert "the study has ended" in kept.stdout, kept.stderr
    folder, (first, second, _) = clone.root / "studies" / "smoke", (quant.label for quant in study.quants)
    check_files(folder)
    for file in (f"tokens/{first}", f"fidelity/{first}", f"items/{second}", "cohort"):
        (folder / f"{file}.parquet").unlink()
    for name, value in clone.variables.items():
        monkeypatch.setenv(name, value)
    with subprocess.Popen(clone.command("run", "smoke"), start_new_session=True, cwd=clone.root) as run:
        wait_until(lambda: any(run_folder().glob(f"partial/kld/{first}/*/*.parquet")), alive=run)
        os.killpg(run.pid, signal.SIGKILL)
    done = clone.qkld("run", "smoke")
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = {file.stem for file in (run_folder() / "notebooks").glob("0[23]_*.ipynb")}
    assert jobs == {f"02_quant_kld.{first}", f"03_benchmark_scores.{second}"}
    same_tables(smoke_run.folder / "runs" / "smoke", run_folder(), taken={*measured_labels(study)} - {first})


@pytest.mark.slurm
@pytest.mark.cluster_study
def test_on_a_slurm_cluster_that_fails_in_the_middle_it_ends_with_the_same_tables(
    smoke_run: Place, project: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of an array's two jobs one is cancelled, and the node of the other is lost, so that it starts anew."""
    for name, value in project.variables.items():
        monkeypatch.setenv(name, value)
    unbroken = smoke_run.folder / "runs" / "smoke"
    take_back(unbroken, [kld_job(quant.label) for quant in load_params("smoke").quants[:2]])
    site = ("--site", str(quick_site(project)))
    with cluster(tmp_path / "cluster") as made:
        first = start_on_slurm(made, project, *site)
        wait_for(lambda: len(quants_jobs(made, "RUNNING")) == 2, PATIENCE)
        cancelled, lost = sorted(quants_jobs(made, "RUNNING"))
        made.ask("scancel", cancelled)
        made.lose_node()
        wait_for(lambda: lost in quants_jobs(made, "PENDING"), PATIENCE)
        made.start_node()
        assert first.wait(2 * PATIENCE) == 1
        assert f"SLURM job {cancelled}: it was cancelled" in words_file(project).read_text()
        status, words = said(made, project, *site, patience=2 * PATIENCE)
    assert status == 0, words
    assert same_tables(unbroken, run_folder())


def quick_site(project: Place) -> Path:
    """The file of a site with jobs of one core each, in a project that looks at its jobs more often than is shipped."""
    profile = project.root / "workflow" / "profiles" / "slurm" / "config.yaml"
    shipped = profile.read_text()
    profile.write_text(re.sub(r"(?m)^(slurm-init-seconds-before-status-checks:) \d+", r"\1 2", shipped))
    assert profile.read_text() != shipped
    file = project.folder / "site.yaml"
    file.write_text("threads: 1\ntokens_per_second: 100\n")
    return file


@pytest.fixture
def whole(smoke_run: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
    """A copy of the finished run that may be damaged, with this process sent there."""
    whole = StudyFolder(tmp_path / "whole")
    shutil.copytree(smoke_run.folder / "runs", whole.folder / "runs")
    shutil.copytree(smoke_run.folder / "figures", whole.folder / "figures")
    for name in ("QKLD_RUNS", "QKLD_FIGURES"):
        monkeypatch.setenv(name, whole.variables()[name])
    return whole


def test_every_file_of_the_run_has_a_reader_that_a_changed_byte_would_meet(smoke_study: Place):
    run, files = StudyPaths("smoke").run, files_by_kind(StudyPaths("smoke").run)
    assert files.keys() == HELD.keys()
    assert all(callable(reader_of(path, run)) for paths in files.values() for path in paths)


@pytest.mark.soak
def test_a_byte_changed_in_any_kind_of_file_is_noticed_or_changes_no_number(
    whole: StudyFolder, rng: np.random.Generator
):
    outcomes = flip_bytes(whole, 90, rng)
    assert outcomes.keys() == HELD.keys()
    assert [place for found in outcomes.values() for place in found.missed] == []
    assert all(outcomes[kind].noticed for kind in ("tables", "result tables", "seals", "stores", "executed notebooks"))


@pytest.mark.soak
def test_a_study_started_twice_runs_once_and_the_other_says_who_runs(whole: StudyFolder):
    assert started_twice(whole) == (1, 1)


@pytest.mark.soak
def test_on_a_full_disk_and_after_a_kill_at_random_moments_it_ends_with_the_same_tables(
    whole: StudyFolder, tmp_path: Path, rng: np.random.Generator
):
    with small_disk(tmp_path / "disk") as resize:
        place = StudyFolder(tmp_path / "disk" / "study")
        begun = without(whole.run, place.run, ANALYSED)
        (full,) = fill_disks(place, sizes_to_try(used_bytes(begun), used_bytes(whole.folder), 1, rng), resize)
        assert full.named, full.said
        (kill,) = kill_at_random(place, whole.run, ["05_silent_zone"], rng)
        assert (kill.running, kill.made_again) == (True, 0)
        assert survived(place, whole.run)


def quants_jobs(made: Cluster, state: str) -> set[str]:
    """Numbers of the SLURM jobs of stages 02 and 03 in a state."""
    rules = ("rule_quant_kld", "rule_benchmark_scores")
    return {number for number, _, comment in made.jobs(state) if comment.startswith(rules)}


def test_the_report_of_the_unbroken_run_names_what_is_missing(smoke_study: Place):
    study = load_study("smoke")
    report = study.paths.report.read_text()
    assert "Not available" in report
    assert all(label in report for label in study.quants)
    numbers = study_numbers(study)
    assert all(numbers[f"cohort/{label}/kl_mean"] > 0 for label in study.quants)


def test_the_check_on_a_card_tells_the_mean_kld_of_every_quant_of_such_a_run(smoke_study: Place):
    told = {line.what: line.found for line in fidelity_lines(smoke_study.folder)}
    known = load_study("smoke").cohort.set_index("label")["kl_mean"].dropna()
    assert told == {f"mean KLD of {label}": f"{kld:.5f} nats" for label, kld in known.items()}
    assert set(load_study("smoke").quants) <= set(known.index)


@pytest.mark.notebook
def test_its_kept_tables_give_every_number_again_without_the_run(
    smoke_study: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kept = study_numbers(load_study("smoke"))
    project = copy_project(tmp_path)
    export_study("smoke", project.root / "studies" / "smoke")
    check_files(project.root / "studies" / "smoke")
    monkeypatch.setenv("QKLD_ROOT", str(project.root))
    monkeypatch.setenv("QKLD_RUNS", str(tmp_path / "runs"))
    assert differences(numbers_made_again("smoke"), kept) == {}
    check_ids_cut_again(load_study("smoke"), smoke_study.folder / "runs" / "smoke")


def check_ids_cut_again(kept: LoadedStudy, run: Path) -> None:
    """The tables that are kept have no ids: those cut from the texts once more are those that the run scored."""
    quant = kept.quants[0]
    scored = read_table(run / "kld" / f"{quant}.parquet", TOKENS, made_in="qkld run")
    texts = [corpus.name for corpus in kept.params.corpora if corpus.kind == "text"]
    places = scored.loc[scored["corpus"].isin(texts), ["corpus", "context", "window"]].drop_duplicates()
    assert len(places) == 6 * 3 + 6
    for corpus, context, window in places.itertuples(index=False):
        again = window_of(kept, quant, corpus, int(context), int(window))
        assert again["token"].tolist() == window_tokens(scored, corpus, context, window)["token"].tolist()


@pytest.mark.notebook
def test_the_explorer_runs_without_a_screen(smoke_study: Place, tmp_path: Path):
    check_explorer(REPOSITORY, tmp_path / "explore.ipynb")


@pytest.mark.jupyterlab
def test_every_notebook_runs_in_jupyterlab_and_changes_no_table(smoke_run: Place, tmp_path: Path):
    """As after `make reproduce` and `make lab`, on copies of the run and of the notebooks."""
    chromium()
    shutil.copytree(REPOSITORY / "notebooks", tmp_path / "notebooks")
    for name in ("runs", "figures"):
        shutil.copytree(smoke_run.folder / name, tmp_path / name)
    with jupyter_lab(tmp_path, tmp_path / "lab", Place(tmp_path).variables) as lab:
        check_every_notebook(lab, tmp_path / "runs" / "smoke")
        check_explorer_widgets(lab)
        check_an_error_of_ours(lab, tmp_path / "notebooks")


@pytest.mark.long
def test_the_documentation_is_built_of_the_executed_notebooks_without_a_warning(smoke_run: Place, tmp_path: Path):
    docs = tmp_path / "docs"
    shutil.copytree(REPOSITORY / "docs", docs, ignore=shutil.ignore_patterns("generated", "_build"))
    for name in ("CHANGELOG.md", "README.md"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / "figures").symlink_to(REPOSITORY / "figures")
    variables = {"QKLD_ROOT": str(REPOSITORY), "QKLD_RUNS": str(smoke_run.folder / "runs")}
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", docs, tmp_path / "html"]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    studies = tmp_path / "html" / "generated" / "studies" / "smoke"
    page = (studies / "05_silent_zone.html").read_text(encoding="utf-8")
    assert re.search(r'href="[./_a-z0-9]+/scatter.html"', (studies / "index.html").read_text(encoding="utf-8"))
    assert page.count("<img") > 1
    assert '<div class="cell_output' in (studies / "02_quant_kld.html").read_text(encoding="utf-8")
