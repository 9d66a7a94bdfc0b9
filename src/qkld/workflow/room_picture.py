"""The rooms of the package as a picture: which imports from which. All marks lie on one side of the diagonal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

CELL = 0.36
"""Inches a room, in both directions."""

MARGIN = 1.15
"""Inches for the rooms' names."""

INK = "#4c6a8a"


def draw_rooms(files: Mapping[str, Mapping[str, int]]) -> Figure:
    """The picture: a row a room, a column a room that is imported from, the number of files that do so in the mark.

    ``files``: room → the other rooms that it imports from → how many of its files; rooms by floor, top first.
    """
    rooms = list(files)
    size = CELL * len(rooms)
    whole = MARGIN + size + 0.1
    figure = Figure(figsize=(whole, whole), layout="none")
    ax = figure.add_axes((MARGIN / whole, 0.01, size / whole, size / whole))
    ax.set_xlim(-0.5, len(rooms) - 0.5)
    ax.set_ylim(len(rooms) - 0.5, -0.5)
    ax.xaxis.tick_top()
    ax.set_xticks(range(len(rooms)), rooms, rotation=55, ha="left", fontsize=8)
    ax.set_yticks(range(len(rooms)), rooms, fontsize=8)
    ax.tick_params(length=0)
    ax.grid(color="0.92", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.plot([-0.5, len(rooms) - 0.5], [-0.5, len(rooms) - 0.5], color="0.8", linewidth=0.8)
    for row, room in enumerate(rooms):
        for lower, number in files[room].items():
            column = rooms.index(lower)
            ax.scatter(column, row, s=150, color=INK, alpha=min(1.0, 0.35 + number / 40), linewidths=0)
            ax.text(column, row, str(number), color="white", fontsize=6.5, ha="center", va="center")
    for side in ax.spines.values():
        side.set_visible(False)
    return figure


def write_rooms(path: Path, files: Mapping[str, Mapping[str, int]]) -> None:
    """Write the picture as SVG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_rooms(files).savefig(path)
