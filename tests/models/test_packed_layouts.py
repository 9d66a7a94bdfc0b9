"""Checkpoints whose weights lie packed beside their scales: all of it counts, and the weights are those meant."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_architectures import ARCHITECTURES
from tiny_models import make_module, make_tokenizer, save, stored

from qkld.errors import ModelError
from qkld.models import open_model
from qkld.models.experts import fused_experts

BLOCK = 32
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [BLOCK, BLOCK], "fmt": "e4m3"}
MXFP4 = {
    "quant_method": "mxfp4",
    "modules_to_not_convert": [
        "model.layers.*.self_attn",
        "model.layers.*.mlp.router",
        "model.embed_tokens",
        "lm_head",
    ],
}


def half(kind):
    return make_module(kind, **ARCHITECTURES[kind]).to(torch.bfloat16)


def repacked(folder: Path, pack, quantization) -> Path:
    """The folder with each tensor replaced by what ``pack(name, tensor)`` makes of it."""
    file = folder / "model.safetensors"
    tensors = {k: v for name, tensor in load_file(file).items() for k, v in pack(name, tensor).items()}
    save_file(tensors, file, {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": quantization}))
    return folder


def is_quantized(name: str, tensor: torch.Tensor) -> bool:
    return tensor.ndim == 2 and not any(part in name for part in ("embed", "lm_head", "gate.weight"))


def to_fp8(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """Blocks of 32 × 32 with a scale each, as DeepSeek V3 is published."""
    if not is_quantized(name, tensor):
        return {name: tensor}
    rows, columns = (math.ceil(size / BLOCK) for size in tensor.shape)
    padded = torch.nn.functional.pad(
        tensor.float(), (0, columns * BLOCK - tensor.shape[1], 0, rows * BLOCK - tensor.shape[0])
    )
    blocks = padded.reshape(rows, BLOCK, columns, BLOCK)
    scale = blocks.abs().amax((1, 3)) / 448
    packed = (blocks / scale[:, None, :, None]).reshape(padded.shape)[: tensor.shape[0], : tensor.shape[1]]
    return {name: packed.to(torch.float8_e4m3fn).contiguous(), f"{name}_scale_inv": scale}


@pytest.mark.parametrize("kind", ["Llama", "Qwen3Moe", "DeepseekV3", "Qwen3Next"])
def test_fp8_in_blocks_is_eight_bits_and_its_scales(kind, tmp_path, compute):
    reference = stored(save(tmp_path / "plain", half(kind)))
    quant = stored(repacked(save(tmp_path / "fp8", half(kind)), to_fp8, FP8), label="quant")
    files = load_file(Path(quant.path) / "model.safetensors")
    for dtype in ("float32", "bfloat16"):
        opened = open_model(quant, reference=reference, compute=compute.model_copy(update={"compute_dtype": dtype}))
        name = next(n for n in files if n.endswith("self_attn.o_proj.weight"))
        scale = files[f"{name}_scale_inv"].repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)
        meant = files[name].float() * scale[: files[name].shape[0], : files[name].shape[1]]
        assert torch.equal(opened.module.get_parameter(name), meant.to(opened.compute_dtype))
    plain = open_model(reference, reference=reference, compute=compute)
    assert opened.bits.trunk.weights == plain.bits.trunk.weights
    quantized = {n for n, t in files.items() if t.dtype == torch.float8_e4m3fn}
    scales = sum(32 * t.numel() for n, t in files.items() if n.endswith("_scale_inv"))
    weights = sum(files[n].numel() for n in quantized)
    assert opened.bits.trunk.weights - opened.bits.trunk.plain == weights
    assert opened.bits.trunk.bits == 8 * weights + scales + 16 * opened.bits.trunk.plain
    assert not opened.left_out


def to_mxfp4(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """Random blocks of 32 four-bit numbers along the inputs with one exponent each, as GPT-OSS is published."""
    if tensor.ndim != 3:
        return {name: tensor}
    experts, inputs, outputs = tensor.shape
    shape = (experts, outputs, inputs // 32)
    return {
        f"{name}_blocks": torch.randint(0, 255, (*shape, 16), dtype=torch.uint8),
        f"{name}_scales": torch.randint(118, 124, shape, dtype=torch.uint8),
    }


def test_mxfp4_experts_are_four_and_a_quarter_bits(tmp_path, compute):
    reference = stored(save(tmp_path / "plain", half("GptOss")))
    quant = stored(repacked(save(tmp_path / "mxfp4", half("GptOss")), to_mxfp4, MXFP4), label="quant")
    opened = open_model(quant, reference=reference, compute=compute)
    experts = sum(e.parameter.numel() for e in fused_experts(opened.module))
    trunk = opened.bits.trunk
    assert (trunk.weights - trunk.plain, trunk.bits) == (experts, 4.25 * experts + 16 * trunk.plain)
    assert not opened.left_out


@pytest.mark.parametrize(("kind", "pack", "config"), [("Llama", to_fp8, FP8), ("GptOss", to_mxfp4, MXFP4)])
def test_layers_that_transformers_dequantized_are_not_called_native(kind, pack, config, tmp_path, compute, monkeypatch):
    """As on a machine without a GPU, which may run them natively."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    entry = stored(repacked(save(tmp_path, half(kind)), pack, config))
    with pytest.raises(ModelError, match=r"(?s)cannot be run natively here.*weights: dequantized"):
        open_model(entry, reference=entry, compute=compute.model_copy(update={"weights": "native"}))


