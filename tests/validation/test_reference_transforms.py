"""What padding and rotating the demo's model changes, by the record of reference_transforms.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

RECORD = Path(__file__).parents[1] / "data" / "reference_transforms.json"


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text(encoding="utf-8"))


def test_no_logit_differs_in_float64(record):
    differences = record["float64"]["largest_logit_difference"]
    assert set(differences) == {"padded", "rotated", "padded and rotated"}
    assert all(0 < difference < 1e-9 for difference in differences.values())


def test_distributions_are_equal_in_float32_over_sixteen_windows(record):
    found = record["float32"]
    assert found["tokens"] == 16 * 511
    assert 0 <= found["mean_kl"] < 1e-7
    assert found["perplexity_changed"] == pytest.approx(found["perplexity_plain"], rel=1e-5)
    assert found["same_top1"] > 0.999
