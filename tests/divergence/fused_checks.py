"""Checks of the Triton kernel against the torch walk and float64.

test_fused.py runs them in Triton's interpreter, and `make gpu` on a card: the kernel's side of each is moved there.
"""

from __future__ import annotations

import os
from dataclasses import fields, replace

import pytest
import torch
from given_logits import allowed_error, definition, peaked, with_divergence

from qkld.divergence import HeadLogits, TokenDivergence, token_divergence
from qkld.divergence.fused import fused_sums
from qkld.divergence.quantities import quantities
from qkld.models.head import Head

DEVICE = os.environ.get("QKLD_CHECK_DEVICE", "cpu")
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def fused(reference: HeadLogits, quant: HeadLogits, targets: torch.Tensor, shares: int = 2) -> TokenDivergence:
    moved = [HeadLogits(side.hidden.to(DEVICE), side.head.to(device=DEVICE)) for side in (reference, quant)]
    found = quantities(*fused_sums(*moved, targets.to(DEVICE), shares=shares), targets.to(DEVICE))
    return replace(found, **{field.name: on_cpu(getattr(found, field.name)) for field in fields(found)})


def on_cpu(values: torch.Tensor | None) -> torch.Tensor | None:
    return None if values is None else values.cpu()


def assert_alike(found: TokenDivergence, expected: TokenDivergence, atol: float) -> None:
    for field in fields(found):
        own, other = getattr(found, field.name), getattr(expected, field.name)
        if own is not None:
            torch.testing.assert_close(own, other, rtol=1e-5, atol=atol, equal_nan=True)


def sources(
    dtype: torch.dtype, tokens: int, vocabulary: int, widths: tuple[int, int]
) -> tuple[HeadLogits, HeadLogits, torch.Tensor]:
    """Two models of different widths; hidden states and weights are small whole numbers, so that products are exact."""
    generator = torch.Generator().manual_seed(4)

    def whole(*shape: int) -> torch.Tensor:
        return torch.randint(-2, 3, shape, generator=generator).to(dtype)

    reference, quant = (HeadLogits(whole(tokens, w), Head(whole(vocabulary, w))) for w in widths)
    return reference, quant, torch.randint(vocabulary, (tokens,), generator=generator)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("tokens", "vocabulary", "widths", "shares"),
    [(1, 2, (1, 1), 1), (3, 401, (7, 33), 1), (70, 129, (16, 5), 2), (5, 411, (8, 8), 7)],
)
def test_exact_products_give_the_torch_walk_s_quantities_and_ties(
    dtype: torch.dtype, tokens: int, vocabulary: int, widths: tuple[int, int], shares: int
) -> None:
    reference, quant, targets = sources(dtype, tokens, vocabulary, widths)
    assert_alike(fused(reference, quant, targets, shares), token_divergence(reference, quant, targets), 1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bias_and_scale_are_applied_and_rounded_as_the_head_does(dtype: torch.dtype) -> None:
    reference, quant, targets = sources(dtype, 5, 200, (6, 9))
    bias = torch.arange(200).remainder(7).to(dtype)
    reference = HeadLogits(reference.hidden, Head(reference.head.weight, bias, scale=0.3))
    quant = HeadLogits(quant.hidden, Head(quant.head.weight, scale=1.7))
    assert_alike(fused(reference, quant, targets), token_divergence(reference, quant, targets), 1e-6)


@pytest.mark.parametrize("offset", [-30.0, 30.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_kl_of_given_logits_stays_within_its_bound(offset: float, dtype: torch.dtype) -> None:
    """Tokens of KL 1e-8, 1e-4 and 10 nats side by side: a token's sums take nothing from its neighbours'."""
    given = [with_divergence(kl, 129, dtype, offset) for kl in (1e-8, 1e-4, 10.0)]
    reference, quant, targets = map(torch.cat, zip(*given, strict=True))
    identity = Head(torch.eye(129, dtype=dtype))  # its product is the logits themselves
    found = fused(HeadLogits(reference, identity), HeadLogits(quant, identity), targets).kl
    expected = definition(reference, quant, targets)["kl"]
    assert ((found - expected).abs() <= allowed_error(expected)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_from_hidden_states_it_is_no_worse_than_the_naive_computation(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(9, 48, generator=generator).to(dtype)
    disturbed = (hidden.float() + 0.02 * torch.randn(9, 48, generator=generator)).to(dtype)
    weight = (torch.randn(401, 48, generator=generator) * 0.5).to(dtype)
    targets = torch.randint(401, (9,), generator=generator)
    exact = definition(hidden.double() @ weight.double().T, disturbed.double() @ weight.double().T, targets)["kl"]
    log_p, log_q = (torch.nn.functional.linear(x, weight).log_softmax(-1) for x in (hidden, disturbed))
    naive = (log_p.exp() * (log_p - log_q)).sum(-1).double()
    found = fused(HeadLogits(hidden, Head(weight)), HeadLogits(disturbed, Head(weight)), targets).kl
    assert (found - exact).abs().max() <= (naive - exact).abs().max() + 1e-7


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's of NaN, in the interpreter
@pytest.mark.parametrize("dtype", DTYPES)
def test_masked_tokens_are_left_out_and_other_infinities_and_nan_are_missing(dtype: torch.dtype) -> None:
    reference, quant, targets = sources(dtype, 6, 200, (4, 4))
    masked = torch.zeros(200, dtype=dtype)
    masked[70:150] = -torch.inf
    targets = targets.remainder(70)
    masks = [HeadLogits(s.hidden, Head(s.head.weight, masked)) for s in (reference, quant)]
    found = fused(*masks, targets)
    assert_alike(found, token_divergence(*masks, targets), 1e-12)
    assert found.kl.isfinite().all()
    one_sided = fused(masks[0], quant, targets)
    assert one_sided.kl_reverse.isnan().all()
    hidden, bad = reference.hidden.clone(), [1, 2, 4]
    hidden[bad, 1] = torch.tensor([torch.nan, torch.inf, -torch.inf], dtype=dtype)
    found = fused(HeadLogits(hidden, reference.head), quant, targets)
    assert found.kl.isnan().tolist() == [False, True, True, False, True, False]
    assert not found.same_top1[bad].any()


def test_the_shares_of_the_vocabulary_change_nothing_beyond_rounding() -> None:
    reference, quant, targets = peaked(4, 150, 0.5)
    identity = Head(torch.eye(150))
    logits = HeadLogits(reference, identity), HeadLogits(quant, identity)
    whole = fused(*logits, targets, shares=1)
    for shares in (2, 3, 9):
        assert_alike(fused(*logits, targets, shares=shares), whole, 1e-12)
