"""One way to a loaded model: what is not quantized is the reference's, and quants start from what the files store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_architectures import ARCHITECTURES
from tiny_models import FACTS, make_module, save, stored

from qkld.errors import ModelError
from qkld.models import open_model
from qkld.models.experts import fused_experts
from qkld.models.loading import made_model, stored_model
from qkld.models.quantizers import torchao
from qkld.models.quantizers.quantized import trunk_linears
from qkld.study.entries import BitsandbytesModel, HqqModel, TorchaoModel

CPU = torch.device("cpu")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
QUANT = TorchaoModel(label="q", family="t", scheme="intx", bits=4, group_size=8, **FACTS)


def rewrite(folder: Path, change, said: str | None = None) -> Path:
    """The folder with every stored tensor changed by ``change(name, tensor)``, and with what config.json says."""
    file = folder / "model.safetensors"
    save_file({k: change(k, v).contiguous() for k, v in load_file(file).items()}, file, {"format": "pt"})
    if said is not None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "dtype": said}))
    return folder


def vectors_wide(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Norms, biases, A_log and the like in float32, with digits that bfloat16 has not; matrices as they are."""
    is_vector = tensor.ndim == 1 or "A_log" in name or "gate.weight" in name
    return tensor.float() * (1 + 3e-3 * torch.rand(tensor.shape)) if is_vector else tensor


def all_wide(name: str, tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() * (1 + 3e-3 * torch.rand(tensor.shape))


def opened_pair(folder, dtype, compute, entry=QUANT):
    how = {"compute": compute, "device": CPU, "dtype": dtype}
    reference = stored_model(folder, label="reference", **how)
    return reference, made_model(entry, folder, reference="reference", **how)


def quantized_names(module) -> set[str]:
    return {f"{name}.weight" for name in trunk_linears(module)} | {e.name for e in fused_experts(module)}


@pytest.mark.parametrize("change", [vectors_wide, all_wide])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_what_is_not_quantized_is_the_references(kind, change, tmp_path, compute):
    folder = rewrite(save(tmp_path, make_module(kind, **ARCHITECTURES[kind]).to(torch.bfloat16)), change, "bfloat16")
    for dtype in DTYPES:
        reference, quant = opened_pair(folder, dtype, compute)
        names = quantized_names(reference.module)
        expected, found = reference.module.state_dict(), quant.module.state_dict()
        assert names <= set(expected) == set(found)
        for name, tensor in expected.items():
            assert found[name].dtype == tensor.dtype, name
            assert name in names or torch.equal(found[name], tensor), name
        assert any(not torch.equal(found[name], expected[name]) for name in names)


@pytest.mark.parametrize("kind", ["Llama", "Phi", "Glm4Moe", "GptOss", "Qwen3Next", "GraniteMoeHybrid"])
def test_what_is_not_quantized_is_the_references_natively_too(kind, tmp_path, compute):
    folder = save(tmp_path, make_module(kind, **ARCHITECTURES[kind]).to(torch.bfloat16))
    rewrite(folder, vectors_wide, "bfloat16")
    for dtype in DTYPES:
        reference, quant = opened_pair(folder, dtype, compute.model_copy(update={"weights": "native"}))
        linear = {f"{name}.weight" for name in trunk_linears(reference.module)}
        found = dict(quant.module.named_parameters())
        for name, tensor in reference.module.named_parameters():
            if name not in linear:
                assert found[name].dtype == tensor.dtype, name
                assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("said", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("stored_dtype", DTYPES)
def test_quants_start_from_what_is_stored_whatever_config_says(stored_dtype, said, tmp_path, compute):
    folder = rewrite(save(tmp_path, make_module().to(stored_dtype)), lambda _, t: t, said)
    original = load_file(folder / "model.safetensors")["model.layers.1.mlp.down_proj.weight"]
    layer = torch.nn.Linear(*reversed(original.shape), bias=False)
    layer.weight = torch.nn.Parameter(original.clone(), requires_grad=False)
    expected = torchao.dense_weight(torchao.quantize(layer, QUANT))
    bits = set()
    for dtype in DTYPES:
        _, quant = opened_pair(folder, dtype, compute)
        assert torch.equal(quant.module.model.layers[1].mlp.down_proj.weight, expected.to(dtype))
        bits.add(quant.bits)
    assert len(bits) == 1


def test_norms_alone_in_float32_do_not_change_what_layers_are_quantized_from(tmp_path, compute):
    folder = rewrite(save(tmp_path, make_module().to(torch.bfloat16)), vectors_wide, "bfloat16")
    entries = {said: stored(rewrite(folder, lambda _, t: t, said)) for said in ("bfloat16", "float32")}
    opened = [open_model(QUANT, reference=entry, compute=compute) for entry in entries.values()]
    assert opened[0].weights_sha256 == opened[1].weights_sha256
    assert opened[0].bits == opened[1].bits


def test_layers_that_share_a_weight_share_it_once_quantized(tmp_path, compute):
    kind = ARCHITECTURES["Zamba2"] | {"num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid"] * 2}
    folder = save(tmp_path, make_module("Zamba2", **kind))
    reference, quant = opened_pair(folder, torch.float32, compute)
    shared = [n for n, p in reference.module.named_parameters(remove_duplicate=False)]
    assert len(shared) > len(list(reference.module.parameters()))
    assert len(list(quant.module.parameters())) == len(list(reference.module.parameters()))


@pytest.mark.parametrize("native", [False, True])
def test_hidden_states_are_of_the_dtype_that_is_declared(native, tiny, compute):
    entry = HqqModel(label="q", family="h", bits=4, group_size=32, **FACTS)
    for dtype in ("float32", "bfloat16"):
        settings = compute.model_copy(update={"compute_dtype": dtype, "weights": "native" if native else "dequantized"})
        opened = open_model(entry, reference=tiny, compute=settings)
        assert opened.hidden(torch.tensor([[1, 2, 3]])).dtype == opened.compute_dtype == getattr(torch, dtype)


NATIVE = [
    BitsandbytesModel(label="q", family="b", scheme="nf4", double_quant=False, **FACTS),
    HqqModel(label="q", family="h", bits=4, group_size=8, **FACTS),
    QUANT,
]


@pytest.mark.parametrize("entry", NATIVE, ids=lambda e: e.method)
def test_native_layers_whose_weight_the_model_takes_by_itself_are_refused_by_name(entry, tmp_path, compute):
    changes = {**ARCHITECTURES["Jamba"], "mamba_dt_rank": 8}
    reference = stored(save(tmp_path, make_module("Jamba", **changes)))
    native = compute.model_copy(update={"weights": "native"})
    with pytest.raises(ModelError, match=r"(?s)in model\.layers\.0\.mamba.*weights: dequantized"):
        open_model(entry, reference=reference, compute=native)
    assert open_model(entry, reference=reference, compute=compute).bits.plain_trunk_share < 0.5


@pytest.mark.parametrize("entry", NATIVE, ids=lambda e: e.method)
def test_layers_with_a_forward_pass_of_their_own_keep_it(entry, tmp_path, compute):
    reference = stored(save(tmp_path, make_module("Llama4Text", **ARCHITECTURES["Llama4Text"])))
    for weights in ("native", "dequantized"):
        opened = open_model(entry, reference=reference, compute=compute.model_copy(update={"weights": weights}))
        router = opened.module.model.layers[1].feed_forward.router
        assert type(router).__name__ == "Llama4Router"
