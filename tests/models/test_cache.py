"""Caches by their headers, beside what llama.cpp and transformers themselves keep of the same files."""

from __future__ import annotations

import ctypes
import re

import gguf
import numpy as np
import pytest
import torch
from tiny_gguf_files import SIZES, add_tokenizer, vocabulary, write_model
from tiny_gguf_models import save_folder, write_gguf

from qkld.models.cache import Cache, Layer, cache_of_config, cache_of_file
from qkld.models.gguf import llamacpp_library as llamacpp

pytestmark = pytest.mark.model

MIB = 2**20


def kept_by_llamacpp(file, context):
    """Bytes of keys and values that llama.cpp says it keeps for a context, its window no larger than it has to be."""
    llama, lines = llamacpp.library(), []

    @llama.llama_log_callback
    def hear(_level, text, _data):
        lines.append(text.decode("utf-8", "replace"))

    llama.llama_log_set(hear, ctypes.c_void_p(0))
    try:
        model = llama.llama_model_load_from_file(str(file).encode(), llama.llama_model_default_params())
        assert model, "".join(lines)
        parameters = llama.llama_context_default_params()
        parameters.n_ctx, parameters.swa_full, parameters.n_ubatch = context, False, 512
        made = llama.llama_init_from_model(model, parameters)
        llama.llama_free(made)
        llama.llama_model_free(model)
    finally:
        llama.llama_log_set(llamacpp._kept_log(llama), ctypes.c_void_p(0))
    sizes = re.findall(r"llama_kv_cache: size = +([0-9.]+) MiB", "".join(lines))
    return float(sum(map(float, sizes))) * MIB


def test_heads_that_share_keys(tmp_path):
    file = write_model(tmp_path / "tiny.gguf", blocks=3, key_heads=2)
    cache = cache_of_file(file)
    assert cache == Cache((Layer(2 * 2 * (2 * 32)),) * 3)
    assert kept_by_llamacpp(file, 8192) == pytest.approx(cache.size(8192), rel=0.01)


def test_a_window_in_five_of_six_layers(tmp_path):
    """Gemma 3: layers that see 64 tokens keep these and a batch, whatever the context."""
    file = write_gguf(tmp_path / "gemma.gguf", "gemma3")
    cache = cache_of_file(file)
    assert [layer.most for layer in cache.layers] == [768] * 5 + [None]
    assert cache.size(8192) < cache.size(512) * 16 / 2
    for context in (512, 4096, 16384):
        assert kept_by_llamacpp(file, context) == pytest.approx(cache.size(context), rel=0.01, abs=0.02 * MIB)


@pytest.mark.parametrize("converted", [True, False], ids=["latent", "every head"])
def test_latent_attention(tmp_path, converted):
    """DeepSeek V2: one latent head where the file was converted for it, every head's keys and values in older files."""
    file = write_latent(tmp_path / "latent.gguf", converted=converted)
    cache = cache_of_file(file)
    assert kept_by_llamacpp(file, 8192) == pytest.approx(cache.size(8192), rel=0.01)


@pytest.mark.parametrize("kind", ["llama3", "qwen3", "gemma3"])
def test_a_checkpoint_keeps_what_transformers_keeps(tmp_path, kind):
    from transformers import AutoModelForCausalLM

    module = AutoModelForCausalLM.from_pretrained(save_folder(tmp_path / kind, kind), dtype=torch.bfloat16)
    with torch.inference_mode():
        kept = module(torch.ones(1, 150, dtype=torch.long), use_cache=True).past_key_values
    found = sum(layer.keys.nbytes + layer.values.nbytes for layer in kept.layers)
    windowed = getattr(module.config, "layer_types", None) or []
    spare = sum(
        2 * layer.keys.nbytes // layer.keys.shape[2] for layer in kept.layers[: windowed.count("sliding_attention")]
    )
    assert cache_of_config(module.config).size(150) == pytest.approx(found + spare, abs=spare)


def test_configurations_of_other_architectures():
    """Latent attention keeps every head; linear layers, and whole models without attention, keep no keys."""
    import transformers

    deepseek = transformers.DeepseekV3Config(num_hidden_layers=2, num_attention_heads=4)
    assert cache_of_config(deepseek).layers == (Layer(2 * 4 * (128 + 64 + 128)),) * 2
    hybrid = transformers.Qwen3NextConfig(num_hidden_layers=8)
    assert len(cache_of_config(hybrid).layers) == 2
    assert cache_of_config(transformers.MambaConfig()).size(4096) == 0
    mistral = transformers.MistralConfig(sliding_window=4096)
    assert cache_of_config(mistral).size(32768) == cache_of_config(mistral).size(4096)


def write_latent(path, *, converted):
    """A DeepSeek V2 of two dense layers; ``converted`` as today's converter writes it, for latent attention."""
    heads, latent, rotated, plain, value, width = 4, 64, 32, 32, 32, SIZES["width"]
    rng, writer = np.random.default_rng(3), gguf.GGUFWriter(path, "deepseek2")
    add_tokenizer(writer)
    writer.add_vocab_size(len(vocabulary()))
    writer.add_context_length(16384)
    writer.add_embedding_length(width)
    writer.add_block_count(2)
    writer.add_leading_dense_block_count(2)
    writer.add_feed_forward_length(256)
    writer.add_expert_feed_forward_length(64)
    writer.add_expert_count(4)
    writer.add_expert_used_count(2)
    writer.add_expert_shared_count(1)
    writer.add_expert_weights_scale(1.0)
    writer.add_head_count(heads)
    writer.add_head_count_kv(1 if converted else heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(rotated)
    writer.add_q_lora_rank(48)
    writer.add_kv_lora_rank(latent)
    writer.add_key_length(latent + rotated if converted else plain + rotated)
    writer.add_value_length(latent if converted else value)
    if converted:
        writer.add_key_length_mla(plain + rotated)
        writer.add_value_length_mla(value)
    shapes = {
        "attn_norm": (width,),
        "attn_q_a": (48, width),
        "attn_q_a_norm": (48,),
        "attn_q_b": (heads * (plain + rotated), 48),
        "attn_kv_a_mqa": (latent + rotated, width),
        "attn_kv_a_norm": (latent,),
        "attn_output": (width, heads * value),
        "ffn_norm": (width,),
        "ffn_gate": (256, width),
        "ffn_up": (256, width),
        "ffn_down": (width, 256),
    }
    if converted:
        shapes |= {"attn_k_b": (heads, latent, plain), "attn_v_b": (heads, value, latent)}
    else:
        shapes |= {"attn_kv_b": (heads * (plain + value), latent)}
    whole = {"token_embd": (len(vocabulary()), width), "output_norm": (width,), "output": (len(vocabulary()), width)}
    named = {**whole, **{f"blk.{block}.{name}": shape for block in range(2) for name, shape in shapes.items()}}
    for name, shape in named.items():
        writer.add_tensor(f"{name}.weight", rng.standard_normal(shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
