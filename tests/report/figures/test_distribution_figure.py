"""KLD over tokens: every token drawn once, and the share of tokens that makes half of the mean."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from qkld.report.figures.distribution_figure import concentration, draw_kld_distribution


def test_every_finite_token_is_in_the_bars_and_others_are_counted(rng):
    kl = np.concatenate([rng.lognormal(-6, 2, 400), [0.0, np.nan, np.inf]])
    figure, ax = plt.subplots()
    draw_kld_distribution(ax, kl, floor=1e-3)
    assert sum(bar.get_height() for bar in ax.patches) == pytest.approx(1.0)
    assert "2 not finite" in ax.get_xlabel()
    assert [text.get_text() for text in ax.get_legend().get_texts()][1] == "floor"
    (line,) = figure.axes[1].lines
    assert line.get_ydata()[-1] == pytest.approx(1.0)
    assert np.all(np.diff(line.get_ydata()) >= 0)
    plt.close(figure)


def test_tokens_that_are_all_zero_are_drawn():
    figure, ax = plt.subplots()
    draw_kld_distribution(ax, np.zeros(5), floor=0.0)
    assert sum(bar.get_height() for bar in ax.patches) == pytest.approx(1.0)
    plt.close(figure)


@pytest.mark.parametrize(
    ("kl", "share"),
    [([1, 1, 1, 1], 0.5), ([9, 1, 1, 1], 0.25), ([3, 3, 1, 1, 0, 0, 0, 0], 0.25), ([np.nan, 2, 2], 0.5)],
)
def test_half_of_the_mean_comes_from_this_share_of_tokens(kl, share):
    assert concentration(kl) == share
