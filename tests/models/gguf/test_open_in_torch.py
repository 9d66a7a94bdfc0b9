"""GGUF files: dequantized values against gguf's own, bits from the file, and every kind of unreadable file."""

from __future__ import annotations

import json
import shutil

import gguf
import numpy as np
import pytest
import torch
from tiny_models import FACTS, GGUF

from qkld.errors import ModelError, SourceError
from qkld.models import open_model
from qkld.models.bits import StoredBits
from qkld.models.gguf import open_in_torch as models_gguf
from qkld.models.gguf.gguf_files import gguf_bits
from qkld.models.gguf.open_in_torch import converted_folder
from qkld.sources import fetch
from qkld.study.entries import GgufModel


def entry(folder, file="model.gguf", **more):
    return GgufModel(label="q", family="gguf", path=str(folder), file=file, to_be_checked=("sha256",), **FACTS, **more)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """An empty data folder."""
    monkeypatch.setenv("QKLD_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def write(path, tensors, architecture="llama"):
    """A GGUF file with these tensors and no more facts than a reader needs."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(1)
    for name, values in tensors.items():
        kind = gguf.GGMLQuantizationType.Q8_0 if values.dtype == np.uint8 else None
        writer.add_tensor(name, values, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def left_behind(data):
    return [p.name for p in data.rglob("*") if not p.name.endswith(".lock") and p.is_file()]


@pytest.mark.parametrize("content", [b"", b"no model at all", b"GGUF", b"GGUF\x03\x00\x00\x00" + b"\xff" * 64])
def test_what_is_no_gguf_file_is_refused(tmp_path, data, content):
    (tmp_path / "model.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.gguf cannot be read"):
        converted_folder(entry(tmp_path))
    assert left_behind(data) == []


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, data, kept):
    path = write(tmp_path / "model.gguf", {"token_embd.weight": np.ones((64, 64), np.float32)})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ModelError, match="cannot be read"):
        converted_folder(entry(tmp_path))
    assert left_behind(data) == []


def test_an_unknown_architecture_is_refused(tmp_path, data):
    write(tmp_path / "model.gguf", {"token_embd.weight": np.ones((8, 8), np.float32)}, architecture="unheard-of")
    with pytest.raises(ModelError, match="unheard-of"):
        converted_folder(entry(tmp_path))
    assert left_behind(data) == []


def test_a_missing_file_is_named_with_those_there_are(tmp_path, data):
    (tmp_path / "other.gguf").touch()
    with pytest.raises(SourceError, match=r"(?s)model-00002-of-00002\.gguf.*other\.gguf"):
        converted_folder(entry(tmp_path, file="other.gguf", more_files=("model-00002-of-00002.gguf",)))


def test_a_wrong_hash_is_refused(tmp_path, data):
    path = write(tmp_path / "model.gguf", {"token_embd.weight": np.ones((8, 8), np.float32)})
    stated = GgufModel(label="q", family="g", path=str(path.parent), file=path.name, sha256="0" * 64, **FACTS)
    with pytest.raises(SourceError, match="wrong hash"):
        converted_folder(stated)


def test_bits_are_those_of_the_files_tensors(tmp_path):
    q8 = gguf.quants.quantize(np.ones((4, 64), np.float32), gguf.GGMLQuantizationType.Q8_0)
    tensors = {
        "token_embd.weight": np.ones((8, 32), np.float16),
        "output.weight": np.ones((8, 32), np.float32),
        "blk.0.ffn_up.weight": q8,
        "output_norm.weight": np.ones(32, np.float32),
    }
    bits = gguf_bits([write(tmp_path / "a.gguf", tensors)])
    assert (bits.embedding.weights, bits.bits_per_embedding_weight) == (256, 16)
    assert (bits.head.weights, bits.bits_per_head_weight) == (256, 32)
    assert bits.trunk.weights == 4 * 64 + 32
    assert bits.trunk.bits == 4 * 64 * 8.5 + 32 * 32


@pytest.mark.model
def test_the_demos_values_are_those_of_gguf_itself(demo, compute):
    opened = open_model(demo, reference=demo, compute=compute)
    reader = gguf.GGUFReader(fetch("smollm2-135m-instruct") / GGUF["file"])
    stored = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    pairs = {
        "token_embd.weight": opened.module.model.embed_tokens.weight,
        "blk.3.ffn_down.weight": opened.module.model.layers[3].mlp.down_proj.weight,
        "blk.29.attn_v.weight": opened.module.model.layers[29].self_attn.v_proj.weight,
        "output_norm.weight": opened.module.model.norm.weight,
    }
    for name, values in pairs.items():
        np.testing.assert_array_equal(values.numpy(), stored[name])


@pytest.mark.model
def test_the_demos_bits_and_facts(demo, compute):
    opened = open_model(demo, reference=demo, compute=compute)
    assert opened.bits.bits_per_embedding_weight == 8.5  # Q8_0: 32 int8 and a float16 scale
    assert opened.bits.trunk.weights + opened.bits.embedding.weights == 134_515_008
    assert opened.bits.bits_per_trunk_weight == pytest.approx(5.0, abs=0.01)  # Q4_1: 32 int4, two float16
    assert (opened.vocabulary, opened.padded_rows, opened.context_length) == (49152, 0, 8192)
    assert opened.supports_packing
    ids = opened.tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    best = opened.head.logits(opened.hidden(ids)[0, -1:]).argmax()
    assert opened.tokenizer.decode(best) == " Paris"


@pytest.mark.model
def test_a_gguf_quant_of_the_same_model_passes_the_tokenizer_check(demo, compute, monkeypatch):
    monkeypatch.setattr(models_gguf, "_convert", lambda *_: pytest.fail("converted twice"))
    quant = demo.model_copy(update={"label": "q4_1"})
    assert open_model(quant, reference=demo, compute=compute).tokenizer_sha256


@pytest.mark.model
def test_an_altered_demo_file_is_refused(tmp_path, compute):
    path = tmp_path / GGUF["file"]
    shutil.copy(fetch("smollm2-135m-instruct") / GGUF["file"], path)
    with path.open("r+b") as stream:
        stream.seek(50_000_000)
        stream.write(b"\x00" * 16)
    altered = GgufModel(label="q", family="g", path=str(tmp_path), file=path.name, sha256=GGUF["sha256"], **FACTS)
    with pytest.raises(SourceError, match=GGUF["sha256"]):
        open_model(altered, reference=altered, compute=compute)


@pytest.mark.model
def test_the_converted_folder_states_the_files_bits(demo):
    folder = converted_folder(demo)
    stated = StoredBits.from_json(json.loads((folder / models_gguf.BITS_FILE).read_text()))
    assert (stated.head.weights, stated.head.bits) == (0, 0)
    stored = stated.trunk.bits + stated.embedding.bits
    assert torch.finfo(torch.float32).bits * 134_515_008 > stored > 4 * 134_515_008


def test_bits_that_an_earlier_version_counted_are_counted_again(tmp_path, monkeypatch):
    from tiny_gguf_files import write_model

    monkeypatch.setenv("QKLD_DATA", str(tmp_path / "data"))
    file = write_model(tmp_path / "tiny.gguf")
    entry = GgufModel(label="q", family="g", path=str(tmp_path), file=file.name, to_be_checked=("sha256",), **FACTS)
    record = converted_folder(entry) / models_gguf.BITS_FILE
    counted = json.loads(record.read_text())
    record.write_text(json.dumps({part: numbers[:2] for part, numbers in counted.items()}))
    converted_folder(entry)
    assert json.loads(record.read_text()) == counted
    assert counted["trunk"][0] == counted["trunk"][2] > 0
