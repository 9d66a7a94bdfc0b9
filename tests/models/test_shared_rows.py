"""Which architectures keep packed texts apart, and that neither rounding nor a processor decides it."""

import pytest
import torch
import transformers
from lower_processors import LEVELS, printed_at
from tiny_models import FACTS, SMALL, make_module, save, stored

from qkld.models import open_model
from qkld.models.shared_rows import LARGEST, _small_module, supports_packing
from qkld.study.entries import BitsandbytesModel

pytestmark = pytest.mark.model

EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
KEEP_APART = {
    "llama": {},
    "llama-3.3-70b": {
        "like": "llama",
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
    },
    "qwen2": {"sliding_window": 64, "use_sliding_window": False},
    "qwen3": {},
    "qwen3_moe": EXPERTS,
    "mixtral": {"num_local_experts": 8},
    "olmoe": {"num_experts": 8, "num_experts_per_tok": 2},
    "deepseek_v3": {},
    "glm4": {},
    "gpt2": {},
    "gpt_neox": {},
    "gpt_bigcode": {},
    "opt": {},
    "falcon": {},
    "phi": {},
    "phi3": {"sliding_window": None},
    "granite": {},
    "cohere": {},
    "stablelm": {},
    "starcoder2": {},
    "smollm3": {},
    "got_ocr2": {},
}
MIX = {
    "mistral": {"sliding_window": 8},
    "gemma2": {},
    "gemma3": {},
    "gpt_oss": {},
    "llama4_text": {},
    "lfm2": {"layer_types": ["conv", "full_attention"], "num_hidden_layers": 2},
    "qwen3_next": {},
    "qwen3_5": {},
    "falcon_h1": {},
    "bamba": {},
    "jamba": {},
    "mamba": {},
    "recurrent_gemma": {},
    "rwkv": {},
    "bloom": {},
    "mpt": {},
    "gpt_neo": {},
    "bert": {"is_decoder": False},
    "bart": {},
}


def config_of(name, changes):
    given = dict(changes)
    return transformers.AutoConfig.for_model(given.pop("like", name), **given)


@pytest.mark.parametrize("name", KEEP_APART)
def test_architectures_that_keep_packed_texts_apart(name):
    config = config_of(name, KEEP_APART[name])
    before = config.to_dict()
    assert supports_packing(config)
    assert config.to_dict() == before


@pytest.mark.parametrize("name", MIX)
def test_architectures_whose_texts_would_see_each_other(name):
    assert not supports_packing(config_of(name, MIX[name]))


def test_an_architecture_that_ignores_the_mask_is_noticed(monkeypatch):
    from transformers.models.llama import modeling_llama

    own = modeling_llama.create_causal_mask
    monkeypatch.setattr(modeling_llama, "create_causal_mask", lambda **given: own(**{**given, "attention_mask": None}))
    assert not supports_packing(transformers.LlamaConfig(**SMALL))


def test_an_architecture_that_ignores_its_positions_is_noticed(monkeypatch):
    from transformers.models.gpt2.modeling_gpt2 import GPT2Model

    own = GPT2Model.forward
    monkeypatch.setattr(GPT2Model, "forward", lambda self, *a, position_ids=None, **more: own(self, *a, **more))
    assert not supports_packing(transformers.GPT2Config())


def test_a_large_model_is_tried_small():
    config = config_of("llama-3.3-70b", KEEP_APART["llama-3.3-70b"])
    assert sum(p.numel() for p in _small_module(config).parameters()) < LARGEST / 10


def test_trying_leaves_the_random_numbers_of_others_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    supports_packing(transformers.LlamaConfig(**SMALL))
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("level", LEVELS)
def test_every_processor_decides_alike(level):
    code = (
        "import transformers as t; from qkld.models.shared_rows import supports_packing as packs\n"
        "print([packs(t.AutoConfig.for_model(n)) for n in ('llama', 'qwen3_moe', 'gpt2', 'deepseek_v3', 'bart')])"
    )
    assert printed_at(level, code) == "[True, True, True, True, False]\n"


@pytest.mark.parametrize("scheme", [None, "nf4", "int8"])
def test_rounding_however_large_decides_nothing(scheme, tiny, compute, monkeypatch):
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer

    own = LlamaDecoderLayer.forward

    def rounded(self, hidden, *more, **named):
        """A layer that rounds in float32 as no machine does: to per cent, and otherwise at every place of a row."""
        out = own(self, hidden, *more, **named)
        places = torch.arange(out.shape[1], dtype=out.dtype)[:, None]
        return out * (1 + 0.05 * torch.sin(places)) if out.dtype == torch.float32 else out

    monkeypatch.setattr(LlamaDecoderLayer, "forward", rounded)
    quant = BitsandbytesModel(label=scheme, family="x", scheme=scheme, **FACTS) if scheme else tiny
    assert open_model(quant, reference=tiny, compute=compute).supports_packing


def test_a_quant_of_an_architecture_that_is_not_packed_runs_in_rows(tmp_path, tiny, compute):
    sliding = stored(save(tmp_path, make_module("Mistral", sliding_window=8)), label="sliding")
    assert not open_model(sliding, reference=tiny, compute=compute).supports_packing
    assert not open_model(tiny.model_copy(update={"label": "x"}), reference=sliding, compute=compute).supports_packing
