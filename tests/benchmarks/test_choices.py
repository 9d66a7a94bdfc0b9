"""Columns from the choices' log-probabilities, against scipy and by hand."""

import math

import numpy as np
import pytest
from scipy import special, stats

from qkld.benchmarks.choices import choice_columns


def test_by_hand_and_scipy():
    model = np.log([0.02, 0.06, 0.12])
    found = choice_columns(
        model, [-math.log(0.5), -math.log(0.25) / 2, -math.log(0.25) / 3], [0.7, 0.8, 0.9], [1, 2, 3], 1
    )
    assert found["kl_answer"] == 0.7
    own, theirs = np.array([0.1, 0.3, 0.6]), np.array([0.5, 0.25, 0.25])
    assert found["logp_right"] == pytest.approx(math.log(0.06))
    assert found["logp_reference_answer"] == pytest.approx(math.log(0.02))
    assert found["choice_entropy"] == pytest.approx(stats.entropy(own))
    assert found["kl_options"] == pytest.approx(stats.entropy(theirs, own))


@pytest.mark.parametrize("far", [1.0, 800.0])
def test_probabilities_of_choices_are_scipys_to_the_bit(far, rng):
    model, nll = -rng.exponential(size=5) * far, rng.exponential(size=5) * far
    found = choice_columns(model, nll.tolist(), [0.0] * 5, [1] * 5, 0)
    own, theirs = special.log_softmax(model), special.log_softmax(-nll)
    assert found["choice_entropy"] == float(-(np.exp(own) * own).sum())
    assert found["kl_options"] == max(0.0, float((np.exp(theirs) * (theirs - own)).sum()))


def test_the_reference_itself_has_no_divergence(rng):
    logp = -rng.exponential(size=4) * 8
    found = choice_columns(logp, (-logp / [2, 3, 4, 5]).tolist(), [0.0] * 4, [2, 3, 4, 5], 0)
    assert found["kl_options"] == pytest.approx(0, abs=1e-15)
    assert found["kl_options"] >= 0
    assert found["logp_reference_answer"] == logp.max() / (np.argmax(logp) + 2)


@pytest.mark.parametrize(("model", "reference"), [([-1.0, math.nan], [1.0, 1.0]), ([-1.0, -2.0], [1.0, None])])
def test_a_choice_without_a_probability_leaves_no_number(model, reference):
    assert set(choice_columns(model, reference, [0.5, None], [1, 1], 0).values()) == {None}


def test_a_metric_that_divides_by_length_divides_both_sides():
    model, lengths = np.log([0.02, 0.06, 0.12]), [2, 4, 12]
    reference = np.log([0.1, 0.3, 0.2])
    found = choice_columns(model, -reference, [0.7, 0.8, 0.9], [1, 1, 1], 1, lengths)
    own, theirs = (np.exp(v / lengths) / np.exp(v / lengths).sum() for v in (model, reference))
    assert found["choice_entropy"] == pytest.approx(stats.entropy(own))
    assert found["kl_options"] == pytest.approx(stats.entropy(theirs, own))
    assert found["kl_answer"] == 0.9  # per character the reference takes the last choice, by the sum the second
    assert found["logp_reference_answer"] == pytest.approx(math.log(0.12))
    assert found["logp_right"] == pytest.approx(math.log(0.06))
