"""The head found in a module gives the module's own logits, scalings and soft caps included."""

from __future__ import annotations

import pytest
import torch
from tiny_models import make_module

from qkld.errors import ModelError
from qkld.models.head import Head
from qkld.models.head_discovery import _first_proven, find_head, proven_head
from qkld.models.opened import trunk_states
from qkld.reference.store import head_file, load_head, save_head
from qkld.study.provenance import sha256_of_file

IDS = torch.arange(40).reshape(2, 20)

ARCHITECTURES = {
    "llama": ("Llama", {}),
    "llama tied": ("Llama", {"tie_word_embeddings": True}),
    "gemma2": ("Gemma2", {"final_logit_softcapping": 3.0, "query_pre_attn_scalar": 16}),
    "cohere": ("Cohere", {"logit_scale": 0.0625}),
    "granite 8": ("Granite", {"logits_scaling": 8.0}),
    "granite 6": ("Granite", {"logits_scaling": 6.0}),
    "gpt2": ("GPT2", {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128}),
    "gpt-j, with a bias": ("GPTJ", {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128, "rotary_dim": 8}),
}


def check_head(module: torch.nn.Module, head: Head) -> None:
    """Hold a head, in this form alone, against the model's own logits."""
    _first_proven(module, head, [head])


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_head_gives_the_models_logits(name, dtype):
    kind, changes = ARCHITECTURES[name]
    module = make_module(kind, **changes).to(dtype)
    head = find_head(module)
    check_head(module, head)
    with torch.inference_mode():
        own = module(IDS).logits.flatten(0, 1)
    ours = head.logits(trunk_states(module, IDS).flatten(0, 1))
    exact = name != "granite 6"  # there a division, here a factor that binary cannot hold
    torch.testing.assert_close(ours, own, rtol=0 if exact else torch.finfo(dtype).eps, atol=0)


def test_scalings_come_from_the_configuration():
    assert find_head(make_module("Gemma2", final_logit_softcapping=3.0, query_pre_attn_scalar=16)).softcap == 3.0
    assert find_head(make_module("Cohere", logit_scale=0.25)).scale == 0.25
    assert find_head(make_module("Granite", logits_scaling=8.0)).scale == 0.125
    assert find_head(make_module()).scale == 1.0


@pytest.mark.parametrize("change", [{"scale": 1.001}, {"softcap": 30.0}])
def test_a_head_with_another_scaling_is_refused(change):
    module = make_module()
    found = find_head(module)
    with pytest.raises(ModelError, match="does not reproduce the model's logits"):
        check_head(module, Head(found.weight, **change))


@pytest.mark.parametrize("kind", ["Granite", "HyperCLOVAX"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_value_that_one_class_divides_by_and_another_multiplies_with_is_taken_as_the_class_does(kind, dtype):
    module = make_module(kind, logits_scaling=8.0).to(dtype)
    head, _ = proven_head(module, find_head(module))
    assert head.scale == (0.125 if kind == "Granite" else 8.0)
    assert not head.wide
    with torch.inference_mode():
        assert torch.equal(head.logits(trunk_states(module, IDS)), module(IDS).logits)


def test_logits_that_are_capped_in_float32_are_capped_so_here(tmp_path):
    module = make_module("Beam", final_logit_softcapping=2.0, initializer_range=0.5).to(torch.bfloat16)
    found = find_head(module)
    head, _ = proven_head(module, found)
    assert head.wide
    with torch.inference_mode():
        own = module(IDS).logits
    assert own.dtype == torch.float32
    torch.testing.assert_close(head.logits(trunk_states(module, IDS)), own, rtol=1e-6, atol=1e-6)
    assert (found.logits(trunk_states(module, IDS)).float() - own).abs().max() > 1e-3
    assert head.sha256() != found.sha256()
    sha256 = save_head(tmp_path, head)
    again = load_head(tmp_path, sha256, sha256_of_file(head_file(tmp_path, sha256)))
    assert again.wide
    assert again.sha256() == head.sha256()


def test_fewer_logits_than_the_head_has_rows_are_as_many_here():
    module = make_module()
    whole = type(module).forward
    module.forward = lambda *given, **named: cut_logits(whole(module, *given, **named))
    head, _ = proven_head(module, find_head(module))
    assert head.vocabulary == 310


def cut_logits(output):
    output.logits = output.logits[..., :310]
    return output


def test_a_swapped_row_is_refused():
    module = make_module()
    weight = find_head(module).weight.clone()
    weight[[3, 4]] = weight[[4, 3]]
    with pytest.raises(ModelError, match="LlamaForCausalLM"):
        check_head(module, Head(weight))


def test_a_quantized_head_is_refused():
    module = make_module()
    module.lm_head.weight = torch.nn.Parameter(torch.zeros(320, 64, dtype=torch.int8), requires_grad=False)
    with pytest.raises(ModelError, match="keep the head unquantized") as caught:
        find_head(module)
    assert "lm_head, Linear with Parameter" in str(caught.value)


def test_a_model_without_a_head_says_which_module_was_looked_for():
    with pytest.raises(ModelError, match="LlamaModel has no output head") as caught:
        find_head(make_module().model)
    assert "get_output_embeddings() names, such as lm_head" in str(caught.value)
    assert "embed_tokens" in str(caught.value)
