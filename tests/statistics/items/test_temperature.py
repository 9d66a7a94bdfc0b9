"""What one refitted temperature explains of a difference of probabilities."""

import numpy as np
import pytest
from scipy import special, stats

from qkld.errors import StatisticsError
from qkld.statistics.flips.second_score import SCALE_ALONE, reading_of
from qkld.statistics.items.temperature import choices_of, explained_by_scale, fitted_scale


def drawn(rng, items=400, *, scale=1.0, noise=0.0, loss=0.0):
    """A reference and a quant on items of two to five choices; the quant's scores are noised, lowered and scaled."""
    reference, quant = [], []
    right = np.zeros(items, dtype=int)
    for _ in range(items):
        own = -20 + 2 * rng.standard_normal(int(rng.integers(2, 6)))
        own[0] += 1.5
        reference.append(own)
        moved = own + noise * rng.standard_normal(own.size)
        moved[0] -= loss
        quant.append(scale * moved)
    return {"own": choices_of(reference, right)}, {"own": choices_of(quant, right)}


@pytest.mark.parametrize("scale", [0.5, 0.95, 1.0, 1.3])
def test_pure_temperature_is_scale_alone(rng, scale):
    reference, quant = drawn(rng, scale=scale)
    found = explained_by_scale(reference, quant)
    assert found.scale == pytest.approx(scale, rel=1e-9)
    assert found.rest.net[0] == pytest.approx(0, abs=1e-9)
    assert found.changed == 0
    difference = quant["own"].right_at(1.0) - reference["own"].right_at(1.0)
    assert found.by_scale.net[0] == pytest.approx(difference.mean(), abs=1e-9)
    assert reading_of(found, 0.05) == ("" if scale == 1 else SCALE_ALONE)


def test_the_parts_add_up_to_the_difference(rng):
    reference, quant = drawn(rng, scale=0.9, noise=0.8, loss=0.3)
    found = explained_by_scale(reference, quant)
    difference = quant["own"].right_at(1.0) - reference["own"].right_at(1.0)
    assert found.by_scale.net[0] + found.rest.net[0] == pytest.approx(difference.mean())
    assert found.changed == (quant["own"].taken != reference["own"].taken).sum() > 0


def test_a_loss_of_the_right_choice_is_not_called_temperature(rng):
    reference, quant = drawn(rng, items=1500, noise=0.5, loss=0.5)
    found = explained_by_scale(reference, quant)
    assert found.rest.net[0] < -5 * found.rest.error[0]
    assert "choices" in reading_of(found, 0.05)


def test_log_probabilities_and_entropy_are_scipys(rng):
    reference, _ = drawn(rng, items=20)
    choices = reference["own"]
    for row in range(20):
        own = choices.scores[row][np.isfinite(choices.scores[row])]
        assert choices.entropy(0.7)[row] == pytest.approx(stats.entropy(special.softmax(0.7 * own)))
        assert choices.right_at(0.7)[row] == pytest.approx(special.softmax(0.7 * own)[0])


def test_errors_of_both_parts_are_those_of_drawing_other_items(rng):
    """Over fresh draws both parts spread as their errors say, the refitted scale's own error with them."""
    parts = []
    for _ in range(150):
        found = explained_by_scale(*drawn(rng, items=150, scale=0.9, noise=0.6))
        parts.append([found.by_scale.net[0], found.by_scale.error[0], found.rest.net[0], found.rest.error[0]])
    scale, scale_error, rest, rest_error = np.array(parts).T
    assert np.sqrt((scale_error**2).mean()) == pytest.approx(scale.std(), rel=0.2)
    assert np.sqrt((rest_error**2).mean()) == pytest.approx(rest.std(), rel=0.2)


def test_several_tasks_and_clusters(rng):
    tasks = {name: drawn(rng, items=n, scale=0.8) for name, n in (("a", 60), ("b", 200))}
    reference, quant = ({name: side[i]["own"] for name, side in tasks.items()} for i in (0, 1))
    clusters = {"a": np.arange(60) // 4, "b": np.arange(200) // 10}
    found = explained_by_scale(reference, quant, clusters)
    assert found.scale == pytest.approx(0.8)
    means = [quant[t].right_at(1.0).mean() - reference[t].right_at(1.0).mean() for t in tasks]
    assert found.by_scale.net[0] == pytest.approx(np.mean(means), abs=1e-9)


def test_no_temperature_makes_sure_choices_of_equal_ones():
    equal = {"own": choices_of([[0.0, 0.0]] * 30, np.zeros(30))}
    sure = {"own": choices_of([[0.0, -9.0]] * 30, np.zeros(30))}
    with pytest.raises(StatisticsError, match="No temperature"):
        fitted_scale(equal, sure)


@pytest.mark.parametrize(
    ("reference", "quant"),
    [
        ([[0.0, -np.inf], [-np.inf, 0.0]] * 15, [[0.0, -np.inf], [0.0, -np.inf]] * 15),
        ([[0.0, -np.inf]] * 30, [[0.0, -np.inf]] * 30),
        ([[-3.0, -3.0]] * 30, [[-5.0, -5.0]] * 30),
        ([[0.0, -40000.0]] * 30, [[0.0, -40000.0]] * 30),
    ],
)
def test_answers_that_no_temperature_changes_have_none(reference, quant):
    """Such as the 0 and 1 of a model of which only the answer is known."""
    sides = ({"own": choices_of(scores, np.zeros(30))} for scores in (reference, quant))
    with pytest.raises(StatisticsError, match="is not identifiable"):
        explained_by_scale(*sides)
