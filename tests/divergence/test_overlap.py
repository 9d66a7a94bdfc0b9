"""The second walk: total variation and Jensen–Shannon divergence against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from given_logits import peaked

from qkld.divergence import FullLogits, TokenDivergence, token_divergence


def overlap(reference: torch.Tensor, quant: torch.Tensor, targets: torch.Tensor, tile: int = 100) -> TokenDivergence:
    return token_divergence(FullLogits(reference), FullLogits(quant), targets, tile=tile, second_walk=True)


@pytest.mark.parametrize("vocabulary", [2, 257, 1271, 49_152])
@pytest.mark.parametrize("noise", [1e-4, 1e-2, 1.0, 4.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_equal_their_definitions(vocabulary: int, noise: float, dtype: torch.dtype) -> None:
    reference, quant, targets = peaked(4, vocabulary, noise)
    reference, quant = reference.to(dtype), quant.to(dtype)
    p, q = reference.double().softmax(-1), quant.double().softmax(-1)
    middle = (p + q) / 2
    js = ((p * (p / middle).log()).sum(-1) + (q * (q / middle).log()).sum(-1)) / 2
    found = overlap(reference, quant, targets, tile=10_007)
    torch.testing.assert_close(found.total_variation, (p - q).abs().sum(-1) / 2, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(found.jensen_shannon, js, rtol=1e-9, atol=1e-13)
    torch.testing.assert_close(1 - found.total_variation, torch.minimum(p, q).sum(-1), rtol=1e-11, atol=1e-13)


def test_one_minus_total_variation_is_the_share_of_drafts_that_speculative_decoding_accepts() -> None:
    reference, quant, targets = peaked(1, 30, 1.0)
    p, q = reference.double().softmax(-1)[0], quant.double().softmax(-1)[0]
    generator = torch.Generator().manual_seed(2)
    drafts = torch.multinomial(q, 100_000, replacement=True, generator=generator)
    accepted = torch.rand(len(drafts), dtype=torch.float64, generator=generator) < p[drafts] / q[drafts]
    assert 1 - overlap(reference, quant, targets).total_variation.item() == pytest.approx(
        accepted.double().mean().item(), abs=4 * 0.5 / math.sqrt(len(drafts))
    )


def test_values_worked_out_by_hand() -> None:
    reference, quant = torch.log(torch.tensor([[0.5, 0.5]])), torch.log(torch.tensor([[0.25, 0.75]]))
    found = overlap(reference, quant, torch.tensor([0]))
    js = (0.5 * math.log(0.5 / 0.375) + 0.5 * math.log(0.5 / 0.625)) / 2
    js += (0.25 * math.log(0.25 / 0.375) + 0.75 * math.log(0.75 / 0.625)) / 2
    assert found.total_variation.item() == pytest.approx(0.25, abs=1e-7)
    assert found.jensen_shannon.item() == pytest.approx(js, abs=1e-7)


def test_both_lie_between_equal_and_disjoint_distributions() -> None:
    reference, quant, targets = peaked(6, 501, 2.0)
    same, apart = overlap(reference, reference.clone(), targets), torch.zeros(1, 2)
    apart[0, 0] = 800.0
    disjoint = overlap(apart, apart.flip(1), torch.tensor([0]))
    assert same.total_variation.max() == 0.0
    assert 0.0 <= same.jensen_shannon.min() <= same.jensen_shannon.max() < 1e-13
    assert disjoint.total_variation.item() == 1.0
    assert disjoint.jensen_shannon.item() == pytest.approx(math.log(2), rel=1e-14)
    found = overlap(reference, quant, targets)
    assert (found.total_variation <= (found.kl / 2).sqrt()).all()  # Pinsker
    assert (found.jensen_shannon <= found.total_variation * math.log(2)).all()  # Lin 1991, theorem 3


def test_both_are_symmetric_and_ignore_a_constant_added_to_every_logit() -> None:
    reference, quant, targets = peaked(6, 501, 0.3)
    found, turned = overlap(reference, quant, targets), overlap(quant.double() - 30, reference.double() + 30, targets)
    torch.testing.assert_close(found.total_variation, turned.total_variation, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(found.jensen_shannon, turned.jensen_shannon, rtol=1e-9, atol=1e-13)


def test_they_are_there_only_where_they_were_asked_for_and_change_nothing_else() -> None:
    reference, quant, targets = peaked(6, 80, 0.2)
    one = token_divergence(FullLogits(reference), FullLogits(quant), targets, tile=100)
    two = overlap(reference, quant, targets)
    assert set(two.columns()) - set(one.columns()) == {"total_variation", "jensen_shannon"}
    assert all(torch.equal(values, two.columns()[name]) for name, values in one.columns().items())
    blocks = [overlap(reference[b], quant[b], targets[b]) for b in (slice(0, 2), slice(2, 6))]
    torch.testing.assert_close(TokenDivergence.cat(blocks).total_variation, two.total_variation)
