"""Models that also see: only their text part is a causal language model, and it computes what the whole computes."""

import json

import pytest
import torch
import transformers
from tiny_models import SMALL, make_module, make_tokenizer, stored

from qkld.errors import ModelError
from qkld.models import open_model
from qkld.models.attention import torchs_attention
from validation import architectures

POSITIONS = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 8.0,
    "original_max_position_embeddings": 16,
    "llama_4_scaling_beta": 0.5,
}
"""As of Devstral Small 2: YaRN, and an attention temperature that rises beyond the original context."""

EYES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def make_whole(*, tied=False, **changes):
    """A random Mistral 3 with a vision tower, float32, eval mode."""
    torch.manual_seed(7)
    text = {**SMALL, "model_type": "ministral3", "rope_parameters": {**POSITIONS, **changes}}
    config = transformers.Mistral3Config(text_config=text, vision_config=EYES, tie_word_embeddings=tied)
    return transformers.Mistral3ForConditionalGeneration(config).eval()


@pytest.fixture
def save(tmp_path):
    def to_folder(module):
        module.save_pretrained(tmp_path / "model")
        make_tokenizer().save_pretrained(tmp_path / "model")
        return stored(tmp_path / "model")

    return to_folder


@pytest.fixture
def ids(rng):
    return torch.from_numpy(rng.integers(2, 300, (1, 64)))  # four times the original context


@pytest.mark.parametrize("tied", [False, True])
def test_the_text_part_gives_the_whole_model_s_logits(save, compute, ids, tied, caplog):
    whole = make_whole(tied=tied)
    entry = save(whole)
    opened = open_model(entry, reference=entry, compute=compute)
    assert "vision_tower" not in caplog.text
    assert isinstance(opened.module, transformers.Ministral3ForCausalLM)
    with torch.inference_mode():
        expected = whole(ids).logits[0, :, : opened.vocabulary]
    with torchs_attention(opened.module):
        assert torch.equal(opened.head.logits(opened.hidden(ids)[0]), expected)
    torch.testing.assert_close(opened.head.logits(opened.hidden(ids)[0]), expected, rtol=1e-4, atol=1e-5)
    assert opened.context_length == SMALL["max_position_embeddings"]


def test_the_attention_temperature_is_kept(ids):
    with torch.inference_mode():
        with_it, without = (make_whole(llama_4_scaling_beta=beta)(ids).logits[0] for beta in (0.5, 0.0))
    assert torch.equal(with_it[:16], without[:16])
    assert (with_it[16:] - without[16:]).abs().max() > 1e-3


@pytest.mark.parametrize("tied", [False, True])
def test_bits_are_of_the_text_part_alone(save, compute, tied):
    entry = save(make_whole(tied=tied))
    bits = open_model(entry, reference=entry, compute=compute).bits
    assert bits.bits_per_weight == bits.bits_per_trunk_weight == bits.bits_per_embedding_weight == 32
    assert (bits.head.weights == 0) == tied


def test_a_quantized_whole_is_refused_by_name(save, compute):
    entry = save(make_whole())
    file = entry.path + "/config.json"
    with open(file) as stream:
        config = json.load(stream)
    with open(file, "w") as stream:
        json.dump({**config, "quantization_config": {"quant_method": "fp8", "activation_scheme": "static"}}, stream)
    with pytest.raises(ModelError, match=r"(?s)text part of 'reference'.*plain weights.*Mistral3Config with a saved"):
        open_model(entry, reference=entry, compute=compute)


def test_a_model_that_only_reads_is_loaded_whole(save, compute):
    entry = save(make_module("Mistral"))
    assert isinstance(open_model(entry, reference=entry, compute=compute).module, transformers.MistralForCausalLM)


# --- wholes of other makers -------------------------------------------------------------------------------------------

MROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2]}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
TOWER = {"depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64}


def qwen_2_5_vl():
    text, eyes = {**SMALL, "rope_parameters": MROPE}, {**TOWER, "fullatt_block_indexes": [0]}
    return transformers.Qwen2_5_VLForConditionalGeneration(
        transformers.Qwen2_5_VLConfig(text_config=text, vision_config=eyes)
    )


def qwen_3_vl_moe():
    text = {**SMALL, **EXPERTS, "rope_parameters": MROPE}
    eyes = {**TOWER, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
    return transformers.Qwen3VLMoeForConditionalGeneration(
        transformers.Qwen3VLMoeConfig(text_config=text, vision_config=eyes)
    )


def glm_4_1_v():
    text = {**SMALL, "rope_parameters": {**MROPE, "partial_rotary_factor": 1.0}}
    return transformers.Glm4vForConditionalGeneration(
        transformers.Glm4vConfig(text_config=text, vision_config={**TOWER, "image_size": 28})
    )


def idefics_3():
    text = {**SMALL, "model_type": "llama"}
    return transformers.Idefics3ForConditionalGeneration(
        transformers.Idefics3Config(text_config=text, vision_config=EYES, scale_factor=1)
    )


def paligemma():
    text, eyes = {**SMALL, "model_type": "gemma"}, {**EYES, "model_type": "siglip_vision_model"}
    return transformers.PaliGemmaForConditionalGeneration(
        transformers.PaliGemmaConfig(text_config=text, vision_config=eyes, projection_dim=64, hidden_size=64)
    )


def voxtral():
    ears = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text, ears = {**SMALL, "model_type": "llama"}, {**ears, "num_mel_bins": 16, "max_source_positions": 16}
    return transformers.VoxtralForConditionalGeneration(transformers.VoxtralConfig(text_config=text, audio_config=ears))


WHOLES = [qwen_2_5_vl, qwen_3_vl_moe, glm_4_1_v, idefics_3, paligemma, voxtral]


@pytest.mark.parametrize("make", WHOLES)
def test_only_text_is_loaded_of_wholes_with_and_without_a_class_for_it(make, save, compute, ids):
    torch.manual_seed(7)
    whole = make().eval()
    entry = save(whole)
    opened = open_model(entry, reference=entry, compute=compute)
    with torch.inference_mode():
        expected = whole(input_ids=ids).logits[0, :, : opened.vocabulary]
    torch.testing.assert_close(opened.head.logits(opened.hidden(ids)[0]), expected, rtol=1e-4, atol=1e-5)
    assert not any("vis" in name or "audio" in name for name, _ in opened.module.named_modules())
    assert opened.bits.bits_per_weight == opened.bits.bits_per_trunk_weight == 32
    assert sum(p.numel() for p in opened.module.parameters()) < sum(p.numel() for p in whole.parameters())
    assert any("vis" in name or "audio" in name for name in opened.left_out)


def test_a_quantized_whole_without_a_class_for_its_text_is_run(tmp_path, save, compute, ids):
    torch.manual_seed(7)
    entry = save(qwen_2_5_vl().eval())
    config = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    quantized = transformers.AutoModelForImageTextToText.from_pretrained(entry.path, quantization_config=config)
    quantized.save_pretrained(tmp_path / "quant")
    make_tokenizer().save_pretrained(tmp_path / "quant")
    quant = open_model(stored(tmp_path / "quant", label="quant"), reference=entry, compute=compute)
    reference = open_model(entry, reference=entry, compute=compute)
    assert quant.bits.trunk.weights == reference.bits.trunk.weights
    assert quant.bits.bits_per_trunk_weight < 7
    difference = (quant.hidden(ids) - reference.hidden(ids)).norm() / reference.hidden(ids).norm()
    assert 1e-3 < difference < 0.3


@pytest.mark.parametrize("model_type", ["emu3", "mllama", "llama4", "moshi"])
def test_a_class_that_is_made_of_the_text_part_reads_it_out_of_the_whole_folder(model_type, tmp_path, compute, ids):
    architectures.save_small(model_type, tmp_path)
    entry = stored(tmp_path)
    opened = open_model(entry, reference=entry, compute=compute)
    named = json.loads((tmp_path / "config.json").read_text())["architectures"][0]
    whole = getattr(transformers, named).from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.inference_mode():
        expected = whole(input_ids=ids).logits[0, :, : opened.vocabulary]
    torch.testing.assert_close(opened.head.logits(opened.hidden(ids)[0]), expected, rtol=1e-4, atol=1e-4)
    assert opened.bits.bits_per_weight == 16
