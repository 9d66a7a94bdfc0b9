"""Fused experts: torchao quantizes each matrix along its inputs; the other libraries leave them, and bits say so."""

from __future__ import annotations

import pytest
import torch
from tiny_architectures import ARCHITECTURES
from tiny_models import FACTS, make_module, save, stored

from qkld.analysis.cohort import plain_warning
from qkld.errors import ModelError
from qkld.models import open_model
from qkld.models.experts import fused_experts
from qkld.study.entries import BitsandbytesModel, HqqModel, TorchaoModel

IDS = torch.tensor([[1, 40, 41, 42, 43, 7, 8, 9]])
TRANSPOSED = ("GptOss", "Llama4Text")
MOE = ("Qwen3Moe", "Mixtral", "Glm4Moe", "DeepseekV3", "Ernie4_5_Moe", "Qwen3Next", "GraniteMoeHybrid", *TRANSPOSED)


def torchao_entry(scheme="intx", bits=4, group_size=32):
    return TorchaoModel(label="q", family="t", scheme=scheme, bits=bits, group_size=group_size, **FACTS)


SCHEMES = {
    "intx4-g32": torchao_entry(),
    "intx4-g16": torchao_entry(group_size=16),
    "int8": torchao_entry("int8", None, None),
    "float8": torchao_entry("float8", None, None),
}


def by_library(matrix: torch.Tensor, entry: TorchaoModel) -> torch.Tensor:
    """torchao's own call on a matrix (out, in), and the values it stands for."""
    import torchao.quantization as ao

    layer = torch.nn.Linear(matrix.shape[1], matrix.shape[0], bias=False)
    layer.weight = torch.nn.Parameter(matrix.clone(), requires_grad=False)
    config = {
        "intx": lambda: ao.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=ao.PerGroup(entry.group_size)),
        "int8": lambda: ao.Int8WeightOnlyConfig(granularity=ao.PerRow()),
        "float8": lambda: ao.Float8WeightOnlyConfig(granularity=ao.PerRow()),
    }[entry.scheme]()
    ao.quantize_(layer, config)
    return layer.weight.dequantize()


def naive(module, entry, kind):
    """Every linear layer of the trunk, and every expert's matrix, quantized in a loop."""
    with torch.no_grad():
        for name, layer in module.named_modules():
            if isinstance(layer, torch.nn.Linear) and name != "lm_head":
                layer.weight.copy_(by_library(layer.weight.to(torch.bfloat16), entry))
            elif name.endswith(".experts"):
                for key in ("gate_up_proj", "down_proj"):
                    for matrix in getattr(layer, key).data:
                        own = matrix.T if kind in TRANSPOSED else matrix
                        made = by_library(own.to(torch.bfloat16).contiguous(), entry)
                        matrix.copy_(made.T if kind in TRANSPOSED else made)
    return module


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", MOE)
def test_experts_are_quantized_as_a_loop_over_them_would(kind, scheme, tmp_path, compute):
    changes = ARCHITECTURES[kind]
    folder = save(tmp_path, make_module(kind, **changes).to(torch.bfloat16))
    entry, reference = SCHEMES[scheme], stored(folder)
    opened = open_model(entry, reference=reference, compute=compute)
    plain = open_model(reference, reference=reference, compute=compute)
    exact = plain.hidden(IDS)
    expected = naive(plain.module, entry, kind)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(opened.module.state_dict()[name], tensor), name
    logits = [m.head.logits(m.hidden(IDS)[0]).double().log_softmax(-1) for m in (plain, opened)]
    assert torch.equal(logits[0], logits[1])
    assert not torch.allclose(opened.hidden(IDS), exact)
    assert opened.bits.plain_trunk_share < 0.05
    assert opened.bits.bits_per_trunk_weight < 9


@pytest.mark.parametrize("kind", MOE)
def test_bits_of_experts_are_their_integers_and_scales(kind, tmp_path, compute):
    module = make_module(kind, **ARCHITECTURES[kind]).to(torch.bfloat16)
    entry = stored(save(tmp_path, module))
    before = open_model(entry, reference=entry, compute=compute).bits.trunk
    made = open_model(SCHEMES["intx4-g16"], reference=entry, compute=compute).bits.trunk
    quantized = made.weights - made.plain
    experts = sum(e.parameter.numel() for e in fused_experts(module))
    linear = [m for n, m in module.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head"]
    assert quantized == experts + sum(m.weight.numel() for m in linear)
    assert before.bits - made.bits == (16 - 4 - 1) * quantized


@pytest.mark.parametrize(
    "entry",
    [
        BitsandbytesModel(label="q", family="b", scheme="nf4", double_quant=False, **FACTS),
        HqqModel(label="q", family="h", bits=4, group_size=32, **FACTS),
    ],
    ids=["nf4", "hqq"],
)
@pytest.mark.parametrize("kind", ["Qwen3Moe", "GptOss"])
def test_what_a_library_leaves_alone_is_said(entry, kind, tmp_path, compute):
    reference = stored(save(tmp_path, make_module(kind, **ARCHITECTURES[kind]).to(torch.bfloat16)))
    opened = open_model(entry, reference=reference, compute=compute)
    plain = open_model(reference, reference=reference, compute=compute).module
    experts = fused_experts(opened.module)
    assert experts
    for one in experts:
        assert torch.equal(one.parameter, plain.get_parameter(one.name))
    share = opened.facts()["plain_trunk_share"]
    assert share > sum(e.parameter.numel() for e in experts) / opened.bits.trunk.weights > 0.3
    assert f"{100 * share:.1f} %" in plain_warning("q", share)


def test_a_group_that_does_not_divide_an_expert_is_refused_by_name(tmp_path, compute):
    changes = {**ARCHITECTURES["Qwen3Moe"], "moe_intermediate_size": 48}
    reference = stored(save(tmp_path, make_module("Qwen3Moe", **changes)))
    with pytest.raises(ModelError, match=r"(?s)layers\.0\.mlp\.experts\.down_proj.*multiple of 32.*48"):
        open_model(SCHEMES["intx4-g32"], reference=reference, compute=compute)


def test_warnings_begin_above_five_percent_and_are_silent_on_the_unknown():
    assert plain_warning("q", 0.05) is plain_warning("q", None) is plain_warning("q", float("nan")) is None
    assert plain_warning("q", 0.051)
