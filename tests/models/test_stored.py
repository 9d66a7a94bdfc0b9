"""Bits a weight run over what was loaded: a bfloat16 file has 16.000 in every part, whatever lies beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_architectures import ARCHITECTURES, DELTA_NET
from tiny_models import FACTS, SMALL, make_module, make_tokenizer, save, stored

from qkld.errors import ModelError, TokenizerError
from qkld.models import open_model
from qkld.models.folders import model_folder, weight_files
from qkld.models.loading import made_model, stored_model
from qkld.study.entries import TorchaoModel

EYES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
EYES |= {"image_size": 28, "patch_size": 14}


def half(kind="Llama", **changes):
    return make_module(kind, **{**ARCHITECTURES.get(kind, {}), **changes}).to(torch.bfloat16)


def bits_of(folder, compute):
    how = {"compute": compute, "device": torch.device("cpu"), "dtype": torch.float32}
    return stored_model(folder, label="reference", **how)


def assert_sixteen(loaded):
    bits, module = loaded.bits, loaded.module
    for part in (bits.trunk, bits.embedding, bits.head):
        assert part.bits == 16 * part.weights
        assert part.plain == part.weights
    weights = sum(p.numel() for p in module.parameters())
    assert bits.trunk.weights + bits.embedding.weights + bits.head.weights == weights


def change(folder: Path, by) -> Path:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    save_file({**tensors, **by(tensors)}, file, {"format": "pt"})
    return folder


def cast_all(folder: Path) -> Path:
    """Every tensor in bfloat16, also those that transformers saves in float32."""
    return change(folder, lambda tensors: {k: v.to(torch.bfloat16) for k, v in tensors.items()})


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_architecture_has_sixteen_bits(kind, tmp_path, compute):
    loaded = bits_of(cast_all(save(tmp_path, half(kind))), compute)
    assert_sixteen(loaded)
    assert not loaded.left_out


def whole_gemma(tied=True):
    text = {**SMALL, "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 32}
    config = transformers.Gemma3Config(
        text_config=text, vision_config=EYES, mm_tokens_per_image=4, tie_word_embeddings=tied
    )
    return transformers.Gemma3ForConditionalGeneration(config)


def whole_qwen():
    eyes = {"depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64}
    config = transformers.Qwen3_5Config(
        text_config={**SMALL, **DELTA_NET}, vision_config={**eyes, "num_position_embeddings": 16}
    )
    return transformers.Qwen3_5ForConditionalGeneration(config)


def whole_llava():
    eyes = {**EYES, "projection_dim": 16, "model_type": "clip_vision_model"}
    text = {**SMALL, "model_type": "llama"}
    return transformers.LlavaForConditionalGeneration(transformers.LlavaConfig(text_config=text, vision_config=eyes))


@pytest.mark.parametrize("whole", [whole_gemma, whole_qwen, whole_llava])
def test_models_that_also_see_count_their_text_part(whole, tmp_path, compute):
    torch.manual_seed(7)
    loaded = bits_of(cast_all(save(tmp_path, whole().to(torch.bfloat16))), compute)
    assert_sixteen(loaded)
    assert not any("vis" in name for name, _ in loaded.module.named_modules())
    assert any("vis" in name for name in loaded.left_out)


def test_text_is_quantized_and_what_sees_is_not_loaded(tmp_path, compute):
    torch.manual_seed(7)
    folder = save(tmp_path, whole_gemma().to(torch.bfloat16))
    entry = TorchaoModel(label="q", family="t", scheme="intx", bits=4, group_size=32, **FACTS)
    how = {"compute": compute, "device": torch.device("cpu"), "dtype": torch.float32}
    made = made_model(entry, folder, reference="reference", **how)
    assert made.bits.embedding.bits == 16 * made.bits.embedding.weights
    linear = sum(m.weight.numel() for n, m in made.module.named_modules() if n.endswith("_proj"))
    assert made.bits.trunk.weights - made.bits.trunk.plain == linear
    assert made.bits.trunk.bits == 4.5 * linear + 16 * made.bits.trunk.plain


def test_a_second_copy_of_the_weights_is_not_counted(tmp_path, compute):
    folder = save(tmp_path, half())
    (folder / "original").mkdir()
    for copy in ("consolidated.safetensors", "original/model.safetensors"):
        shutil.copy(folder / "model.safetensors", folder / copy)
    loaded = bits_of(folder, compute)
    assert_sixteen(loaded)
    assert list(loaded.left_out) == ["consolidated.safetensors"]


def test_a_shard_that_the_index_does_not_name_is_not_counted(tmp_path, compute):
    half().save_pretrained(tmp_path, max_shard_size="60KB")
    make_tokenizer().save_pretrained(tmp_path)
    shards = weight_files(tmp_path)
    assert len(shards) > 2
    shutil.copy(shards[0], tmp_path / "model-00009-of-00009.safetensors")
    loaded = bits_of(tmp_path, compute)
    assert_sixteen(loaded)
    assert list(loaded.left_out) == ["model-00009-of-00009.safetensors"]
    shards[1].unlink()
    with pytest.raises(ModelError, match=r"(?s)are missing.*index\.json"):
        model_folder(stored(tmp_path))


@pytest.mark.parametrize("kind", ["Glm4Moe", "DeepseekV3", "Qwen3Next", "Llama"])
def test_layers_that_predict_further_tokens_are_named_and_not_counted(kind, tmp_path, compute):
    def further(tensors):
        layer = {k.replace("layers.1.", "layers.2."): v.clone() for k, v in tensors.items() if "layers.1." in k}
        return layer | {"mtp.fc.weight": torch.zeros(64, 128, dtype=torch.bfloat16)}

    loaded = bits_of(change(cast_all(save(tmp_path, half(kind))), further), compute)
    assert_sixteen(loaded)
    assert set(loaded.left_out) == {"model.layers.2", "mtp"}


@pytest.mark.parametrize("equal", [True, False])
def test_a_stored_head_of_tied_embeddings_counts_where_it_is_another(equal, tmp_path, compute):
    def head(tensors):
        copy = tensors["model.embed_tokens.weight"].clone()
        return {"lm_head.weight": copy if equal else copy + 1}

    loaded = bits_of(change(save(tmp_path, half(tie_word_embeddings=True)), head), compute)
    assert_sixteen(loaded)
    assert (loaded.bits.head.weights == 0) == equal
    assert loaded.left_out == ({"lm_head": 1} if equal else {})


def test_tied_embeddings_stored_as_the_head_are_the_embeddings(tmp_path, compute):
    folder = save(tmp_path, half(tie_word_embeddings=True))
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")
    save_file(tensors, file, {"format": "pt"})
    loaded = bits_of(folder, compute)
    assert_sixteen(loaded)
    assert loaded.bits.embedding.weights == 320 * 64


def test_tensors_in_float32_count_as_such(tmp_path, compute):
    wide = ("norm", "A_log", "shared_expert_gate")
    folder = cast_all(save(tmp_path, half("Qwen3Next")))
    change(folder, lambda tensors: {k: v.float() for k, v in tensors.items() if any(w in k for w in wide)})
    bits = bits_of(folder, compute).bits
    tensors = load_file(folder / "model.safetensors").values()
    assert bits.trunk.bits + bits.embedding.bits + bits.head.bits == sum(8 * t.nbytes for t in tensors)


# --- what is no model -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"])
def test_adapters_are_refused_and_not_ignored(file, beside, tmp_path, tiny, compute):
    folder = save(tmp_path, half())
    if not beside:
        (folder / "model.safetensors").unlink()
    (folder / file).write_bytes(b"{}")
    with pytest.raises(ModelError, match=rf"(?s)contains an adapter.*{file}.*merge"):
        open_model(stored(folder, label="quant"), reference=tiny, compute=compute)


def test_a_folder_without_tokenizer_is_refused(tmp_path, tiny, compute):
    half().save_pretrained(tmp_path)
    with pytest.raises(TokenizerError, match=r"(?s)no readable tokenizer.*copy the tokenizer"):
        open_model(stored(tmp_path, label="quant"), reference=tiny, compute=compute)


@pytest.mark.parametrize("content", ["{", "[]", '{"weight_map": {}}', '{"weight_map": {"a": 1}}', "{}"])
def test_a_damaged_index_is_refused(content, tmp_path):
    folder = save(tmp_path, half())
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ModelError, match=r"index\.json cannot be read"):
        model_folder(stored(folder))


@pytest.mark.parametrize("model_type", ["t5", "vit", "clip"])
def test_what_is_no_language_model_is_refused_in_one_sentence(model_type, tmp_path, compute):
    folder = save(tmp_path, half())
    config = transformers.AutoConfig.for_model(model_type)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    with pytest.raises(ModelError) as caught:
        open_model(stored(folder), reference=stored(folder), compute=compute)
    assert "cannot be measured as a language model" in str(caught.value)
    assert len(str(caught.value)) < 500
