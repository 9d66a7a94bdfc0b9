"""Models written as GGUF files: read back through transformers, tensor by tensor and logit by logit."""

from __future__ import annotations

import gguf
import pytest
import torch
import transformers
from tiny_models import FACTS, make_module

from qkld.errors import ModelError
from qkld.models import open_model
from qkld.models.gguf.gguf_files import fact
from qkld.models.gguf.llama_as_gguf import interleaved, write_gguf
from qkld.models.transformers import load_module
from qkld.models.transforms.transforms import transform
from qkld.study.entries import GgufModel
from validation.crosschecks.tiny_gguf import write_tiny

IDS = torch.arange(24).reshape(2, 12) * 5 % 301


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The GGUF file of the random model with 301 tokens."""
    path = tmp_path_factory.mktemp("source") / "tiny.gguf"
    write_tiny(path)
    return path


def reopened(path):
    """The file's model through transformers, whose loader turns llama.cpp's order of rows back."""
    dequantized = transformers.GgufConfig(dequantize=True)
    return load_module(
        path.parent, label="w", dtype=torch.float32, gguf_file=path.name, quantization_config=dequantized
    )


def grouped(**changes):
    """Six query heads over two key heads; ε is a float32, so that no digit of it is lost in the file."""
    sizes = {"hidden_size": 48, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 301}
    return make_module(**{**sizes, "rms_norm_eps": 2.0**-10, **changes})


@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": True}, {"head_dim": 16}])
def test_a_written_model_comes_back_bit_by_bit(tmp_path, source, changes):
    module = grouped(**changes)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    back = reopened(write_gguf(module, source, tmp_path / "out.gguf"))
    own, read = dict(module.named_parameters()), dict(back.named_parameters())
    assert all(torch.equal(own[name], read[name]) for name in own)
    assert back.config.tie_word_embeddings == bool(changes.get("tie_word_embeddings"))
    with torch.inference_mode():
        assert torch.equal(module(input_ids=IDS).logits, back(input_ids=IDS).logits)


def test_a_padded_and_rotated_model_comes_back_bit_by_bit(tmp_path, source):
    module = reopened(source)
    changed = transform(module, multiple=96, seed=5)
    back = reopened(write_gguf(changed, source, tmp_path / "out.gguf"))
    with torch.inference_mode():
        plain, written, read = (m(input_ids=IDS).logits for m in (module, changed, back))
    torch.testing.assert_close(read, written, rtol=1e-6, atol=1e-6)  # ε is rounded to float32 in the file
    torch.testing.assert_close(read, plain, rtol=1e-4, atol=1e-4)
    assert back.config.hidden_size == 96


@pytest.mark.model
@pytest.mark.parametrize(
    "change", [{"multiple": None, "seed": None}, {"multiple": 96, "seed": 5}], ids=["as it is", "changed"]
)
def test_llama_cpp_gives_the_logits_of_grouped_heads(tmp_path, source, compute, monkeypatch, change):
    monkeypatch.setenv("QKLD_DATA", str(tmp_path / "data"))
    module = transform(grouped(rms_norm_eps=0.01, initializer_range=0.2), **change)
    path = write_gguf(module, source, tmp_path / "out.gguf")
    place = {"label": "w", "family": "g", "path": str(tmp_path), "file": path.name, "to_be_checked": ("sha256",)}
    exact = {"engine": "llamacpp", "cache_k": "f32", "cache_v": "f32", "flash_attention": False}
    opened = open_model(GgufModel(**place, **exact, **FACTS), reference=GgufModel(**place, **FACTS), compute=compute)
    with torch.inference_mode():
        expected = module(input_ids=IDS).logits
    torch.testing.assert_close(opened.hidden(IDS), expected, rtol=1e-4, atol=1e-4 * expected.std().item())


def test_sizes_are_written_anew_and_the_rest_is_the_sources(tmp_path, source):
    path = write_gguf(grouped(head_dim=16), source, tmp_path / "out.gguf")
    sizes = {
        "llama.embedding_length": 48,
        "llama.attention.head_count": 6,
        "llama.attention.head_count_kv": 2,
        "llama.attention.key_length": 16,
        "llama.rope.dimension_count": 16,
        "llama.block_count": 2,
        "general.file_type": gguf.LlamaFileType.ALL_F32,
    }
    assert {name: fact(path, name) for name in sizes} == sizes
    kept = ["general.name", "llama.context_length", *(n for n in gguf.GGUFReader(source).fields if "tokenizer" in n)]
    assert len(kept) > 6
    assert all(fact(path, name) == fact(source, name) for name in kept)
    names = [name for name in gguf.GGUFReader(path).fields if not name.startswith("GGUF.")]
    assert len(names) == len(set(names))


def test_rows_of_a_head_are_interleaved():
    rows = torch.arange(12).reshape(12, 1)
    assert interleaved(rows, 2).flatten().tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]
    assert interleaved(rows.flatten(), 3).tolist() == [0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11]


def test_biases_are_written_in_the_order_of_their_rows(tmp_path, source):
    module = grouped(attention_bias=True)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    read = {t.name: t.data for t in gguf.GGUFReader(write_gguf(module, source, tmp_path / "out.gguf")).tensors}
    attention = module.model.layers[1].self_attn
    assert read["blk.1.attn_k.bias"].tolist() == interleaved(attention.k_proj.bias, 2).tolist()
    assert read["blk.1.attn_output.bias"].tolist() == attention.o_proj.bias.tolist()


def test_factors_of_the_rotary_frequencies_are_kept(tmp_path, source):
    with_factors = tmp_path / "factors.gguf"
    writer = gguf.GGUFWriter(with_factors, "llama")
    writer.add_token_list([str(i) for i in range(301)])
    writer.add_tensor("rope_freqs.weight", torch.full((4,), 2.0).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    path = write_gguf(grouped(), with_factors, tmp_path / "out.gguf")
    kept = [t.data.tolist() for t in gguf.GGUFReader(path).tensors if t.name == "rope_freqs.weight"]
    assert kept == [[2.0] * 4]


@pytest.mark.parametrize(
    ("kind", "vocabulary", "named"),
    [("Llama", 320, "320 rows"), ("Mistral", 301, "model mistral")],
)
def test_another_model_than_the_sources_is_refused_and_nothing_is_left(tmp_path, source, kind, vocabulary, named):
    with pytest.raises(ModelError, match=named):
        write_gguf(make_module(kind, vocab_size=vocabulary), source, tmp_path / "out.gguf")
    assert list(tmp_path.iterdir()) == []
