"""What the notes of the published cohorts say of opening their GGUF files, held to files of the same architectures.

The Qwen file is a random one of four small layers, with the tensors and metadata that llama.cpp gives qwen35moe.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers.convert_slow_tokenizer import bytes_to_unicode

from qkld.errors import ModelError, SourceError
from qkld.models import open_model
from qkld.models.gguf.open_in_torch import converted_folder
from qkld.study.entries import GgufModel
from qkld.study.params import Study, ToBeChecked, load_params

WIDTH, EXPERTS, EXPERT_WIDTH, LAYERS = 32, 4, 16, 4
HEADS, KEY_VALUE_HEADS, HEAD_WIDTH = 4, 2, 16
STATE, KEY_HEADS, VALUE_HEADS = 8, 2, 4
NUMBERS = {
    "context_length": 64,
    "embedding_length": WIDTH,
    "block_count": LAYERS,
    "attention.head_count": HEADS,
    "attention.head_count_kv": KEY_VALUE_HEADS,
    "attention.key_length": HEAD_WIDTH,
    "full_attention_interval": 4,
    "ssm.conv_kernel": 4,
    "ssm.state_size": STATE,
    "ssm.group_count": KEY_HEADS,
    "ssm.time_step_rank": VALUE_HEADS,
    "ssm.inner_size": VALUE_HEADS * STATE,
    "rope.dimension_count": 8,
    "expert_feed_forward_length": EXPERT_WIDTH,
    "expert_shared_feed_forward_length": EXPERT_WIDTH,
    "expert_count": EXPERTS,
    "expert_used_count": 2,
}
DELTA_NET = {
    "attn_qkv.weight": (2 * KEY_HEADS * STATE + VALUE_HEADS * STATE, WIDTH),
    "attn_gate.weight": (VALUE_HEADS * STATE, WIDTH),
    "ssm_alpha.weight": (VALUE_HEADS, WIDTH),
    "ssm_beta.weight": (VALUE_HEADS, WIDTH),
    "ssm_conv1d.weight": (2 * KEY_HEADS * STATE + VALUE_HEADS * STATE, 4),
    "ssm_norm.weight": (STATE,),
    "ssm_out.weight": (WIDTH, VALUE_HEADS * STATE),
    "ssm_a": (VALUE_HEADS,),
    "ssm_dt.bias": (VALUE_HEADS,),
}
ATTENTION = {
    "attn_q.weight": (2 * HEADS * HEAD_WIDTH, WIDTH),
    "attn_k.weight": (KEY_VALUE_HEADS * HEAD_WIDTH, WIDTH),
    "attn_v.weight": (KEY_VALUE_HEADS * HEAD_WIDTH, WIDTH),
    "attn_output.weight": (WIDTH, HEADS * HEAD_WIDTH),
    "attn_q_norm.weight": (HEAD_WIDTH,),
    "attn_k_norm.weight": (HEAD_WIDTH,),
}
EVERY_LAYER = {
    "attn_norm.weight": (WIDTH,),
    "post_attention_norm.weight": (WIDTH,),
    "ffn_gate_inp.weight": (EXPERTS, WIDTH),
    "ffn_gate_exps.weight": (EXPERTS, EXPERT_WIDTH, WIDTH),
    "ffn_up_exps.weight": (EXPERTS, EXPERT_WIDTH, WIDTH),
    "ffn_down_exps.weight": (EXPERTS, WIDTH, EXPERT_WIDTH),
    "ffn_gate_inp_shexp.weight": (WIDTH,),
    "ffn_gate_shexp.weight": (EXPERT_WIDTH, WIDTH),
    "ffn_up_shexp.weight": (EXPERT_WIDTH, WIDTH),
    "ffn_down_shexp.weight": (WIDTH, EXPERT_WIDTH),
}


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_qwen35moe(path: Path, rng: np.random.Generator) -> None:
    writer = gguf.GGUFWriter(path, "qwen35moe")
    for name, value in NUMBERS.items():
        writer.add_uint32(f"qwen35moe.{name}", value)
    writer.add_float32("qwen35moe.attention.layer_norm_rms_epsilon", 1e-6)
    writer.add_float32("qwen35moe.rope.freq_base", 1e7)
    writer.add_array("qwen35moe.rope.dimension_sections", [2, 1, 1, 0])
    tokens = [*bytes_to_unicode().values(), "he", "<|endoftext|>"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen35")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - 1) + [3])
    writer.add_token_merges(["h e"])
    writer.add_eos_token_id(len(tokens) - 1)
    shapes = {"token_embd.weight": (len(tokens), WIDTH), "output.weight": (len(tokens), WIDTH)}
    shapes["output_norm.weight"] = (WIDTH,)
    for layer in range(LAYERS):
        own = {**EVERY_LAYER, **(ATTENTION if layer % 4 == 3 else DELTA_NET)}
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in own.items()}
    for name, shape in shapes.items():
        values = np.full(shape, -1.0) if name.endswith("ssm_a") else 0.1 * rng.normal(size=shape)
        writer.add_tensor(name, (values + ("norm" in name)).astype(np.float32))
    finish(writer)


def cohort(study: str) -> Study:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ToBeChecked)
        return load_params(study)


def says(study: str, words: str) -> bool:
    return any(words in " ".join(note.split()) for note in cohort(study).notes)


@pytest.fixture
def entry(tmp_path, monkeypatch) -> GgufModel:
    """An entry for ``tiny.gguf`` in the test's folder, with converted models kept there too."""
    monkeypatch.setenv("QKLD_DATA", str(tmp_path / "data"))
    facts = {"family": "x", "maker": "x", "recipe": "F32", "nominal_bits": 32, "to_be_checked": ("sha256",)}
    return GgufModel(label="tiny", path=str(tmp_path), file="tiny.gguf", **facts)


def test_a_gguf_of_qwen_s_architecture_opens(tmp_path, entry, compute, rng):
    write_qwen35moe(tmp_path / "tiny.gguf", rng)
    model = open_model(entry, reference=entry, compute=compute)
    tokens = torch.tensor([model.tokenizer.encode("hello there, world")])
    hidden = model.hidden(tokens)
    assert hidden.shape == (1, tokens.shape[1], WIDTH)
    assert torch.equal(model.head.logits(hidden[0]), model.module(tokens).logits[0])
    assert not model.supports_packing
    assert says("qwen3.6-35b-a3b", "opens architecture qwen35moe")


def test_a_gguf_of_devstral_s_architecture_is_refused(tmp_path, entry):
    writer = gguf.GGUFWriter(tmp_path / "tiny.gguf", "mistral3")
    writer.add_block_count(1)
    writer.add_tensor("token_embd.weight", np.zeros((8, 8), np.float32))
    finish(writer)
    with pytest.raises(ModelError, match="architecture mistral3 is not supported yet"):
        converted_folder(entry)
    assert not [p for p in (tmp_path / "data").rglob("*") if p.is_file() and not p.name.endswith(".lock")]
    assert says("devstral-small-2-24b", "refuses architecture mistral3")


@pytest.mark.parametrize("study", ["qwen3.6-35b-a3b", "devstral-small-2-24b"])
def test_a_file_without_a_pinned_revision_is_not_fetched(study):
    quant = next(q for q in cohort(study).quants if q.revision is None)
    with pytest.raises(SourceError, match=rf"(?s)'{quant.label}' has no pinned revision.*at {quant.repository}"):
        converted_folder(quant)
