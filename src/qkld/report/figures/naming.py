"""Names beside points, where there is room."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from qkld.report.figures.axes import unparsed

PLACES = tuple(
    (
        dx,
        dy,
        "left" if dx > 0 else "right" if dx < 0 else "center",
        "bottom" if dy > 0 else "top" if dy < 0 else "center",
    )
    for reach in (4, 9, 16)
    for dx, dy in ((1, 0), (-1, 0), (0.7, 0.7), (0.7, -0.7), (-0.7, 0.7), (-0.7, -0.7), (0, 1), (0, -1))
    for dx, dy in ((reach * dx, reach * dy),)
)
"""Offsets of a name from its point, in points of 1/72 inch, the nearest first, and how it is set there."""

LED = 8.0
"""Offset from which a thin line leads from the name to its point."""

POINT = 3.5
"""Half the side of the square that a marker takes, in points."""

_SEPARATORS = "-_/ .:"


def short_names(labels: Sequence[str]) -> list[str]:
    """Labels without the words that all of them begin with."""
    if len(labels) < 2:
        return list(labels)
    same = 0
    while len({label[: same + 1] for label in labels}) == 1 and same < min(map(len, labels)) - 1:
        same += 1
    cut = max((i + 1 for i in range(same) if labels[0][i] in _SEPARATORS), default=0)
    return [label[cut:] for label in labels]


def name_points(
    ax: Axes, x: Sequence[float], y: Sequence[float], labels: Sequence[str], *, size: float = 6.0
) -> list[str]:
    """Write each label beside its point where it covers no point, no text and no other name; returns those left out.

    To be called last: limits and layout have to be final. The loneliest points are named first.
    """
    figure = ax.figure
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    scale = figure.dpi / 72
    points = np.column_stack([np.asarray(x, dtype=float), np.asarray(y, dtype=float)])
    spots = ax.transData.transform(points)
    taken = [Bbox.from_extents(*(spot - POINT * scale), *(spot + POINT * scale)) for spot in spots]
    taken += [text.get_window_extent(renderer) for text in ax.texts if text.get_text()]
    taken += [box for bars in ax.collections if isinstance(bars, LineCollection) for box in _boxes(bars, scale)]
    left_out = []
    for i in _loneliest_first(spots):
        box = _place(ax, tuple(points[i]), spots[i], labels[i], taken, scale=scale, size=size, renderer=renderer)
        if box is None:
            left_out.append(labels[i])
        else:
            taken.append(box)
    return left_out


def _boxes(bars: LineCollection, scale: float) -> list[Bbox]:
    """The boxes of error bars, half a point wider."""
    ends = [bars.get_transform().transform(segment) for segment in bars.get_segments()]
    return [Bbox.from_extents(*(e.min(axis=0) - scale / 2), *(e.max(axis=0) + scale / 2)) for e in ends]


def _loneliest_first(spots: np.ndarray) -> list[int]:
    if len(spots) < 2:
        return list(range(len(spots)))
    distance = np.linalg.norm(spots[:, None] - spots[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    return [
        int(i) for i in np.argsort(-np.sort(distance, axis=1)[:, : min(3, len(spots) - 1)].mean(axis=1), kind="stable")
    ]


def _place(ax: Axes, point: tuple, spot: np.ndarray, label: str, taken: list[Bbox], *, scale, size, renderer):
    """The box of the label at the first place where it is free; None where there is none."""
    drawn = unparsed(label)
    text = ax.annotate(drawn, point, xytext=(0, 0), textcoords="offset points", fontsize=size, zorder=5, color="0.15")
    text.set_path_effects([withStroke(linewidth=1.5, foreground="white")])
    extent = text.get_window_extent(renderer)
    frame = ax.get_window_extent(renderer)
    for dx, dy, horizontal, vertical in PLACES:
        left = spot[0] + dx * scale - {"left": 0, "center": extent.width / 2, "right": extent.width}[horizontal]
        low = spot[1] + dy * scale - {"bottom": 0, "center": extent.height / 2, "top": extent.height}[vertical]
        box = Bbox.from_bounds(left, low, extent.width, extent.height)
        inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
        if inside and not any(box.overlaps(other) for other in taken):
            text.set(ha=horizontal, va=vertical)
            text.set_position((dx, dy))
            if max(abs(dx), abs(dy)) >= LED:
                line = {"arrowstyle": "-", "linewidth": 0.4, "color": "0.6", "shrinkA": 0, "shrinkB": 2}
                ax.annotate("", point, xytext=(dx, dy), textcoords="offset points", arrowprops=line, zorder=2)
            return box
    text.remove()
    return None
