"""Quantized checkpoints made here, saved, reloaded and measured: bitsandbytes, torchao and compressed-tensors."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from tiny_models import make_module, make_tokenizer, save, stored

from qkld.errors import ModelError
from qkld.models import open_model
from qkld.models.gguf.open_in_torch import converted_folder

pytestmark = pytest.mark.long

IDS = torch.tensor([[0, 40, 41, 42, 43, 7, 8, 9]])


def bitsandbytes_nf4():
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)


def bitsandbytes_int8():
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_8bit=True)


def torchao_int8():
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    return TorchAoConfig(Int8WeightOnlyConfig())


def torchao_float8():
    from torchao.quantization import Float8WeightOnlyConfig
    from transformers import TorchAoConfig

    return TorchAoConfig(Float8WeightOnlyConfig())


def torchao_int4():
    from torchao.quantization import IntxWeightOnlyConfig, PerGroup
    from transformers import TorchAoConfig

    return TorchAoConfig(IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32)))


def by_transformers(config, dtype=torch.float32):
    """A maker of checkpoints: the folder loaded with this quantization, saved to another."""

    def make(base, target, tokenizer):
        import transformers

        module = transformers.AutoModelForCausalLM.from_pretrained(base, quantization_config=config(), dtype=dtype)
        return save(target, module, tokenizer)

    return make


def by_compressed_tensors(bits, group_size, dtype=torch.float32):
    """A maker of checkpoints: symmetric integers with scales from each group's range, packed by the library."""

    def make(base, target, tokenizer):
        import transformers
        from compressed_tensors.compressors import ModelCompressor
        from compressed_tensors.quantization import (
            QuantizationArgs,
            QuantizationConfig,
            QuantizationScheme,
            apply_quantization_config,
        )
        from compressed_tensors.quantization.utils import calculate_qparams

        module = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
        strategy = "group" if group_size else "channel"
        args = QuantizationArgs(num_bits=bits, symmetric=True, strategy=strategy, group_size=group_size)
        scheme = QuantizationScheme(targets=["Linear"], weights=args)
        config = QuantizationConfig(
            config_groups={"group_0": scheme}, ignore=["lm_head"], format="pack-quantized", quantization_status="frozen"
        )
        apply_quantization_config(module, config)
        for layer in (m for m in module.modules() if hasattr(m, "weight_scale")):
            groups = layer.weight.detach().reshape(layer.out_features, -1, group_size or layer.in_features)
            scale, _ = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
            layer.weight_scale.data = scale.reshape(layer.weight_scale.shape).to(layer.weight_scale.dtype)
        compressor = ModelCompressor.from_pretrained_model(module)
        compressor.compress_model(module)
        save(target, module, tokenizer)
        compressor.update_config(str(target))
        return target

    return make


MAKERS = {
    "bitsandbytes nf4": (by_transformers(bitsandbytes_nf4), 4.0, 4.5, 0.3),
    "bitsandbytes int8": (by_transformers(bitsandbytes_int8), 8.0, 8.6, 0.02),
    "torchao int8": (by_transformers(torchao_int8), 8.0, 8.6, 0.02),
    "torchao float8": (by_transformers(torchao_float8), 8.0, 8.6, 0.08),
    "compressed-tensors 4 bit": (by_compressed_tensors(4, 32), 4.5, 5.1, 0.3),
    "compressed-tensors 8 bit": (by_compressed_tensors(8, None), 8.0, 8.6, 0.02),
}
"""Name → maker, range of bits per trunk weight (norms in float32 aside), largest relative error of logits."""


def trunk_bits_without_norms(opened):
    norms = sum(p.numel() for n, p in opened.module.named_parameters() if "norm" in n)
    return (opened.bits.trunk.bits - 32 * norms) / (opened.bits.trunk.weights - norms)


@pytest.mark.parametrize("name", MAKERS)
def test_a_saved_checkpoint_is_opened_as_it_was_saved(name, tmp_path, tiny, tiny_folder, compute):
    make, fewest, most, error = MAKERS[name]
    folder = make(tiny_folder, tmp_path / "quant", make_tokenizer())
    assert json.loads((folder / "config.json").read_text())["quantization_config"]["quant_method"]
    entry = stored(folder, label="quant")
    plain = open_model(entry, reference=tiny, compute=compute)
    native = open_model(entry, reference=tiny, compute=compute.model_copy(update={"weights": "native"}))
    assert fewest < trunk_bits_without_norms(plain) < most + 1.6  # 64 columns: scales and code books weigh much here
    assert plain.bits == native.bits
    reference = make_module().base_model(IDS).last_hidden_state.detach()
    for opened in (plain, native):
        difference = (opened.hidden(IDS) - reference).norm() / reference.norm()
        assert 1e-5 < difference < error
    for layer in plain.module.modules():
        if isinstance(layer, torch.nn.Linear):
            assert type(layer) is torch.nn.Linear
            assert type(layer.weight) is torch.nn.Parameter


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

