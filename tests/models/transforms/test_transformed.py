"""A reference with pad and rotate: opened as any other, named by what made it, the source of quants made here."""

from __future__ import annotations

import pytest
import torch
from tiny_models import FACTS, make_module, save, stored

from qkld.errors import ModelError
from qkld.models import open_model
from qkld.models.opening import stored_folder
from qkld.models.transforms import transformed
from qkld.study.entries import TorchaoModel

IDS = torch.tensor([[0, 40, 41, 42, 43], [5, 9, 77, 120, 3]])
MADE = {"label": "made", "family": "torchao", "method": "torchao", "scheme": "intx", "bits": 4, **FACTS}


@pytest.fixture
def data(tmp_path, monkeypatch):
    """An empty data folder."""
    monkeypatch.setenv("QKLD_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def tied(tmp_path):
    """The folder of a random Llama with a tied head, in bfloat16."""
    return save(tmp_path / "model", make_module(tie_word_embeddings=True).to(torch.bfloat16))


def test_a_padded_and_rotated_reference_gives_the_same_logits(tied, compute, data):
    plain, changed = stored(tied), stored(tied, pad=48, rotate=3)
    opened = [open_model(entry, reference=entry, compute=compute) for entry in (plain, changed)]
    assert [o.module.config.hidden_size for o in opened] == [64, 96]
    logits = [o.head.logits(o.hidden(IDS)) for o in opened]
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-6)
    assert opened[0].weights_sha256 != opened[1].weights_sha256
    assert opened[0].tokenizer_sha256 == opened[1].tokenizer_sha256


def test_its_head_is_untied_and_counted_and_its_weights_are_float32(tied, compute, data):
    entry = stored(tied, rotate=0)
    bits = open_model(entry, reference=entry, compute=compute).bits
    assert bits.head.weights == bits.embedding.weights == 320 * 64
    assert bits.bits_per_weight == bits.bits_per_head_weight == 32
    padded = stored(tied, pad=48)
    bits = open_model(padded, reference=padded, compute=compute).bits
    assert (bits.head.weights, bits.embedding.weights) == (0, 320 * 96)


def test_it_is_made_once_and_anew_for_other_keys(tied, data, monkeypatch):
    folder = stored_folder(stored(tied, pad=48, rotate=3))
    others = [stored_folder(stored(tied, pad=48)), stored_folder(stored(tied, pad=48, rotate=4))]
    assert len({folder, *others}) == 3
    monkeypatch.setattr(transformed, "transform", lambda *_, **__: pytest.fail("made twice"))
    assert stored_folder(stored(tied, pad=48, rotate=3)) == folder
    assert stored_folder(stored(tied)) == tied
    assert not list(data.rglob(".partial-*"))


def test_quants_are_made_from_the_changed_weights(tied, compute, data):
    reference = stored(tied, pad=48, rotate=3)
    quant = TorchaoModel(**MADE, group_size=48)
    made = open_model(quant, reference=reference, compute=compute)
    assert made.module.config.hidden_size == 96
    base = open_model(reference, reference=reference, compute=compute)
    assert torch.equal(made.head.weight, base.head.weight)
    assert made.bits.head.weights == 320 * 96
    assert made.bits.bits_per_trunk_weight < 6 < made.bits.bits_per_head_weight == 32
    assert not torch.equal(made.hidden(IDS), base.hidden(IDS))


def test_a_quant_that_runs_in_bfloat16_keeps_the_references_positions(tiny, compute):
    settings = compute.model_copy(update={"compute_dtype": "bfloat16"})
    quant = TorchaoModel(**MADE, group_size=64)
    made, base = (open_model(entry, reference=tiny, compute=settings) for entry in (quant, tiny))
    assert made.module.model.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16
    assert made.module.model.rotary_emb.inv_freq.dtype == torch.float32
    assert torch.equal(made.module.model.rotary_emb.inv_freq, base.module.model.rotary_emb.inv_freq)


def test_what_can_not_be_changed_is_refused_and_leaves_nothing(tmp_path, compute, data):
    folder = save(tmp_path / "qwen", make_module("Qwen3"))
    with pytest.raises(ModelError, match="qwen3"):
        stored_folder(stored(folder, rotate=0))
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace("{", '{"quantization_config": {"quant_method": "gptq"},', 1))
    with pytest.raises(ModelError, match="a quantized model"):
        stored_folder(stored(folder, pad=48))
    assert [p for p in data.rglob("*") if not p.name.endswith(".lock") and p.is_file()] == []
