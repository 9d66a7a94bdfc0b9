"""Which kernels a class runs with here: attention, experts, and the longest input, by what it supports."""

from __future__ import annotations

import json
import math

import pytest
import torch
import transformers
from tiny_models import make_module, save, stored

from qkld.errors import ModelError
from qkld.models import open_model
from qkld.models.context import context_length

IDS = torch.arange(2, 42)[None]

WITHOUT_SDPA = {
    "VaultGemma": {"query_pre_attn_scalar": 16},
    "FalconMamba": {"state_size": 4, "num_hidden_layers": 2},
    "Bloom": {"n_layer": 2, "n_head": 4},
    "GPTNeo": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 8},
    "GptOss": {"num_local_experts": 4, "num_experts_per_tok": 2},
}


def with_eager_attention(folder):
    module = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.inference_mode():
        return module.eval()(IDS).logits[0]


@pytest.mark.parametrize("kind", WITHOUT_SDPA)
def test_classes_without_torchs_attention_run_with_their_own(kind, tmp_path, compute):
    entry = stored(save(tmp_path, make_module(kind, **WITHOUT_SDPA[kind]).to(torch.bfloat16)))
    opened = open_model(entry, reference=entry, compute=compute)
    assert opened.module.config._attn_implementation == "eager"
    ours, own = opened.head.logits(opened.hidden(IDS)[0]), with_eager_attention(tmp_path)
    torch.testing.assert_close(ours, own[:, : opened.vocabulary], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation"])
def test_the_attention_that_a_file_asks_for_is_not_taken(name, tmp_path, compute):
    entry = stored(save(tmp_path, make_module("Qwen3")))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, name: "flash_attention_2"}))
    opened = open_model(entry, reference=entry, compute=compute)
    plain = save(tmp_path / "plain", make_module("Qwen3"))
    torch.testing.assert_close(
        opened.head.logits(opened.hidden(IDS)[0]), with_eager_attention(plain)[:, : opened.vocabulary]
    )


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("Olmoe", {"num_experts": 4, "num_experts_per_tok": 2}),
        ("Mixtral", {"num_local_experts": 4}),
        ("Dots1", {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_group": 1,
                   "topk_group": 1, "first_k_dense_replace": 1, "n_shared_experts": 1}),
    ],
)  # fmt: skip
def test_experts_are_computed_in_float64_one_by_one(kind, changes, tmp_path, compute):
    entry = stored(save(tmp_path, make_module(kind, **changes)))
    narrow = open_model(entry, reference=entry, compute=compute)
    wide = open_model(entry, reference=entry, compute=compute.model_copy(update={"compute_dtype": "float64"}))
    assert narrow.module.config._experts_implementation == "grouped_mm"
    states = wide.hidden(IDS)
    assert states.dtype == torch.float64
    torch.testing.assert_close(narrow.hidden(IDS).double(), states, rtol=1e-3, atol=1e-4)


def test_a_class_that_can_not_be_run_in_a_dtype_says_so(tmp_path, compute, monkeypatch):
    from transformers.models.llama.modeling_llama import LlamaMLP

    def single(self, x):
        return self.down_proj(self.act_fn(self.gate_proj(x.float())) * self.up_proj(x.float()))

    monkeypatch.setattr(LlamaMLP, "forward", single)
    entry = stored(save(tmp_path, make_module()))
    open_model(entry, reference=entry, compute=compute)
    with pytest.raises(ModelError, match="cannot be run on token ids in float64") as caught:
        open_model(entry, reference=entry, compute=compute.model_copy(update={"compute_dtype": "float64"}))
    assert "RuntimeError" in str(caught.value)


@pytest.mark.parametrize("kind", ["Llama", "Phi3", "Mistral"])
def test_an_overflow_of_float16_is_called_one(kind, tmp_path, compute):
    module = make_module(kind, initializer_range=0.5)
    for name, parameter in module.named_parameters():
        if "down_proj" in name:
            parameter.data = parameter.data * (3e4 / parameter.data.abs().max())
    entry = stored(save(tmp_path, module.to(torch.bfloat16)))
    with pytest.raises(ModelError, match="logits are not finite in float16") as caught:
        open_model(entry, reference=entry, compute=compute.model_copy(update={"compute_dtype": "float16"}))
    assert "take bfloat16 or float32" in str(caught.value)
    for dtype in ("bfloat16", "float32"):
        open_model(entry, reference=entry, compute=compute.model_copy(update={"compute_dtype": dtype}))


@pytest.mark.parametrize(
    ("kind", "changes", "longest"),
    [
        ("Llama", {"max_position_embeddings": 128, "hidden_size": 64, "num_attention_heads": 4}, 128),
        ("GPT2", {"n_positions": 96, "n_embd": 64, "n_head": 4}, 96),
        ("Mpt", {"max_seq_len": 80, "d_model": 64, "n_heads": 4}, 80),
        ("Whisper", {"max_target_positions": 72, "d_model": 48, "pad_token_id": 0}, 72),
        ("Roberta", {"max_position_embeddings": 66, "pad_token_id": 1, "hidden_size": 48}, 64),
        ("Mamba", {"hidden_size": 64, "state_size": 4}, math.inf),
        ("RecurrentGemma", {"hidden_size": 64, "num_attention_heads": 4, "lru_width": 64}, math.inf),
        ("Bloom", {"hidden_size": 64, "n_head": 4}, math.inf),
    ],
)
def test_the_longest_input_is_the_configurations_or_there_is_none(kind, changes, longest):
    config = getattr(transformers, f"{kind}Config")(vocab_size=64, **changes)
    with torch.device("meta"):
        assert context_length(transformers.AutoModelForCausalLM.from_config(config)) == longest
