"""llama.cpp's figures by their definitions."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from validation.crosschecks.llama_figures import llama_figures, llama_log_probabilities, llama_tokens

F = np.float32


def literal_token(base: np.ndarray, logits: np.ndarray, target: int) -> tuple[float, float, float]:
    """``log_softmax`` of perplexity.cpp: kld, nll and Δp of one token, in scalar float32."""
    largest, total = F(max(logits)), 0.0
    for x in logits:
        total += float(np.exp(F(x - largest)))
    shift = F(largest + F(math.log(total)))
    kld = 0.0
    for p, x in zip(base, logits, strict=True):
        if p > F(-16):
            kld += float(F(np.exp(p)) * F(F(p - x) + shift))
    nll = F(shift - logits[target])
    return kld, float(nll), float(F(np.exp(-nll)) - F(np.exp(base[target])))


@pytest.mark.parametrize("vocabulary", [41, 401])
def test_a_tokens_figures_are_llama_cpps(rng: np.random.Generator, vocabulary: int) -> None:
    logits = (rng.standard_normal((12, vocabulary)) * 5 + rng.uniform(-30, 30, (12, 1))).astype(F)
    base = llama_log_probabilities(logits + rng.standard_normal(logits.shape).astype(F))
    targets = rng.integers(vocabulary, size=12)
    found = llama_tokens(base, llama_log_probabilities(logits), targets)
    expected = np.array([literal_token(*row) for row in zip(base, logits, targets, strict=True)])
    np.testing.assert_allclose(found[["kld", "nll", "shift"]], expected, rtol=2e-5, atol=2e-5)
    assert found["same_top"].tolist() == (base.argmax(1) == logits.argmax(1)).tolist()


def test_figures_are_means_quantiles_and_errors_of_independent_tokens(rng: np.random.Generator) -> None:
    nll, kld = rng.exponential(2.0, 301), rng.exponential(0.1, 301)
    shift = rng.normal(0, 0.05, 301)
    same = rng.random(301) < 0.9
    table = pd.DataFrame({"kld": kld, "nll": nll, "nll_base": nll - 0.1 * kld, "shift": shift, "same_top": same})
    found = llama_figures(table)
    error = kld.std(ddof=1) / math.sqrt(301)
    assert found["Mean KLD"] == pytest.approx((kld.mean(), error))
    assert found["Mean PPL(Q)"] == pytest.approx((np.exp(nll.mean()), np.exp(nll.mean()) * nll.std(ddof=1) / 301**0.5))
    ratio = table["nll"] - table["nll_base"]
    assert found["Mean ln(PPL(Q)/PPL(base))"] == pytest.approx((ratio.mean(), ratio.std(ddof=1) / 301**0.5), rel=1e-6)
    assert found["Cor(ln(PPL(Q)), ln(PPL(base)))"][0] == pytest.approx(
        100 * np.corrcoef(table["nll"], table["nll_base"])[0, 1]
    )
    assert found["Median KLD"][0] == pytest.approx(np.median(kld), rel=1e-6)
    assert found["99.0% KLD"][0] == pytest.approx(np.percentile(kld, 99), rel=1e-6)
    assert found["RMS Δp"][0] == pytest.approx(100 * np.sqrt((shift**2).mean()))
    assert found["Same top p"] == pytest.approx((100 * same.mean(), 100 * same.std(ddof=1) / 301**0.5))