SAVED_IN = {
    **{
        f"{config.__name__} {name}": (by_transformers(config, dtype), dtype)
        for config in (bitsandbytes_nf4, bitsandbytes_int8, torchao_int8, torchao_float8, torchao_int4)
        for name, dtype in DTYPES.items()
    },
    **{f"compressed_tensors {name}": (by_compressed_tensors(4, 32, dtype), dtype) for name, dtype in DTYPES.items()},
}
"""A maker of checkpoints for each dtype that each library saves in, with that dtype."""


@pytest.mark.parametrize("name", SAVED_IN)
def test_a_checkpoint_saved_in_one_dtype_is_run_in_each(name, tmp_path, tiny, tiny_folder, compute):
    make, saved_in = SAVED_IN[name]
    entry = stored(make(tiny_folder, tmp_path / "quant", make_tokenizer()), label="quant")
    exact = open_model(tiny, reference=tiny, compute=compute).hidden(IDS)
    weights = {}
    for asked, dtype in DTYPES.items():
        opened = open_model(entry, reference=tiny, compute=compute.model_copy(update={"compute_dtype": asked}))
        assert {p.dtype for p in opened.module.parameters()} == {opened.hidden(IDS).dtype} == {dtype}
        assert (opened.hidden(IDS).float() - exact).norm() < 0.3 * exact.norm()
        weights[asked] = opened.module.state_dict()
        assert torch.equal(weights[asked]["model.norm.weight"], make_module().model.norm.weight.to(saved_in).to(dtype))
    for key, tensor in weights["float32"].items():
        assert torch.equal(weights["bfloat16"][key], tensor.to(torch.bfloat16)), key


ONE_DTYPE = ("torchao_float8", "torchao_int4")
"""Libraries' layers that multiply activations of the dtype they were saved from alone."""


@pytest.mark.parametrize("name", SAVED_IN)
def test_native_layers_run_in_the_dtype_asked_for_or_are_refused(name, tmp_path, tiny, tiny_folder, compute):
    make, saved_in = SAVED_IN[name]
    entry = stored(make(tiny_folder, tmp_path / "quant", make_tokenizer()), label="quant")
    for asked, dtype in DTYPES.items():
        settings = compute.model_copy(update={"compute_dtype": asked, "weights": "native"})
        if dtype != saved_in and name.startswith(ONE_DTYPE):
            with pytest.raises(ModelError, match="another compute dtype, or weights: dequantized"):
                open_model(entry, reference=tiny, compute=settings)
        else:
            assert open_model(entry, reference=tiny, compute=settings).hidden(IDS).dtype == dtype


IN_TURN = """
import json, sys
from qkld.models import open_model
from qkld.study.entries import TransformersModel
from qkld.study.params import Compute
compute, *entries = map(json.loads, sys.argv[1:])
compute, entries = Compute(**compute), [TransformersModel(**entry) for entry in entries]
assert "torchao" not in sys.modules
found = [open_model(entry, reference=entries[0], compute=compute) for entry in entries]
print(json.dumps([opened.weights_sha256 for opened in found]))
"""


@pytest.mark.parametrize("weights", ["dequantized", "native"])
def test_a_process_that_opened_a_plain_model_opens_saved_ones_of_every_library(
    weights, tmp_path, tiny, tiny_folder, compute
):
    names = ("torchao int8", "bitsandbytes nf4", "compressed-tensors 4 bit")
    folders = [MAKERS[name][0](tiny_folder, tmp_path / name, make_tokenizer()) for name in names]
    entries = [tiny, *(stored(folder, label="quant") for folder in folders), tiny]
    settings = compute.model_copy(update={"weights": weights})
    here = [open_model(entry, reference=tiny, compute=settings).weights_sha256 for entry in entries]
    given = [model.model_dump_json() for model in (settings, *entries)]
    done = subprocess.run([sys.executable, "-c", IN_TURN, *given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == here
    assert len(set(here)) == 4


@pytest.mark.model
@pytest.mark.parametrize("name", ["bitsandbytes nf4", "torchao int8", "compressed-tensors 4 bit"])
def test_a_checkpoint_of_the_demo_model_is_measured(name, tmp_path, demo, compute):
    make, fewest, most, _ = MAKERS[name]
    reference = open_model(demo, reference=demo, compute=compute)
    folder = make(converted_folder(demo), tmp_path / "quant", reference.tokenizer)
    quant = open_model(stored(folder, label="quant"), reference=demo, compute=compute)
    assert fewest < trunk_bits_without_norms(quant) < most
    ids = reference.tokenizer("Water boils at 100 degrees and freezes at zero.", return_tensors="pt")["input_ids"]
    p, q = (m.head.logits(m.hidden(ids)[0]).double().log_softmax(-1) for m in (reference, quant))
    divergence = (p.exp() * (p - q)).sum(-1).mean().item()
    assert 1e-5 < divergence < (1.0 if "8" not in name.split()[-1] and name != "torchao int8" else 0.05)
