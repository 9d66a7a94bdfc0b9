"""Models larger than their device: spread over memory and disk here, since accelerators are not at hand."""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path

import pytest
import torch
from tiny_models import FACTS, make_module

from qkld.models import open_model
from qkld.models.spreading import room, running_device, spread
from qkld.study.entries import BitsandbytesModel, HqqModel, TorchaoModel

IDS = torch.tensor([[0, 40, 41, 42, 43], [5, 9, 77, 120, 3]])

MADE = {
    "bitsandbytes": BitsandbytesModel(label="nf4", family="bnb", scheme="nf4", **FACTS),
    "torchao": TorchaoModel(label="int4", family="torchao", scheme="intx", bits=4, group_size=32, **FACTS),
    "hqq": HqqModel(label="hqq4", family="hqq", bits=4, group_size=32, **FACTS),
}


@pytest.fixture
def offload_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders go during a test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("kind", ["Llama", "Qwen2", "Gemma2"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.7])
def test_layers_on_disk_give_the_same_states_bit_for_bit(
    kind: str, tied: bool, share: float, offload_root: Path
) -> None:
    plain, spread_out = (make_module(kind, tie_word_embeddings=tied, num_hidden_layers=8) for _ in range(2))
    size = sum(p.numel() * p.element_size() for p in spread_out.parameters())
    spread(spread_out, {"cpu": int(share * size)})
    assert "disk" in spread_out.hf_device_map.values()
    assert ("cpu" in spread_out.hf_device_map.values()) == (share > 0)
    assert any(p.device.type == "meta" for p in spread_out.parameters())
    with torch.inference_mode():
        assert torch.equal(spread_out(IDS).logits, plain(IDS).logits)
        states = [m.base_model(IDS, use_cache=False).last_hidden_state for m in (spread_out, plain)]
    assert torch.equal(*states)


def test_the_folder_on_disk_goes_with_the_module(offload_root: Path) -> None:
    module = make_module()
    spread(module, {"cpu": 100_000})
    assert list(offload_root.rglob("*.dat"))
    del module
    gc.collect()
    assert not list(offload_root.iterdir())


def test_a_layer_on_disk_runs_where_accelerate_brings_it(offload_root: Path) -> None:
    module = make_module()
    embedding = module.get_input_embeddings()
    assert running_device(embedding) == torch.device("cpu")
    spread(module, {"cpu": 1000})
    assert embedding.weight.device.type == "meta"
    assert running_device(embedding) == torch.device("cpu")


def test_what_the_module_takes_already_counts_as_free() -> None:
    small, large = make_module(), make_module(num_hidden_layers=60)
    bytes_of = [sum(4 * p.numel() for p in m.parameters()) for m in (small, large)]
    places = [room(m, torch.device("cpu"), reserved=10**15) for m in (small, large)]
    assert all(set(p) == {"cpu"} for p in places)
    assert all(p["cpu"] > 10 * size for p, size in zip(places, bytes_of, strict=True))


@pytest.mark.parametrize("weights", ["dequantized", "native"])
@pytest.mark.parametrize("name", MADE)
def test_quants_made_here_open_spread_as_they_do_whole(name: str, weights: str, tiny, compute) -> None:
    whole = compute.model_copy(update={"weights": weights})
    opened = [
        open_model(MADE[name], reference=tiny, compute=settings)
        for settings in (whole, whole.model_copy(update={"device_map": "auto"}))
    ]
    assert opened[0].weights_sha256 == opened[1].weights_sha256
    assert opened[0].bits == opened[1].bits
    assert torch.equal(opened[0].hidden(IDS), opened[1].hidden(IDS))


@pytest.mark.parametrize("name", [None, "hqq"])
def test_a_model_of_which_half_fits_is_measured_like_a_whole_one(
    name: str | None, tiny, compute, offload_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = tiny if name is None else MADE[name]
    whole = open_model(entry, reference=tiny, compute=compute)
    size = sum(p.numel() * p.element_size() for p in whole.module.parameters())
    monkeypatch.setattr("accelerate.utils.get_max_memory", lambda: {"cpu": -size // 2})
    half = open_model(entry, reference=tiny, compute=compute.model_copy(update={"device_map": "auto"}))
    assert "disk" in half.module.hf_device_map.values()
    assert half.weights_sha256 == whole.weights_sha256
    assert half.head.sha256() == whole.head.sha256()
    assert half.device == half.head.weight.device == torch.device("cpu")
    assert half.supports_packing == whole.supports_packing
    assert torch.equal(half.hidden(IDS), whole.hidden(IDS))
