"""Every path of the project, in one place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from qkld.errors import ParameterError
from qkld.study.storage import Place, place


def project_root() -> Path:
    """The folder that holds ``params/``: ``$QKLD_ROOT``, or the nearest one above the working directory."""
    if "QKLD_ROOT" in os.environ:
        return Path(os.environ["QKLD_ROOT"]).resolve()
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / "params").is_dir() and (folder / "notebooks").is_dir():
            return folder
    raise ParameterError(
        "No qkld project found.",
        expected="a folder with params/ and notebooks/ at or above the working directory",
        found=here,
        do="change into the repository, or set QKLD_ROOT to it",
    )


@contextmanager
def some_project() -> Iterator[None]:
    """Outside a project, fetched texts and converted GGUF files go to the user's cache."""
    if _in_project():
        yield
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "qkld"
    cache.mkdir(parents=True, exist_ok=True)
    os.environ["QKLD_ROOT"] = str(cache)
    try:
        yield
    finally:
        del os.environ["QKLD_ROOT"]


def _in_project() -> bool:
    try:
        project_root()
    except ParameterError:
        return False
    return True


def data_folder() -> Path:
    """Fetched models, texts and benchmark items: ``$QKLD_DATA``, or ``data/`` of the project."""
    return Path(os.environ["QKLD_DATA"]).resolve() if "QKLD_DATA" in os.environ else project_root() / "data"


GIVEN_DATA = "QKLD_BENCHMARK_DATA"
"""Environment variable that names `given_data_folder`."""


def given_data_folder() -> Path:
    """Benchmark files that no package holds: ``$QKLD_BENCHMARK_DATA``, or ``../shared/data/benchmarks``."""
    if GIVEN_DATA in os.environ:
        return Path(os.environ[GIVEN_DATA]).resolve()
    return project_root().parent / "shared" / "data" / "benchmarks"


def params_file(study: str) -> Path:
    """The YAML file of a study."""
    return project_root() / "params" / f"{study}.yaml"


def known_studies(folder: Path | None = None) -> list[str]:
    """Names of the studies in a folder, by default ``params/``."""
    return sorted(file.stem for file in (folder or project_root() / "params").glob("*.yaml"))


@dataclass(frozen=True)
class CommittedPaths:
    """Where the tables of a study lie that are kept in the repository: ``studies/<study>``.

    Each model's come as it is finished; the cohort is there once all are.
    """

    folder: Path

    @property
    def page(self) -> Path:
        """What the tables are, their licences, and a checksum of each."""
        return self.folder / "README.md"

    @property
    def cohort(self) -> Path:
        return self.folder / "cohort.parquet"

    def fidelity(self, quant: str) -> Path:
        return self.folder / "fidelity" / f"{quant}.parquet"

    def items(self, model: str) -> Path:
        return self.folder / "items" / f"{model}.parquet"

    def tokens(self, quant: str) -> Path:
        """What `qkld.study.schemas.KEPT_TOKENS` keeps of a token table."""
        return self.folder / "tokens" / f"{quant}.parquet"

    def analysis(self, table: str) -> Path:
        """A result table of notebooks 04 to 07, as the study's run made it, packed."""
        return self.folder / "analysis" / f"{table}.csv.xz"

    def made(self, table: str) -> Path:
        """What made a result table."""
        return self.folder / "analysis" / f"{table}.json"


def committed_studies() -> list[str]:
    """Names of the studies whose tables the repository keeps, whole."""
    return sorted(file.parent.name for file in (project_root() / "studies").glob("*/cohort.parquet"))


@dataclass(frozen=True)
class StudyPaths:
    """Where one study keeps its files. ``run`` is ``runs/<study>`` unless ``$QKLD_RUNS`` moves ``runs``.

    ``by_hand`` names the folder of a notebook's run with other knobs than the study's: everything of it lies below
    ``runs/<study>/by-hand``, beside the study's own files.
    """

    study: str
    by_hand: str = ""

    @property
    def run(self) -> Path:
        runs = Path(os.environ["QKLD_RUNS"]).resolve() if "QKLD_RUNS" in os.environ else project_root() / "runs"
        own = runs / self.study
        return own / "by-hand" / self.by_hand if self.by_hand else own

    @property
    def reference(self) -> Place:
        """Stores of the reference, one folder a key; not declared to Snakemake, so that a kill keeps them.

        ``$QKLD_STORES``, a folder or a URL that fsspec reads, takes them elsewhere, below the study's name.
        """
        if "QKLD_STORES" in os.environ:
            return place(os.environ["QKLD_STORES"]) / self.study
        return self.run / "reference"

    @property
    def partial(self) -> Path:
        """Finished windows and tasks of runs that have not ended; not declared to Snakemake either."""
        return self.run / "partial"

    @property
    def progress(self) -> Path:
        """How far running jobs are, and why jobs failed; see `qkld.study.progress`."""
        return self.run / ".progress"

    @property
    def corpora_seal(self) -> Path:
        return self.run / "seals" / "corpora.json"

    @property
    def benchmarks_seal(self) -> Path:
        return self.run / "seals" / "benchmarks.json"

    @property
    def quants_seal(self) -> Path:
        """What notebook 00 made, as it is."""
        return self.run / "seals" / "quants.json"

    def basis_seal(self, basis: str) -> Path:
        """What notebook 00 made in a basis of builds, which may be removed since."""
        return self.run / "seals" / f"basis-{basis}.json"

    def basis_removed(self, basis: str) -> Path:
        """What was removed of a basis after its last use."""
        return self.run / "seals" / f"removed-{basis}.json"

    @property
    def samples(self) -> Path:
        """What a few items of each benchmark said, for the plan."""
        return self.run / "samples.json"

    @property
    def taken(self) -> Path:
        """Which tables were taken from those that the repository keeps."""
        return self.run / "taken.json"

    def kld(self, quant: str) -> Path:
        """Token table of a quant."""
        return self.run / "kld" / f"{quant}.parquet"

    def fidelity(self, quant: str) -> Path:
        """Fidelity summary of a quant, one row a corpus, context and metric."""
        return self.run / "fidelity" / f"{quant}.parquet"

    def items(self, model: str) -> Path:
        """Item table of a model."""
        return self.run / "items" / f"{model}.parquet"

    @property
    def cohort(self) -> Path:
        """One row a model: what it is, its fidelity, its scores."""
        return self.run / "cohort.parquet"

    @property
    def all_items(self) -> Path:
        """The items of all models, one below the other."""
        return self.run / "items.parquet"

    def analysis(self, table: str) -> Path:
        """A result table of notebooks 04 to 07."""
        return self.run / "analysis" / f"{table}.csv"

    def notebook(self, name: str) -> Path:
        """An executed notebook."""
        return self.run / "notebooks" / f"{name}.ipynb"

    @property
    def report(self) -> Path:
        """Notebook 08 as one HTML file, without its code."""
        return self.run / "report.html"

    @property
    def scatter(self) -> Path:
        """KLD and score of every quant as one HTML file to look into."""
        return self.run / "scatter.html"

    @property
    def committed(self) -> CommittedPaths:
        return CommittedPaths(project_root() / "studies" / self.study)

    @property
    def figures(self) -> Path:
        if self.by_hand:
            return self.run / "figures"
        root = (
            Path(os.environ["QKLD_FIGURES"]).resolve() if "QKLD_FIGURES" in os.environ else project_root() / "figures"
        )
        return root / self.study

    @property
    def headline(self) -> Path:
        """The few numbers that README and documentation quote."""
        return self.figures / "headline.json"
