"""Mean KLD by position: a line a quant, floors dotted, and what a log axis cannot show is named."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from simulated_tokens import token_table

from qkld.report.figures.positions_figure import draw_kld_by_position
from qkld.statistics.tokens.breakdown import breakdown_table


@pytest.fixture
def breakdown():
    """Nine quants, the floor, and a quant that is the reference, on the same tokens."""
    labels = ["floor-dtype", *(f"q8-k-{k}-v-{v}" for k in ("f16", "q8_0", "q4_0") for v in ("f16", "q8_0", "q4_0"))]
    tables = {label: token_table(np.random.default_rng(7)) for label in [*labels, "same"]}
    for place, label in enumerate(labels):
        tables[label]["kl"] *= 1 + place
    tables["same"]["kl"] = 0.0
    how = {"position_edges": 5, "confidence": 0.95, "bootstrap": 100, "seed": 1}
    return breakdown_table(tables.__getitem__, list(tables), **how)


def test_each_quant_is_a_line_of_its_own_look(breakdown):
    figure, ax = plt.subplots()
    draw_kld_by_position(ax, breakdown)
    drawn = {container.get_label(): container.lines[0] for container in ax.containers}
    labels = list(breakdown["label"].unique())
    assert list(drawn) == [*labels[1:-1], labels[0]]
    assert "same" in ax.get_xlabel()
    looks = {(line.get_color(), line.get_marker()) for line in drawn.values()}
    assert len(looks) == len(drawn)
    assert drawn["floor-dtype"].get_linestyle() == ":"
    own = breakdown.query("label == @labels[1] and by == 'position' and metric == 'kl_mean'")
    np.testing.assert_allclose(drawn[labels[1]].get_ydata().astype(float), own["estimate"])
    assert (np.diff(drawn[labels[1]].get_xdata()) > 0).all()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == labels[-2::-1]
    plt.close(figure)


def test_a_floor_far_below_all_quants_is_named_at_the_axis_and_squeezes_no_line(breakdown):
    far = breakdown.assign(estimate=breakdown["estimate"].where(breakdown["label"] != "floor-dtype", 1e-11))
    figure, ax = plt.subplots()
    draw_kld_by_position(ax, far)
    assert "floor-dtype" not in [container.get_label() for container in ax.containers]
    assert [text.get_text() for text in ax.texts] == ["floor: 1e-11"]
    assert ax.get_ylim()[0] > 1e-4
    plt.close(figure)
