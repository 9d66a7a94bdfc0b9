"""The style of all figures, their size, and their files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.resources import as_file, files
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qkld.study.provenance import written_whole


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
        undated = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}[kind]
        with written_whole(path) as temporary:
            figure.savefig(temporary, format=kind, metadata=undated)
        paths.append(path)
    return paths


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG in memory, for a report that holds its pictures itself."""
    stream = BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
