"""Families keep their colour and marker, and people with a colour-vision deficiency tell them apart."""

from __future__ import annotations

import itertools

import matplotlib.colors
import numpy as np
import pytest

from qkld.errors import ParameterError
from qkld.report.figures.styles import MARKERS, OKABE_ITO, family_order, family_styles

DEUTERANOPIA = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
PROTANOPIA = np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]])
"""Linear-RGB matrices of full dichromacy (Machado, Oliveira and Fernandes 2009, severity 1.0)."""


def test_first_seven_families_differ_in_colour_and_in_marker():
    styles = family_styles(f"family{i}" for i in range(7)).values()
    assert len({s.colour for s in styles}) == len({s.marker for s in styles}) == 7


def test_every_pair_is_given_once_until_all_are_used():
    styles = family_styles(f"family{i:02d}" for i in range(49)).values()
    assert len({(s.colour, s.marker) for s in styles}) == 49


def test_one_family_too_many_is_refused():
    with pytest.raises(ParameterError, match="at most 49"):
        family_styles(f"family{i}" for i in range(50))


def test_order_and_repetition_of_the_table_change_nothing():
    once = family_styles(["hqq", "torchao", "bitsandbytes", "zeta", "alpha"])
    again = family_styles(["alpha", "zeta", "zeta", "bitsandbytes", "torchao", "hqq", "hqq"])
    assert dict(once) == dict(again)
    assert list(once) == family_order(once) == ["torchao", "bitsandbytes", "hqq", "alpha", "zeta"]


@pytest.mark.parametrize("vision", [np.eye(3), DEUTERANOPIA, PROTANOPIA], ids=["normal", "deuteranopia", "protanopia"])
def test_colours_stay_apart(vision):
    linear = np.array([matplotlib.colors.to_rgb(c) for c in OKABE_ITO.values()]) ** 2.2
    seen = np.clip(linear @ vision.T, 0, 1) ** (1 / 2.2)
    distances = [np.abs(a - b).max() for a, b in itertools.combinations(seen, 2)]
    assert min(distances) > 0.1
    assert len(MARKERS) == len(set(MARKERS)) == len(OKABE_ITO)
