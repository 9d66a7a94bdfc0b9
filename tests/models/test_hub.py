"""A repository of a hub, served here: its small files are fetched, then the weights that are read; nothing twice."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hub_server import REVISION, Hub, served_hub
from tiny_models import make_module, make_tokenizer, save, stored

from qkld.errors import ModelError
from qkld.models import open_model


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    """A hub on this machine with the repository ``some/model``, and an empty cache."""
    with served_hub(tmp_path, monkeypatch) as handler:
        yield handler


def entry():
    return stored(repository="some/model", revision=REVISION, label="reference")


def test_neither_a_second_copy_nor_another_format_is_downloaded(hub, compute):
    make_module().to(torch.bfloat16).save_pretrained(hub.folder, max_shard_size="60KB")
    make_tokenizer().save_pretrained(hub.folder)
    shards = sorted(p.name for p in hub.folder.glob("model-*.safetensors"))
    for copy in ("consolidated.safetensors", "original/model.safetensors", "onnx/model.onnx", "pytorch_model.bin"):
        (hub.folder / copy).parent.mkdir(exist_ok=True)
        shutil.copy(hub.folder / shards[0], hub.folder / copy)
    for other in ("model-00009-of-00009.safetensors", "evil.py"):
        (hub.folder / other).write_bytes(b"none of this is read")
    opened = open_model(entry(), reference=entry(), compute=compute)
    assert opened.bits.bits_per_weight == 16
    assert len(shards) > 2
    weights = [name for name in hub.fetched if not name.endswith(".json")]
    assert sorted(weights) == shards
    assert len(hub.fetched) == len(set(hub.fetched))
    assert not [name for name in hub.fetched if "/" in name]


def test_a_model_in_one_file_is_that_file(hub, compute):
    save(hub.folder, make_module())
    shutil.copy(hub.folder / "model.safetensors", hub.folder / "consolidated.safetensors")
    open_model(entry(), reference=entry(), compute=compute)
    assert [name for name in hub.fetched if name.endswith(".safetensors")] == ["model.safetensors"]


def test_an_adapter_is_refused_before_its_weights_are_fetched(hub, compute):
    make_tokenizer().save_pretrained(hub.folder)
    (hub.folder / "adapter_config.json").write_text("{}")
    (hub.folder / "adapter_model.safetensors").write_bytes(b"large")
    with pytest.raises(ModelError, match="contains an adapter"):
        open_model(entry(), reference=entry(), compute=compute)
    assert not [name for name in hub.fetched if name.endswith(".safetensors")]


def test_weights_that_the_hub_has_not_are_named(hub, compute):
    make_module().save_pretrained(hub.folder, max_shard_size="60KB")
    make_tokenizer().save_pretrained(hub.folder)
    sorted(hub.folder.glob("model-*.safetensors"))[1].unlink()
    with pytest.raises(ModelError, match=r"(?s)Files of 'reference' are missing.*index\.json"):
        open_model(entry(), reference=entry(), compute=compute)


def test_pickled_weights_of_a_hub_are_not_fetched(hub, compute):
    save(hub.folder, make_module())
    (hub.folder / "model.safetensors").rename(hub.folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled weights are refused"):
        open_model(entry(), reference=entry(), compute=compute)
    assert "pytorch_model.bin" not in hub.fetched
