"""Logits that are not finite: what is measured, and what is missing and left to be counted."""

from __future__ import annotations

import math

import pytest
import torch
from given_logits import peaked

from qkld.divergence import FullLogits, TokenDivergence, token_divergence

INF, NAN = math.inf, math.nan

pytestmark = pytest.mark.usefixtures("either_adder")


def measured(reference: torch.Tensor, quant: torch.Tensor, targets: torch.Tensor) -> TokenDivergence:
    return token_divergence(FullLogits(reference), FullLogits(quant), targets, tile=64, second_walk=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("in_reference", "in_quant"),
    [(None, NAN), (NAN, None), (None, INF), (INF, None), (INF, INF), (None, -INF), (-INF, None), (INF, -INF)],
)
@pytest.mark.parametrize("column", [0, 250])
def test_a_row_with_such_a_logit_is_missing_whole_and_the_others_are_unharmed(
    in_reference: float | None, in_quant: float | None, column: int, dtype: torch.dtype
) -> None:
    reference, quant, targets = peaked(5, 300, 0.1)
    reference, quant = reference.to(dtype), quant.to(dtype)
    clean = measured(reference, quant, targets).columns()
    for logits, value in ((reference, in_reference), (quant, in_quant)):
        if value is not None:
            logits[2, column] = value
    found = measured(reference, quant, targets)
    assert len(found.kl) == 5
    assert not found.same_top1[2]
    assert not found.greedy_quant[2]
    for name, values in found.columns().items():
        assert torch.equal(values[[0, 1, 3, 4]], clean[name][[0, 1, 3, 4]])
        assert name == "same_top1" or values.isnan().tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("masked", [slice(0, 64), slice(0, 130), slice(100, 250), slice(64, 300)])
def test_tokens_that_both_models_exclude_are_outside_the_vocabulary(masked: slice) -> None:
    reference, quant, targets = peaked(5, 300, 0.5)
    kept = torch.ones(300, dtype=torch.bool)
    kept[masked] = False
    targets = torch.arange(300)[kept][:5]
    narrow = measured(reference[:, kept], quant[:, kept], torch.arange(5)).columns()
    reference[:, masked], quant[:, masked] = -INF, -INF
    for name, values in measured(reference, quant, targets).columns().items():
        torch.testing.assert_close(values, narrow[name], rtol=1e-12, atol=1e-13)


def test_a_mask_in_some_rows_leaves_the_others_as_they_were() -> None:
    reference, quant, targets = peaked(4, 300, 0.5)
    clean = measured(reference, quant, targets)
    reference[1, 100:200], quant[1, 100:200] = -INF, -INF
    reference[2, 150] = NAN  # a NaN in the same tile does not hide the mask
    targets[1] = 0
    found = measured(reference, quant, targets)
    assert found.kl.isnan().tolist() == [False, False, True, False]
    assert torch.equal(found.kl[[0, 3]], clean.kl[[0, 3]])


def test_a_row_without_any_token_and_a_true_token_without_mass_are_missing() -> None:
    reference, quant, targets = peaked(3, 300, 0.5)
    reference[0], quant[0] = -INF, -INF
    reference[1, targets[1]], quant[1, targets[1]] = -INF, -INF
    found = measured(reference, quant, targets)
    assert found.kl.isnan().tolist() == [True, True, False]
    assert found.same_top1[:2].tolist() == [False, False]
