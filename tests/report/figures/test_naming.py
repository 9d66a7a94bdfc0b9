"""Names beside points: all where there is room, none over another where there is not."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from qkld.report.figures.naming import name_points, short_names


@pytest.fixture
def ax():
    figure, ax = plt.subplots(figsize=(5, 3))
    yield ax
    plt.close(figure)


def boxes(ax):
    renderer = ax.figure.canvas.get_renderer()
    return [t.get_window_extent(renderer) for t in ax.texts if t.get_text()]


def test_names_of_points_far_apart_all_stand(ax):
    x, y = np.arange(5.0), np.array([0.0, 3.0, 1.0, 4.0, 2.0])
    ax.plot(x, y, "o")
    assert name_points(ax, x, y, list("abcde")) == []
    assert sorted(t.get_text() for t in ax.texts if t.get_text()) == list("abcde")


def test_names_never_cover_each_other_and_the_rest_is_told(ax):
    rng = np.random.default_rng(1)
    x, y = rng.normal(0, 0.05, 40), rng.normal(0, 0.05, 40)
    ax.plot(x, y, "o")
    ax.set(xlim=(-1, 1), ylim=(-1, 1))
    names = [f"a-rather-long-name-{i}" for i in range(40)]
    left_out = name_points(ax, x, y, names)
    shown = boxes(ax)
    assert len(shown) + len(left_out) == 40
    assert left_out
    assert shown
    assert not any(a.overlaps(b) for i, a in enumerate(shown) for b in shown[i + 1 :])


def test_points_of_a_part_of_a_table_are_named(ax):
    table = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [1.0, 3.0, 2.0]}).iloc[1:]
    ax.plot(table["x"], table["y"], "o")
    assert name_points(ax, table["x"], table["y"], ["b", "c"]) == []


def test_names_keep_off_error_bars(ax):
    ax.errorbar([0.5], [0.5], yerr=[0.3], fmt="o")
    ax.set(xlim=(0, 1), ylim=(0, 1))
    assert name_points(ax, [0.5], [0.5], ["q4"]) == []
    (box,) = boxes(ax)
    bar = ax.transData.transform((0.5, 0.5))[0]
    assert not box.x0 < bar < box.x1


@pytest.mark.parametrize(
    ("labels", "short"),
    [
        (["Llama-3-Q4", "Llama-3-Q8"], ["Q4", "Q8"]),
        (["q4_k_m", "q4_k_s"], ["m", "s"]),
        (["apex", "bartowski"], ["apex", "bartowski"]),
        (["Q4"], ["Q4"]),
        (["Q4", "Q4_K"], ["Q4", "Q4_K"]),
    ],
)
def test_what_all_labels_begin_with_is_left_out(labels, short):
    assert short_names(labels) == short
