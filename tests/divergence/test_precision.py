"""Errors of the walk against float64: from given logits, and with the head's product included."""

from __future__ import annotations

import pytest
import torch
from given_logits import allowed_error, definition, peaked, with_divergence

from qkld.divergence import FullLogits, HeadLogits, token_divergence
from qkld.divergence.sums import kl_from_sums
from qkld.divergence.walk import running_sums
from qkld.models.head import Head

pytestmark = pytest.mark.usefixtures("either_adder")
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
KLS = [1e-8, 1e-6, 1e-4, 1e-2, 1.0, 10.0]


@pytest.mark.parametrize("kl", KLS)
@pytest.mark.parametrize("vocabulary", [2, 257, 49_152, 151_936, 262_144])
@pytest.mark.parametrize("offset", [-30.0, 30.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_kl_of_given_logits_stays_within_its_bound(
    kl: float, vocabulary: int, offset: float, dtype: torch.dtype
) -> None:
    reference, quant, targets = with_divergence(kl, vocabulary, dtype, offset)
    found = token_divergence(FullLogits(reference), FullLogits(quant), targets, tile=10_007)
    expected = definition(reference, quant, targets)
    assert (expected["kl"] > kl / 2).all()
    assert (expected["kl"] < kl * 2).all()
    assert ((found.kl - expected["kl"]).abs() <= allowed_error(expected["kl"])).all()
    assert ((found.kl_reverse - expected["kl_reverse"]).abs() <= allowed_error(expected["kl_reverse"])).all()


@pytest.mark.parametrize("target", [1e-8, 1e-5, 1e-2, 10.0])
def test_kl_of_many_small_disturbances_stays_within_its_bound(target: float) -> None:
    reference, quant, targets = peaked(4, 4097, 1.0)
    low, high = 0.0, 30.0
    for _ in range(60):  # the disturbance that gives about this divergence
        middle = (low + high) / 2
        kl = definition(reference, reference + middle * (quant - reference), targets)["kl"].mean()
        low, high = (middle, high) if kl < target else (low, middle)
    disturbed = reference + low * (quant - reference)
    found = token_divergence(FullLogits(reference), FullLogits(disturbed), targets)
    expected = definition(reference, disturbed, targets)["kl"]
    assert ((found.kl - expected).abs() <= allowed_error(expected)).all()


@pytest.mark.parametrize("noise", [1e-4, 1e-2, 1.0, 4.0])
@pytest.mark.parametrize("offset", [-30.0, 30.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_quantity_keeps_far_more_digits_than_the_bound_asks(
    noise: float, offset: float, dtype: torch.dtype
) -> None:
    reference, quant, targets = peaked(7, 1271, noise)
    reference, quant = (reference + offset).to(dtype), (quant - offset).to(dtype)
    found = token_divergence(FullLogits(reference), FullLogits(quant), targets, tile=100).columns()
    for name, expected in definition(reference, quant, targets).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-11, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("offset", [0.0, 0.1, 7.3, 30.0])
@pytest.mark.parametrize("noise", [0.0, 1e-7, 1e-5])
def test_what_is_clamped_at_zero_is_rounding_alone(offset: float, noise: float) -> None:
    reference, quant, targets = peaked(50, 501, noise)
    sources = FullLogits(reference.double()), FullLogits(quant.double() + offset)
    sums = running_sums(*sources, targets, tile=64)
    assert min(kl_from_sums(*sums).min(), kl_from_sums(*reversed(sums)).min()) >= -1e-12
    found = token_divergence(*sources, targets, tile=64)
    assert min(found.kl.min(), found.kl_reverse.min()) >= 0.0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("noise", [0.02, 0.5])
def test_from_hidden_states_it_is_no_worse_than_the_naive_computation(dtype: torch.dtype, noise: float) -> None:
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(9, 48, generator=generator).to(dtype)
    disturbed = (hidden.float() + noise * torch.randn(9, 48, generator=generator)).to(dtype)
    weight = (torch.randn(1271, 48, generator=generator) * 0.5).to(dtype)
    targets = torch.randint(1271, (9,), generator=generator)
    exact = definition(hidden.double() @ weight.double().T, disturbed.double() @ weight.double().T, targets)["kl"]
    logits = torch.nn.functional.linear(hidden, weight), torch.nn.functional.linear(disturbed, weight)
    log_p, log_q = (x.log_softmax(-1) for x in logits)
    naive = (log_p.exp() * (log_p - log_q)).sum(-1).double()
    head = Head(weight)
    found = token_divergence(HeadLogits(hidden, head), HeadLogits(disturbed, head), targets, tile=100).kl
    assert (found - exact).abs().max() <= (naive - exact).abs().max() + 1e-7
