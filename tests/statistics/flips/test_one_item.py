"""What one item makes of a difference, against taking every item away in turn."""

import numpy as np
import pytest

from qkld.statistics.flips.one_item import drawn_one_by_one, item_weight, largest_change, largest_part, points


def moved_by(rng, n: int, quants: int = 6, rate: float = 0.1) -> np.ndarray:
    return np.where(rng.random((n, quants)) < rate, rng.choice([-1, 1], (n, quants)), 0)


def net_of(moved: dict[str, np.ndarray]) -> np.ndarray:
    return np.mean([d.mean(axis=0) for d in moved.values()], axis=0)


@pytest.mark.parametrize("clustered", [False, True])
def test_the_largest_part_is_the_unit_without_which_the_net_moves_most(rng, clustered):
    moved = {"long": moved_by(rng, 90), "short": moved_by(rng, 14)}
    clusters = {task: rng.integers(0, len(d) // 3, len(d)) for task, d in moved.items()} if clustered else None
    found, net = largest_part(moved, clusters), net_of(moved)
    names = clusters or {task: np.arange(len(d)) for task, d in moved.items()}
    without = []
    for task, d in moved.items():
        for unit in np.unique(names[task]):
            kept = {**moved, task: np.where((names[task] == unit)[:, None], 0, d)}
            without.append(net - net_of(kept))
    largest = np.max(np.array(without) * np.sign(net), axis=0) * np.sign(net)
    assert found.part == pytest.approx(largest, abs=1e-15)
    assert found.net == pytest.approx(net, abs=1e-15)
    left = [(u - d) / (n * 2) for u, d, n in zip(found.leapfrogs.T, found.drops.T, (90, 14), strict=True)]
    assert np.sum(left, axis=0) == pytest.approx(found.part, abs=1e-15)
    assert found.unit == ("cluster of items" if clustered else "item")


@pytest.mark.parametrize("clustered", [False, True])
def test_of_numbers_it_is_the_same_and_of_flips_that_of_flips(rng, clustered):
    moved = {"long": rng.standard_t(3, (90, 6)) / 40, "short": rng.standard_t(3, (14, 6)) / 40}
    clusters = {task: rng.integers(0, len(d) // 3, len(d)) for task, d in moved.items()} if clustered else None
    found, net = largest_change(moved, clusters), net_of(moved)
    names = clusters or {task: np.arange(len(d)) for task, d in moved.items()}
    parts = [
        np.where((names[task] == unit)[:, None], d, 0).mean(axis=0) / 2
        for task, d in moved.items()
        for unit in np.unique(names[task])
    ]
    assert found.part == pytest.approx(np.max(np.array(parts) * np.sign(net), axis=0) * np.sign(net), abs=1e-15)
    flips = {"long": moved_by(rng, 90), "short": moved_by(rng, 14)}
    assert largest_change(flips, clusters).part == pytest.approx(largest_part(flips, clusters).part, abs=1e-15)


def test_a_weight_is_that_of_an_item_of_the_smallest_benchmark(rng):
    moved = {"arc_easy": moved_by(rng, 80), "sciq": moved_by(rng, 18)}
    assert item_weight(moved) == pytest.approx(1 / 36)
    assert item_weight({"arc_easy": moved["arc_easy"]}) == 1 / 80
    clusters = {"arc_easy": np.repeat([0, 1], [30, 50]), "sciq": np.arange(18)}
    assert item_weight(moved, clusters) == pytest.approx(50 / 160)
    assert not drawn_one_by_one(moved, clusters)
    assert drawn_one_by_one(moved, {task: np.arange(len(d)) for task, d in moved.items()})


def test_no_difference_is_made_by_nothing():
    found = largest_part({"a": np.array([[1, 0], [-1, 0], [0, 0]])})
    assert (found.part == 0).all()
    assert np.isnan(found.share).all()
    assert found.notes() == ["", ""]


def test_points_have_a_sign():
    assert (points(0.0278), points(-0.00625)) == ("+2.78", "−0.62")
