"""The walk over the vocabulary against the definitions in float64."""

from __future__ import annotations

import math

import pytest
import torch

from qkld.divergence import FullLogits, HeadLogits, TokenDivergence, token_divergence
from qkld.divergence.leaders import first_largest
from qkld.errors import ModelError
from qkld.models.head import Head


def definition(reference: torch.Tensor, quant: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
    """Every quantity from full log-probabilities in float64."""
    log_p, log_q = reference.double().log_softmax(-1), quant.double().log_softmax(-1)
    p, q = log_p.exp(), log_q.exp()
    rows = torch.arange(len(targets))
    return {
        "kl": (p * (log_p - log_q)).sum(-1),
        "kl_reverse": (q * (log_q - log_p)).sum(-1),
        "nll_reference": -log_p[rows, targets],
        "nll_quant": -log_q[rows, targets],
        "same_top1": p.argmax(-1) == q.argmax(-1),
        "entropy_reference": -(p * log_p).sum(-1),
        "p_reference": p[rows, targets],
        "p_quant": q[rows, targets],
    }


def peaked(tokens: int, vocabulary: int, noise: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits of language-model shape and their disturbed copies."""
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(tokens, vocabulary, generator=generator) * 3
    quant = reference + noise * torch.randn(tokens, vocabulary, generator=generator)
    return reference, quant, torch.randint(vocabulary, (tokens,), generator=generator)


@pytest.mark.parametrize("vocabulary", [2, 257, 1271, 49_152])
@pytest.mark.parametrize("noise", [1e-4, 1e-2, 1.0, 4.0])
def test_every_quantity_equals_its_definition(vocabulary: int, noise: float) -> None:
    reference, quant, targets = peaked(5, vocabulary, noise)
    found = token_divergence(FullLogits(reference), FullLogits(quant), targets, tile=1000).columns()
    for name, expected in definition(reference, quant, targets).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-11, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("offset", [-30.0, 30.0])
def test_inputs_of_any_dtype_and_offset_keep_the_precision(dtype: torch.dtype, offset: float) -> None:
    reference, quant, targets = peaked(7, 1271, 0.05)
    reference, quant = (reference + offset).to(dtype), (quant - offset).to(dtype)
    found = token_divergence(FullLogits(reference), FullLogits(quant), targets, tile=100)
    expected = definition(reference, quant, targets)["kl"]
    assert ((found.kl - expected).abs() <= 1e-12 * (1 + expected)).all()


@pytest.mark.parametrize("target", [1e-8, 1e-5, 1e-2, 10.0])
def test_precision_from_tiny_to_large_divergence(target: float) -> None:
    reference, quant, targets = peaked(4, 4097, 1.0)
    low, high = 0.0, 30.0
    for _ in range(60):  # the disturbance that gives about this divergence
        middle = (low + high) / 2
        kl = definition(reference, reference + middle * (quant - reference), targets)["kl"].mean()
        low, high = (middle, high) if kl < target else (low, middle)
    disturbed = reference + low * (quant - reference)
    found = token_divergence(FullLogits(reference), FullLogits(disturbed), targets)
    expected = definition(reference, disturbed, targets)["kl"]
    assert ((found.kl - expected).abs() <= 1e-7 + 1e-6 * expected * (expected > 1e-5)).all()
    assert (found.kl >= -1e-12).all()


def test_kl_has_the_reference_first() -> None:
    reference, quant = torch.log(torch.tensor([[0.5, 0.5]])), torch.log(torch.tensor([[0.25, 0.75]]))
    found = token_divergence(FullLogits(reference), FullLogits(quant), torch.tensor([0]))
    assert found.kl.item() == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), abs=1e-7)
    assert found.kl_reverse.item() == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5), abs=1e-7)


def test_kl_of_a_distribution_with_itself_is_zero() -> None:
    reference, _, targets = peaked(6, 501, 0.0)
    found = token_divergence(FullLogits(reference), FullLogits(reference.clone()), targets, tile=64)
    assert found.kl.abs().max() == 0.0
    assert found.same_top1.all()


@pytest.mark.parametrize("offset", [0.0, 0.1, 7.3])
def test_rounding_never_makes_kl_negative(offset: float) -> None:
    reference, _, targets = peaked(200, 501, 0.0)
    found = token_divergence(FullLogits(reference.double()), FullLogits(reference.double() + offset), targets, tile=64)
    assert found.kl.min() >= 0.0
    assert found.kl_reverse.min() >= 0.0
    assert found.kl.max() < 1e-12


@pytest.mark.parametrize("tile", [1, 7, 512, 100_000])
def test_the_tile_changes_nothing_beyond_rounding(tile: int) -> None:
    reference, quant, targets = peaked(40, 600, 0.3)
    whole = token_divergence(FullLogits(reference), FullLogits(quant), targets, tile=600)
    tiled = token_divergence(FullLogits(reference), FullLogits(quant), targets, tile=tile)
    torch.testing.assert_close(tiled.kl, whole.kl, rtol=1e-12, atol=1e-13)
    assert torch.equal(tiled.same_top1, whole.same_top1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_from_hidden_states_it_is_no_worse_than_the_naive_computation(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(9, 48, generator=generator).to(dtype)
    disturbed = (hidden.float() + 0.02 * torch.randn(9, 48, generator=generator)).to(dtype)
    weight = (torch.randn(1271, 48, generator=generator) * 0.5).to(dtype)
    targets = torch.randint(1271, (9,), generator=generator)
    exact = definition(hidden.double() @ weight.double().T, disturbed.double() @ weight.double().T, targets)["kl"]
    logits = torch.nn.functional.linear(hidden, weight), torch.nn.functional.linear(disturbed, weight)
    log_p, log_q = (x.log_softmax(-1) for x in logits)
    naive = (log_p.exp() * (log_p - log_q)).sum(-1).double()
    head = Head(weight)
    found = token_divergence(HeadLogits(hidden, head), HeadLogits(disturbed, head), targets, tile=100).kl
    assert (found - exact).abs().max() <= (naive - exact).abs().max() + 1e-7


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_rows_that_are_not_finite_are_missing_and_the_others_unharmed(bad: float) -> None:
    reference, quant, targets = peaked(5, 300, 0.1)
    clean = token_divergence(FullLogits(reference), FullLogits(quant), targets, tile=64)
    broken = quant.clone()
    broken[2, 250] = bad
    found = token_divergence(FullLogits(reference), FullLogits(broken), targets, tile=64)
    others = [0, 1, 3, 4]
    assert torch.isnan(found.kl[2])
    assert not found.same_top1[2]
    assert torch.equal(found.kl[others], clean.kl[others])


def test_heads_with_bias_scale_and_soft_cap_give_their_exact_logits_tile_by_tile() -> None:
    generator = torch.Generator().manual_seed(5)
    hidden, weight = torch.randn(3, 16, generator=generator), torch.randn(37, 16, generator=generator)
    bias = torch.randn(37, generator=generator)
    head = Head(weight, bias, scale=0.25, softcap=2.0)
    expected = torch.tanh((hidden @ weight.T + bias) * 0.25 / 2.0) * 2.0
    tiles = torch.cat([head.logits(hidden, a, min(a + 10, 37)) for a in range(0, 37, 10)], dim=1)
    torch.testing.assert_close(tiles, expected)
    assert head.cut(30).vocabulary == 30
    assert head.sha256() != Head(weight, bias, scale=0.5, softcap=2.0).sha256()


def test_shapes_and_targets_that_do_not_fit_are_refused() -> None:
    reference, quant, targets = peaked(4, 50, 0.1)
    with pytest.raises(ModelError, match="different shapes"):
        token_divergence(FullLogits(reference), FullLogits(quant[:, :49]), targets)
    with pytest.raises(ModelError, match="outside the vocabulary"):
        token_divergence(FullLogits(reference), FullLogits(quant), torch.tensor([0, 1, 2, 50]))


def test_blocks_of_tokens_are_put_together_in_order() -> None:
    reference, quant, targets = peaked(6, 80, 0.2)
    whole = token_divergence(FullLogits(reference), FullLogits(quant), targets)
    blocks = (slice(0, 2), slice(2, 6))
    parts = [token_divergence(FullLogits(reference[b]), FullLogits(quant[b]), targets[b]) for b in blocks]
    assert torch.equal(TokenDivergence.cat(parts).kl, whole.kl)


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


def test_leaders_are_found_in_falling_order_with_the_lower_column_first() -> None:
    values, where = first_largest(torch.tensor([[1.0, 3.0, 3.0, 2.0, 3.0]]), 4)
    assert values.tolist() == [[3.0, 3.0, 3.0, 2.0]]
    assert where.tolist() == [[1, 2, 4, 3]]
