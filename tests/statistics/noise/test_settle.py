"""Items to settle: the formula's own equation, and the power it promises."""

import numpy as np
import pytest
from simulated_answers import noise_of

from qkld.statistics.noise.explained import explained
from qkld.statistics.noise.verdict import decide, items_to_settle
from validation.calibration.verdicts import simulated_noise
from validation.calibration.worlds import draw_cohort

KLD = np.array([0.004, 0.006, 0.009, 0.013, 0.018, 0.025, 0.03, 0.04])
COVARIANCE = 6e-6 * (0.35 + 0.65 * np.eye(8))
CARRIED = np.array([0.0, -0.001, -0.003, -0.002, -0.005, -0.006, -0.007, -0.011])


def test_with_that_many_items_z_reaches_its_limit_and_power():
    noise = noise_of(CARRIED, COVARIANCE, items=1000)
    found = items_to_settle(noise, KLD, power=0.8)
    forms = explained(noise, KLD)
    times = found.estimate / 1000
    twice_trace, signal = forms.variance_terms(0.5)
    z = float(forms.contrast(0.5)) / np.sqrt(twice_trace / times**2 + signal / times)
    assert z == pytest.approx(1.645 + 0.8416, abs=0.01)
    assert found.toward == "carried"
    assert found.at_least < found.estimate


def test_the_items_asked_for_give_the_power_promised(rng):
    cohort = draw_cohort("W2", 41, 16, rng=rng)
    much = simulated_noise(cohort, cohort.net, 10**7, rng=rng)
    needed = int(items_to_settle(much, cohort.kld, power=0.8).estimate)
    reached = [
        decide(simulated_noise(cohort, cohort.net, needed, rng=rng), cohort.kld)[0] == "carried" for _ in range(300)
    ]
    assert np.mean(reached) == pytest.approx(0.8, abs=0.09)


def test_more_power_takes_more_items():
    noise = noise_of(CARRIED, COVARIANCE)
    assert items_to_settle(noise, KLD, power=0.9).estimate > items_to_settle(noise, KLD, power=0.8).estimate


def test_where_no_difference_is_seen_there_is_only_a_lower_bound():
    flat = np.linspace(0, 1e-4, 8)
    found, noisier = (items_to_settle(noise_of(flat, v * COVARIANCE, items=1000), KLD) for v in (1, 4))
    assert np.isnan(found.estimate)
    assert found.toward == ""
    assert 0 < found.at_least <= noisier.at_least < np.inf
