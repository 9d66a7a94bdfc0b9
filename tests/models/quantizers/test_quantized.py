"""Quants made here, on a random Llama: values against the literature's formulas, bits against a count by hand."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_models import FACTS, make_module, save, stored

from qkld.errors import ModelError, SourceError
from qkld.models import open_model
from qkld.models.quantizers.quantized import dequantize, quantize_trunk, trunk_linears
from qkld.study.entries import BitsandbytesModel, HqqModel, TorchaoModel

IDS = torch.tensor([[0, 40, 41, 42, 43, 7, 8, 9]])


def torchao(bits=None, group_size=32, scheme="intx", **more):
    return TorchaoModel(label="q", family="t", scheme=scheme, bits=bits, group_size=group_size, **FACTS, **more)


def bitsandbytes(scheme, double_quant=False):
    return BitsandbytesModel(label="q", family="b", scheme=scheme, double_quant=double_quant, **FACTS)


def hqq(bits, group_size=32):
    return HqqModel(label="q", family="h", bits=bits, group_size=group_size, **FACTS)


ALL = {
    **{f"intx{b}": torchao(b) for b in range(1, 9)},
    **{f"intx{b}-asymmetric": torchao(b, mapping="asymmetric") for b in range(1, 9)},
    "intx4-a-row": torchao(4, group_size=None),
    "int8": torchao(scheme="int8", group_size=None),
    "float8": torchao(scheme="float8", group_size=None),
    "bnb-int8": bitsandbytes("int8"),
    "nf4": bitsandbytes("nf4"),
    "fp4": bitsandbytes("fp4"),
    "nf4-double": bitsandbytes("nf4", double_quant=True),
    **{f"hqq{b}": hqq(b) for b in (8, 6, 5, 4, 3, 2)},
}


def weight_of(entry, module=None):
    """The first MLP weight before and after quantization, and the bits of the whole."""
    module = module or make_module()
    before = module.model.layers[0].mlp.up_proj.weight.detach().clone()
    bits = quantize_trunk(module, entry)
    dequantize(module, torch.float32)
    return before, module.model.layers[0].mlp.up_proj.weight.detach(), bits


@pytest.mark.parametrize("name", ALL)
def test_dequantized_layers_are_plain_and_the_head_is_untouched(name):
    module, entry = make_module(), ALL[name]
    untouched = {n: p.clone() for n, p in module.named_parameters() if "proj" not in n}
    names = list(trunk_linears(module))
    quantize_trunk(module, entry)
    dequantize(module, torch.float32)
    assert list(trunk_linears(module)) == names
    for parameter_name, parameter in module.named_parameters():
        assert type(parameter) is torch.nn.Parameter
        assert parameter.dtype == torch.float32
        if parameter_name in untouched:
            assert torch.equal(parameter, untouched[parameter_name])


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8])
def test_torchao_symmetric_is_round_to_nearest_by_group(bits):
    before, after, _ = weight_of(torchao(bits))
    groups = before.reshape(-1, 32).double()
    top = 2 ** (bits - 1)
    scale = (groups.abs().amax(1, keepdim=True) / ((2**bits - 1) / 2)).float().double()
    literal = (groups / scale).round().clamp(-top, top - 1) * scale
    is_tie = ((groups / scale).abs() % 1 - 0.5).abs() < 1e-4  # the largest of a group: either way is right
    after = after.reshape(-1, 32).double()
    torch.testing.assert_close(after[~is_tie], literal[~is_tie], rtol=1e-5, atol=1e-7)
    assert ((after - groups).abs()[is_tie] <= 0.5001 * scale.expand_as(groups)[is_tie]).all()


def test_int8_a_row_by_two_libraries_is_absmax_over_127():
    before, by_torchao, _ = weight_of(ALL["int8"])
    _, by_bitsandbytes, _ = weight_of(ALL["bnb-int8"])
    step = before.abs().amax(1, keepdim=True) / 127
    assert ((by_torchao - before).abs() <= step * 0.501).all()
    assert ((by_bitsandbytes - before).abs() <= step * 0.57).all()  # it rounds the weights to float16 first


def test_nf4_takes_the_sixteen_values_of_its_paper():
    before, after, _ = weight_of(ALL["nf4"])
    levels = (after.reshape(-1, 64) / before.reshape(-1, 64).abs().amax(1, keepdim=True)).flatten()
    found = sorted({round(v, 4) for v in levels.tolist()})
    paper = [-1.0, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0.0, 0.0796, 0.1609, 0.2461, 0.3379, 0.4407]
    paper += [0.5626, 0.7230, 1.0]  # Dettmers et al. 2023, appendix E
    assert found == pytest.approx(paper, abs=2e-4)


@pytest.mark.parametrize("name", ["nf4", "fp4", "bnb-int8", "intx4", "intx8-asymmetric", "float8", "hqq4", "hqq3"])
def test_native_layers_compute_with_the_weights_that_dequantization_gives(name):
    native, plain = make_module(), make_module()
    quantize_trunk(native, ALL[name])
    quantize_trunk(plain, ALL[name])
    dequantize(plain, torch.float32)
    with torch.inference_mode():
        by_library, by_weights = native(IDS).logits, plain(IDS).logits
    coarse = name in ("bnb-int8", "nf4", "fp4")  # activations in int8; bfloat16 on CPUs that have it
    relative = ((by_library - by_weights).norm() / by_weights.norm()).item()
    assert relative < (0.02 if coarse else 1e-3)


@pytest.mark.parametrize(
    ("name", "a_weight"),
    [
        ("intx4", 4 + 32 / 32),
        ("intx3", 3 + 32 / 32),
        ("intx8", 8 + 32 / 32),
        ("intx4-asymmetric", 4 + (32 + 8) / 32),
        ("nf4", 4 + 32 / 64),
        ("hqq4", 4 + 32 / 32),
        ("hqq8", 8 + 32 / 32),
        ("hqq6", 6 + 32 / 32),
        ("hqq2", 2 + 32 / 32),
    ],
)
def test_bits_are_the_integers_and_all_that_goes_with_them(name, a_weight):
    module = make_module()
    linear = sum(layer.weight.numel() for layer in trunk_linears(module).values())
    norms = sum(p.numel() for n, p in module.named_parameters() if "norm" in n)
    _, _, bits = weight_of(ALL[name], module)
    assert bits.trunk.weights == linear + norms
    assert bits.bits_per_trunk_weight == pytest.approx((a_weight * linear + 32 * norms) / (linear + norms), rel=1e-9)


def test_double_quantization_stores_its_scales_in_fewer_bits():
    module = make_module()
    blocks = [layer.weight.numel() // 64 for layer in trunk_linears(module).values()]
    _, _, double = weight_of(ALL["nf4-double"])
    _, _, single = weight_of(ALL["nf4"])
    saved = sum(32 * b - (8 * b + 32 * math.ceil(b / 256) + 32) for b in blocks)
    assert single.trunk.bits - double.trunk.bits == saved


@pytest.mark.parametrize("name", ["nf4", "bnb-int8"])
def test_making_a_quant_draws_no_random_numbers(name):
    module, before = make_module(), torch.get_rng_state()
    quantize_trunk(module, ALL[name])
    assert torch.equal(torch.get_rng_state(), before)


def test_finer_quants_are_closer():
    for family in (torchao, hqq):
        errors = [(lambda b, a, _: (a - b).norm().item())(*weight_of(family(bits))) for bits in (8, 6, 5, 4, 3, 2)]
        assert errors == sorted(errors)


def test_a_group_that_does_not_divide_a_layer_is_refused_by_name(tmp_path, tiny, compute):
    with pytest.raises(ModelError, match=r"layers\.0\.self_attn\.q_proj") as caught:
        open_model(torchao(4, group_size=48), reference=tiny, compute=compute)
    assert "multiple of 48" in str(caught.value)
    with pytest.raises(ModelError, match="not a multiple of the group size"):
        open_model(hqq(4, group_size=128), reference=tiny, compute=compute)


def test_a_model_without_linear_layers_is_refused(tmp_path, compute):
    module = make_module("GPT2", n_embd=64, n_layer=2, n_head=4, n_positions=128)
    with pytest.raises(ModelError, match="no layers to quantize"):
        open_model(torchao(4), reference=stored(save(tmp_path, module)), compute=compute)


@pytest.mark.parametrize("name", ["nf4", "fp4", "bnb-int8"])
def test_layers_of_gpt_2_are_quantized_along_their_inputs(name, tmp_path, compute):
    import bitsandbytes

    module = make_module("GPT2", n_embd=64, n_layer=2, n_head=4, n_positions=128).to(torch.bfloat16)
    reference = stored(save(tmp_path, module))
    opened = open_model(ALL[name], reference=reference, compute=compute)
    matrix = module.transformer.h[1].mlp.c_fc.weight.detach().T.contiguous()  # (out, in)
    if name == "bnb-int8":
        integers, scale, _ = bitsandbytes.functional.int8_vectorwise_quant(matrix.to(torch.float16))
        expected = integers.float() * (scale / 127)[:, None]
    else:
        expected = bitsandbytes.functional.dequantize_4bit(
            *bitsandbytes.functional.quantize_4bit(matrix, quant_type=name)
        )
    assert torch.equal(opened.module.transformer.h[1].mlp.c_fc.weight, expected.float().T)
    native = open_model(ALL[name], reference=reference, compute=compute.model_copy(update={"weights": "native"}))
    difference = (native.hidden(IDS) - opened.hidden(IDS)).norm() / opened.hidden(IDS).norm()
    assert difference < 0.02
    assert opened.bits.plain_trunk_share < 0.1


def test_a_made_quant_opens_with_its_own_hash_and_the_references_rest(tiny, compute):
    reference = open_model(tiny, reference=tiny, compute=compute)
    quant = open_model(torchao(8), reference=tiny, compute=compute)
    assert quant.weights_sha256 != reference.weights_sha256
    assert quant.tokenizer_sha256 == reference.tokenizer_sha256
    assert torch.equal(quant.head.weight, reference.head.weight)
    assert (quant.bits.embedding, quant.bits.head) == (reference.bits.embedding, reference.bits.head)
    again = open_model(
        torchao(8).model_copy(update={"weights_sha256": quant.weights_sha256}), reference=tiny, compute=compute
    )
    assert again.weights_sha256 == quant.weights_sha256
    with pytest.raises(SourceError, match="do not have the stated hash"):
        open_model(
            torchao(7).model_copy(update={"weights_sha256": quant.weights_sha256}), reference=tiny, compute=compute
        )


def test_all_quants_have_weights_of_their_own(tiny, compute):
    hashes = {name: open_model(entry, reference=tiny, compute=compute).weights_sha256 for name, entry in ALL.items()}
    assert len(set(hashes.values())) == len(hashes)


@pytest.mark.parametrize("name", ["nf4", "bnb-int8", "intx4", "hqq4"])
def test_native_quants_open_in_the_compute_dtype(name, tiny, compute):
    settings = compute.model_copy(update={"weights": "native", "compute_dtype": "bfloat16"})
    opened = open_model(ALL[name], reference=tiny, compute=settings)
    states = opened.hidden(IDS)
    assert states.dtype == torch.bfloat16
    assert states.isfinite().all()


@pytest.mark.parametrize("dense", [True, False])
def test_linear_layers_that_do_something_else_keep_their_class(dense):
    module = make_module("Llama4Text", num_local_experts=2, intermediate_size_mlp=128)
    routers = {n: m for n, m in module.named_modules() if type(m).__name__ == "Llama4Router"}
    before = {name: router.weight.clone() for name, router in routers.items()}
    quantize_trunk(module, ALL["nf4"], dense=dense)
    assert routers
    for name, router in routers.items():
        assert module.get_submodule(name) is router
        assert torch.equal(router.weight, before[name]) is not dense
    assert module(IDS).logits.isfinite().all()
    assert type(module.get_submodule("model.layers.0.self_attn.q_proj")).__name__ == (
        "Linear" if dense else "Linear4bit"
    )
