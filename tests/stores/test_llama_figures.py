"""llama.cpp's figures: by their definitions, and against what llama-perplexity printed.

The record in ``tests/data/llama_perplexity`` was made by ``workflow/llama_perplexity.py``, which says how.
"""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qkld.stores import BaseFile, compare_stores, summarise_bounds
from qkld.stores.llama_figures import llama_figures, llama_log_probabilities, llama_tokens

RECORD = Path(__file__).parents[1] / "data" / "llama_perplexity"
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


def unpacked(name: str, folder: Path) -> BaseFile:
    """A base file that llama-perplexity wrote of the random model."""
    path = folder / name
    path.write_bytes(gzip.decompress((RECORD / f"{name}.gz").read_bytes()))
    return BaseFile(path)


@pytest.fixture
def record() -> dict:
    """What llama-perplexity printed, and with which versions."""
    return json.loads((RECORD / "record.json").read_text())


@pytest.fixture
def tiny_files(tmp_path: Path) -> tuple[BaseFile, BaseFile]:
    """The random model's base file and its quant's."""
    return unpacked("tiny-f32.kld", tmp_path), unpacked("tiny-q4_0.kld", tmp_path)


def tokens_of(base: BaseFile, quant: BaseFile) -> pd.DataFrame:
    parts = []
    for i in range(len(base.windows)):
        rows = [file.rows(i).log_probabilities() for file in (base, quant)]
        parts.append(llama_tokens(*rows, base.targets(i)))
    return pd.concat(parts, ignore_index=True)


TOLERANCE = {"KLD": 1e-4, "PPL": 2e-3, "Δp": 0.02, "RMS Δp": 0.02, "top p": 0.001}
"""How far a figure from two files of 16-bit steps may lie from the printed one: by the last word of its label."""


def check_figures(found: dict, printed: dict) -> None:
    """Every printed figure, value and uncertainty."""
    assert len(printed) == 30
    for label, (value, error) in printed.items():
        tolerance = next(t for name, t in TOLERANCE.items() if name in label)
        assert found[label][0] == pytest.approx(value, abs=tolerance), label
        if error is not None:
            assert found[label][1] == pytest.approx(error, abs=tolerance), label


def test_figures_from_whole_files_are_what_llama_perplexity_printed(record: dict, tiny_files) -> None:
    check_figures(llama_figures(tokens_of(*tiny_files)), record["models"]["tiny"]["files"]["printed"])


def test_figures_of_a_real_model_are_what_llama_perplexity_printed(record: dict) -> None:
    with np.load(RECORD / "smollm2_tokens.npz") as stored:
        tokens = pd.DataFrame({name: stored[name] for name in stored})
    assert len(tokens) == record["models"]["smollm2"]["scored_tokens"] >= 4 * 255
    check_figures(llama_figures(tokens), record["models"]["smollm2"]["files"]["printed"])


def test_the_form_of_a_file_by_llama_perplexity_is_recognised(record: dict, tiny_files) -> None:
    facts = record["models"]["tiny"]
    for file in tiny_files:
        assert (file.vocabulary, file.header.context, len(file.windows)) == (301, facts["context"], facts["windows"])
        assert file.clamp() == 16.0
        assert all((file.words(i)[:, -1] == 0).all() for i in range(len(file.windows)))  # an odd vocabulary's pad word
    assert (tiny_files[0].tokens == tiny_files[1].tokens).all()


def test_bounds_from_two_files_lie_about_the_printed_mean(record: dict, tiny_files) -> None:
    printed = record["models"]["tiny"]["files"]["printed"]["Mean KLD"][0]
    bounds = summarise_bounds(compare_stores(*tiny_files))
    assert 0.98 * printed < bounds.kl_low < printed + 1e-4
    assert bounds.kl_high == np.inf  # the quant's clamp leaves its tail without a lower end


def test_llama_perplexity_accepts_a_file_that_was_written_here(record: dict) -> None:
    """Its figures of the same float32 model are those of rounding alone; of the quant, those with its own file."""
    facts = record["models"]["smollm2"]
    same, quant, own = facts["accepted"]["base"], facts["accepted"]["quant"], facts["files"]["printed"]
    assert abs(same["Mean KLD"][0]) < 1e-5
    assert same["Maximum KLD"][0] < 1e-3
    assert same["Same top p"][0] > 99.5
    assert same["Mean PPL(Q)"][0] == pytest.approx(own["Mean PPL(base)"][0], rel=2e-3)
    for label in ("Mean KLD", "99.0% KLD", "Mean PPL(Q)", "Same top p"):
        assert quant[label][0] == pytest.approx(own[label][0], rel=1e-2), label
    assert facts["accepted"]["rows"]["mean_difference"] < 1.5e-4
