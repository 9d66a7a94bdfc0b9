"""The cross-check of the GGUF engines: its own arithmetic, on a small model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qkld.compare.stores.base_file import write_base_file
from qkld.models import open_model
from qkld.models.making.study_files import IN_TORCH
from validation.crosschecks import gguf_crosscheck
from validation.crosschecks.tiny_gguf import write_tiny

SHAPE = (2, 64)


@pytest.fixture(scope="module")
def script():
    return gguf_crosscheck


@pytest.fixture(scope="module")
def files(script, tmp_path_factory):
    """The random model of 301 tokens as a file, its entry opened, and a base file of its logits on two windows."""
    folder = tmp_path_factory.mktemp("crosscheck")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QKLD_DATA", str(folder / "data"))
        write_tiny(folder / "tiny.gguf")
        entry = script.entry_of(folder / "tiny.gguf")
        model = open_model(entry, reference=entry, compute=IN_TORCH)
    tokens = np.random.default_rng(5).integers(0, 256, SHAPE)
    with torch.inference_mode():
        rows = [model.module(torch.tensor(t)[None]).logits[0, 32:63].numpy() for t in tokens]
    return model, write_base_file(folder / "base.kld", tokens, rows, 301), rows


def test_logits_are_those_of_the_rows_that_the_base_file_keeps(script, files):
    model, base, rows = files
    for own, kept in zip(script.logits_of(model, base), rows, strict=True):
        np.testing.assert_allclose(own.numpy(), kept, rtol=1e-5, atol=1e-5)


def test_a_model_against_itself_has_no_divergence(script, files):
    model, base, _ = files
    logits = script.logits_of(model, base)
    own, theirs = script.by_qkld(logits, base, logits), script.by_llama(base, logits)
    assert set(own) == set(theirs) == set(script.LABELS)
    assert own["Mean KLD"][0] == own["99.9% KLD"][0] == 0
    assert abs(theirs["Mean KLD"][0]) < 1e-4  # of the base file's 16 bits
    assert own["Same top p"][0] == theirs["Same top p"][0] == 100
    assert own["Mean PPL(Q)"][0] == pytest.approx(theirs["Mean PPL(Q)"][0], rel=1e-5)


def test_both_definitions_give_nearly_the_same_figures_of_another_model(script, files):
    model, base, _ = files
    logits = script.logits_of(model, base)
    noise = torch.Generator().manual_seed(3)
    other = tuple(rows + 0.3 * torch.randn(rows.shape, generator=noise) for rows in logits)
    own, theirs = script.by_qkld(logits, base, other), script.by_llama(base, other)
    for label in ("Mean KLD", "Median KLD", "99.9% KLD"):
        assert own[label][0] == pytest.approx(theirs[label][0], rel=0.05), label
    assert own["Same top p"][0] == theirs["Same top p"][0] < 100
    assert own["Mean PPL(Q)"][0] == pytest.approx(theirs["Mean PPL(Q)"][0], rel=1e-5)
