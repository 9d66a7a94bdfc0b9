"""The walk over the vocabulary against the definitions in float64."""

from __future__ import annotations

import math

import pytest
import torch
from given_logits import definition, peaked

from qkld.divergence import FullLogits, TokenDivergence, token_divergence
from qkld.errors import ModelError
from qkld.models.head import Head

pytestmark = pytest.mark.usefixtures("either_adder")


@pytest.mark.parametrize("vocabulary", [2, 257, 1271, 49_152])
@pytest.mark.parametrize("noise", [1e-4, 1e-2, 1.0, 4.0])
def test_every_quantity_equals_its_definition(vocabulary: int, noise: float) -> None:
    reference, quant, targets = peaked(5, vocabulary, noise)
    found = token_divergence(FullLogits(reference), FullLogits(quant), targets, tile=1000).columns()
    for name, expected in definition(reference, quant, targets).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-11, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")


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


@pytest.mark.parametrize("tile", [1, 7, 512, 100_000])
def test_the_tile_changes_nothing_beyond_rounding(tile: int) -> None:
    reference, quant, targets = peaked(40, 600, 0.3)
    whole = token_divergence(FullLogits(reference), FullLogits(quant), targets, tile=600)
    tiled = token_divergence(FullLogits(reference), FullLogits(quant), targets, tile=tile)
    torch.testing.assert_close(tiled.kl, whole.kl, rtol=1e-12, atol=1e-13)
    assert torch.equal(tiled.same_top1, whole.same_top1)


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


@pytest.mark.parametrize("tokens", [0, 1, 33])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_product_of_a_tile_errs_by_the_roundings_of_its_sums(tokens: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(6)
    hidden, weight = (torch.randn(n, 301, generator=generator).to(dtype) for n in (tokens, 70))
    head = Head(weight, torch.randn(70, generator=generator).to(dtype), scale=0.5)
    exact = (hidden.double() @ weight.double().T + head.bias.double())[:, 11:60] * 0.5
    found, models_own = head.tile(hidden, 11, 60), head.logits(hidden, 11, 60)
    assert (found.shape, found.dtype) == ((tokens, 49), dtype)
    summed = torch.promote_types(dtype, torch.float32)
    addends = hidden.double().abs() @ weight.double().abs().T[:, 11:60] * 0.5
    rounding = torch.finfo(summed).eps * addends + torch.finfo(dtype).eps * exact.abs()
    error, models_error = (torch.linalg.vector_norm(logits - exact) for logits in (found, models_own))
    assert error <= torch.linalg.vector_norm(rounding)
    assert error <= 2 * models_error + 1e-12


def test_a_tile_in_float32_is_multiplied_by_onednn_where_torch_has_it() -> None:
    head = Head(torch.randn(70, 30), torch.randn(140)[::2])  # a bias with gaps in memory
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        found = head.tile(torch.zeros(4, 30), 0, 70)
    taken = {event.key for event in profile.key_averages()}
    assert ("aten::mkldnn_linear" in taken) == torch.backends.mkldnn.is_available()
    assert torch.equal(found, head.bias.expand(4, 70))


@pytest.mark.parametrize(("rows", "width"), [(0, 5), (3, 1), (1, 5)])
def test_heads_of_hardly_any_rows_have_tiles(rows: int, width: int) -> None:
    head = Head(torch.ones(rows, width), torch.ones(rows))
    assert torch.equal(head.tile(torch.ones(2, width), 0, rows), torch.full((2, rows), width + 1.0))


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
