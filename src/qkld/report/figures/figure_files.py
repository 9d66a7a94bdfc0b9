"""The style of all figures, their size, and their files."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from qkld.analysis.study import LoadedStudy
from qkld.errors import StageError
from qkld.study.provenance import written_whole
from qkld.study.registry import FIGURES

PROMPTS = "prompt_kld_"
"""What the names of notebook 07's figures of single benchmarks begin with."""

COLOURS = 48
"""Colours of a PNG: enough for text's soft edges, and a third of the bytes of a picture that may have any."""


def use_style() -> None:
    """Load the package's style file into matplotlib's settings.

    Names in letters that its font does not have are drawn as boxes, without a warning a letter: tables hold them whole.
    """
    warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from", category=UserWarning)
    with as_file(files("qkld.report.figures") / "qkld.mplstyle") as style:
        plt.style.use(style)


def column_figure(width: float, aspect: float = 0.75, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure ``width`` inches wide with ``rows`` panels that share x; each is ``aspect`` × width high."""
    figure, axes = plt.subplots(rows, 1, sharex=True, squeeze=False, figsize=(width, width * aspect * rows))
    return figure, list(axes[:, 0])


def join_panels(axes: Sequence[Axes]) -> None:
    """Leave the x label to the last panel, but keep in every panel what its label says is left out; one legend."""
    for ax in axes[:-1]:
        ax.set_xlabel("\n".join(ax.get_xlabel().split("\n")[1:]))
    for ax in axes[1:]:
        if ax.get_legend():
            ax.get_legend().remove()


def save_figure(figure: Figure, folder: Path, name: str, formats: Sequence[str]) -> list[Path]:
    """Write ``folder/name.<format>`` for each format, each whole or not at all; returns the paths.

    No date and no version is written into a file, so that the same table gives the same bytes.
    """
    paths = []
    for kind in formats:
        path = folder / f"{name}.{kind}"
        undated = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}[kind]
        with written_whole(path) as temporary:
            if kind == "png":
                temporary.write_bytes(png_bytes(figure))
            else:
                figure.savefig(temporary, format=kind, metadata=undated)
        paths.append(path)
    return paths


def keep_figures(study: LoadedStudy, figures: Mapping[str, Figure]) -> None:
    """Save a notebook's figures by name where the study's lie, as PNG and in the study's formats."""
    for name, figure in figures.items():
        save_figure(figure, study.figures, name, list(dict.fromkeys([*study.params.figures.formats, "png"])))


def saved_figure(study: LoadedStudy, name: str) -> Path:
    """The PNG of a figure that a notebook saved: of this run, else the one that the repository keeps.

    Raises
    ------
    StageError
        If there is none; the message names the notebook.
    """
    places = [folder / f"{name}.png" for folder in (study.figures, study.paths.figures)]
    found = next((path for path in places if path.exists()), None)
    if found is None:
        raise StageError(
            f"Figure '{name}' of study '{study.params.study}' does not exist yet.",
            expected=places[0],
            found="no such file",
            do=f"run notebook {FIGURES[name]} first",
        )
    return found


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG in memory, of `COLOURS` colours."""
    drawn, small = BytesIO(), BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    with Image.open(drawn) as picture:
        few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        few.save(small, format="png", optimize=True, dpi=picture.info["dpi"])
    return small.getvalue()
