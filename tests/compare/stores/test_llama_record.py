"""Base files against llama-perplexity itself: what it wrote and printed lies in tests/data/llama_perplexity.

``validation/crosschecks/llama_perplexity.py`` builds the program from pinned source and makes the record. Of a random
model the whole files are kept, of SmolLM2-135M-Instruct the figures of every scored token.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import REPOSITORY

from qkld.compare.stores import BaseFile, compare_stores, open_store, summarise_bounds
from qkld.divergence import FullLogits, token_divergence
from validation.crosschecks.llama_figures import llama_figures, tokens_of_files

DATA = REPOSITORY / "tests" / "data" / "llama_perplexity"
MODELS = ("tiny", "smollm2")

CLAMP = 16.0
HALF_STEP = CLAMP / 65535 / 2
"""How far a log-probability of the quant lies off in its file, nats; llama-perplexity takes it as computed."""


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return json.loads((DATA / "record.json").read_text())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[BaseFile, BaseFile]:
    """The random model's base file and its quant's, as llama-perplexity wrote them."""
    folder = tmp_path_factory.mktemp("tiny")
    found = []
    for name in ("tiny-f32.kld", "tiny-q4_0.kld"):
        (folder / name).write_bytes(gzip.decompress((DATA / f"{name}.gz").read_bytes()))
        found.append(open_store(folder / name))
    return tuple(found)


@pytest.fixture(scope="module")
def tokens(files: tuple[BaseFile, BaseFile]) -> dict[str, pd.DataFrame]:
    """Model → llama.cpp's figures of every scored token, from two files."""
    kept = np.load(DATA / "smollm2_tokens.npz")
    return {"tiny": tokens_of_files(*files), "smollm2": pd.DataFrame({name: kept[name] for name in kept.files})}


def half_digit(label: str) -> float:
    """Half a unit of a figure's last printed digit, in its unit; a little more, for what lies half-way."""
    if label.startswith("Cor"):
        return 0.0051
    return 0.00051 if "Δp" in label or "top p" in label else 0.51e-6


def tolerance(label: str, value: float, uncertainty: float | None) -> float:
    """How far ours may lie from a printed figure, in its unit.

    Half a printed digit, and what the quant's half step makes of it: as much for a KL or a perplexity's logarithm of
    any token, that share of a perplexity, and at most that share of a probability. Rounding goes either way, so means
    over many tokens lie closer; they are also held to a hundredth of the uncertainty that is printed beside them.
    """
    if label.startswith("Mean PPL"):
        return half_digit(label) + HALF_STEP * max(abs(value), 1.0)
    step = HALF_STEP * (100 if "Δp" in label or "top p" in label or label.startswith("Cor") else 1)
    return half_digit(label) + min(step, np.inf if uncertainty is None else 0.01 * uncertainty)


@pytest.mark.parametrize("model", MODELS)
def test_our_figures_from_its_files_are_those_it_printed(record, tokens, model: str) -> None:
    printed, ours = record["models"][model]["files"]["printed"], llama_figures(tokens[model])
    assert set(printed) <= set(ours)
    assert {"Mean KLD", "Median KLD", "Maximum KLD", "RMS Δp", "Same top p", "Mean PPL(Q)"} <= set(printed)
    cut_off = bool((tokens[model]["nll"] >= CLAMP).any())
    assert cut_off == (model == "tiny")
    for label, (value, uncertainty) in printed.items():
        if cut_off and "(Q)" in label:
            continue  # true tokens below the clamp: the program knows the quant's logits, the file does not
        found, error = ours[label]
        assert found == pytest.approx(value, abs=tolerance(label, value, uncertainty)), label
        if uncertainty is not None:
            assert error == pytest.approx(uncertainty, rel=0.01, abs=half_digit(label)), label
    ratio = "Mean ln(PPL(Q)/PPL(base))"
    assert ours[ratio][0] <= printed[ratio][0] + HALF_STEP  # what is cut off is taken for more probable than it is


@pytest.mark.parametrize("model", MODELS)
def test_the_record_holds_what_these_functions_compute(record, tokens, model: str) -> None:
    computed = record["models"][model]["files"]["computed"]
    for label, (value, error) in llama_figures(tokens[model]).items():
        known = [x for x in (value, error) if x is not None]
        assert known == pytest.approx([x for x in computed[label] if x is not None], rel=1e-6, abs=1e-9), label


def test_its_files_are_recognised_with_their_clamp_windows_and_tokens(record, files) -> None:
    facts = record["models"]["tiny"]
    for file in files:
        assert file.clamp() == facts["clamp"] == 16.0
        assert (len(file.windows), file.header.context, file.vocabulary) == (
            facts["windows"],
            facts["context"],
            facts["vocabulary"],
        )
    assert np.array_equal(files[0].tokens, files[1].tokens)
    assert record["models"]["smollm2"]["clamp"] == 16.0


def test_bounds_from_its_files_hold_the_kl_of_what_they_decode(record, files) -> None:
    """The decoded rows of the quant's file, taken as its logits, are one of the pairs that the files allow."""
    found = summarise_bounds(compare_stores(*files))
    assert found.tokens == record["models"]["tiny"]["scored_tokens"]
    assert found.kl_low <= found.kl_high
    kls = []
    for index in range(len(files[0].windows)):
        rows = [FullLogits(torch.from_numpy(file.rows(index).log_probabilities())) for file in files]
        kls.append(token_divergence(*rows, torch.from_numpy(files[0].targets(index))).kl)
    assert found.kl_low <= float(torch.cat(kls).mean()) + HALF_STEP


def test_it_accepts_the_base_file_that_is_written_here(record) -> None:
    accepted = record["models"]["smollm2"]["accepted"]
    assert accepted["rows"]["largest_difference"] < 1.25 * 2 * HALF_STEP  # one code, and float32 logits of two engines
    own, theirs = accepted["quant"], record["models"]["smollm2"]["files"]["printed"]
    assert accepted["base"]["Mean KLD"][0] <= 1e-6
    assert accepted["base"]["Same top p"][0] == 100.0
    for label, (value, uncertainty) in theirs.items():
        if uncertainty is not None:
            assert own[label][0] == pytest.approx(value, abs=2 * half_digit(label) + 0.01 * uncertainty), label