def by_transformers(reference, target, config):
    module = transformers.AutoModelForCausalLM.from_pretrained(
        reference.path, quantization_config=config, dtype=torch.bfloat16
    )
    return stored(save(target, module, make_tokenizer()), label="quant")


def test_experts_that_torchao_saved_quantized_are_dequantized_and_counted(tmp_path, compute):
    from torchao.quantization import FqnToConfig, Int8WeightOnlyConfig

    names = (r"re:.*experts\.(gate_up|down)_proj", r"re:.*self_attn\..*_proj")
    config = transformers.TorchAoConfig(FqnToConfig(OrderedDict.fromkeys(names, Int8WeightOnlyConfig())))
    reference = stored(save(tmp_path / "plain", half("Qwen3Moe")))
    quant = by_transformers(reference, tmp_path / "quant", config)
    opened = open_model(quant, reference=reference, compute=compute)
    plain = open_model(reference, reference=reference, compute=compute)
    for one in fused_experts(opened.module):
        assert type(one.parameter) is torch.nn.Parameter
        difference = (one.parameter - plain.module.get_parameter(one.name)).abs().max()
        assert 0 < difference < 0.01 * plain.module.get_parameter(one.name).abs().max()
    assert opened.bits.plain_trunk_share < 0.05
    assert 8 < opened.bits.bits_per_trunk_weight < 9.5  # scales in float32 weigh much in 64 columns
    with pytest.raises(ModelError, match=r"in model\.layers\.0\.mlp\.experts"):
        open_model(quant, reference=reference, compute=compute.model_copy(update={"weights": "native"}))


@pytest.mark.parametrize("kind", ["Qwen3Moe", "DeepseekV3", "Jamba", "GptOss"])
def test_experts_that_bitsandbytes_saved_plain_are_said_to_be(kind, tmp_path, compute):
    reference = stored(save(tmp_path / "plain", half(kind)))
    config = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    opened = open_model(by_transformers(reference, tmp_path / "q", config), reference=reference, compute=compute)
    experts = sum(e.parameter.numel() for e in fused_experts(opened.module))
    assert opened.bits.plain_trunk_share >= experts / opened.bits.trunk.weights > 0.2
    assert opened.bits.embedding.bits == 16 * opened.bits.embedding.weights


def test_packed_files_without_a_word_in_config_are_not_called_damaged(tmp_path, compute):
    folder = repacked(save(tmp_path, half("Llama")), lambda n, t: {n.replace("weight", "W_q"): t.to(torch.int8)}, None)
    with pytest.raises(ModelError, match=r"(?s)missing.*config\.json names no quantization"):
        open_model(stored(folder), reference=stored(folder), compute=compute)
