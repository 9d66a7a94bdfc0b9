"""The five most probable tokens of both sides, and the share that they have in common."""

from __future__ import annotations

import pytest
import torch
from given_logits import peaked

from qkld.divergence import FullLogits, token_divergence
from qkld.divergence.leaders import Leaders, first_largest

pytestmark = pytest.mark.usefixtures("either_adder")


def top5_shared(reference: torch.Tensor, quant: torch.Tensor) -> torch.Tensor:
    """Share of the reference's five among the quant's, by sorting token ids on (−logit, id)."""
    k = min(5, reference.shape[1])
    fives = [
        [set(sorted(range(len(row)), key=lambda i, r=row: (-r[i], i))[:k]) for row in logits.tolist()]
        for logits in (reference, quant)
    ]
    return torch.tensor([len(a & b) / k for a, b in zip(*fives, strict=True)], dtype=torch.float64)


@pytest.mark.parametrize("vocabulary", [2, 5, 6, 127, 1271])
@pytest.mark.parametrize("tile", [1, 100, 8192])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_top5_shared_equals_its_definition_also_among_ties(vocabulary: int, tile: int, dtype: torch.dtype) -> None:
    reference, quant, targets = peaked(9, vocabulary, 1.0)
    reference, quant = reference.round().to(dtype), quant.round().to(dtype)  # whole numbers: most leaders are tied
    found = token_divergence(FullLogits(reference), FullLogits(quant), targets, tile=tile).top5_shared
    assert torch.equal(found, top5_shared(reference, quant))


def test_equal_logits_share_all_leaders_whatever_their_ties() -> None:
    flat = torch.zeros(3, 700)
    assert (token_divergence(FullLogits(flat), FullLogits(flat), torch.zeros(3).long()).top5_shared == 1.0).all()


def test_top5_shared_is_missing_where_a_logit_is_not_finite() -> None:
    reference, quant, targets = peaked(3, 300, 0.1)
    quant[1, 200] = torch.nan
    found = token_divergence(FullLogits(reference), FullLogits(quant), targets, tile=64).top5_shared
    assert found.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("tile", [256, 400, 5000])
def test_leaders_in_few_chunks_of_a_tile_count_once(tile: int) -> None:
    reference = torch.full((2, 5000), -torch.inf)
    reference[:, :6] = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0, 0.0])
    quant = reference.clone()
    quant[1, 4], quant[1, 5] = 0.5, 1.5
    found = token_divergence(FullLogits(reference), FullLogits(quant), torch.zeros(2).long(), tile=tile)
    assert found.top5_shared.tolist() == [1.0, 0.8]


def test_leaders_are_found_in_falling_order_with_the_lower_column_first() -> None:
    values, where = first_largest(torch.tensor([[1.0, 3.0, 3.0, 2.0, 3.0]]), 4)
    assert values.tolist() == [[3.0, 3.0, 3.0, 2.0]]
    assert where.tolist() == [[1, 2, 4, 3]]


def test_leaders_of_masked_tokens_are_none() -> None:
    few = torch.full((1, 300), -torch.inf)
    few[0, [7, 200]] = torch.tensor([1.0, 2.0])
    leaders = Leaders.none(1, few.device)
    for start in (0, 100, 200):
        leaders.add(few[:, start : start + 100], start)
    assert leaders.top.tolist() == [200]
    assert leaders.shared_with(leaders).tolist() == [1.0]
    assert leaders.values.tolist() == [[2.0, 1.0, -torch.inf, -torch.inf, -torch.inf]]
