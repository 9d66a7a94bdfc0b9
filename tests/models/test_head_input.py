"""The tensor that a model's head is called with, whatever the class puts between its base model and its head."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import transformers
from tiny_models import make_module

from qkld.errors import ModelError
from qkld.models.head_input import accepted, head_input
from qkld.models.opened import trunk_states
from validation import small_configurations

IDS = torch.arange(40).reshape(2, 20)

KINDS = {
    "a plain decoder": ("Llama", {}),
    "a transform before the head": ("Bert", {"is_decoder": True}),
    "another transform": ("Electra", {"is_decoder": True, "embedding_size": 64}),
    "states scaled before the head": ("MiniCPM3", {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8,
                                                    "qk_rope_head_dim": 8, "v_head_dim": 16}),
    "a base model under another name than the class says": ("Llama4Text", {"num_local_experts": 2}),
    "no attention, and no position ids": ("Mamba2", {"num_heads": 8, "n_groups": 1, "state_size": 16}),
    "a forward pass without use_cache": ("OpenAIGPT", {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64}),
    "position ids refused": ("Bloom", {"n_layer": 2, "n_head": 4}),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_the_head_makes_the_models_logits_of_it(name):
    kind, changes = KINDS[name]
    module = make_module(kind, **changes)
    states = head_input(module, input_ids=IDS, use_cache=False)
    with torch.inference_mode():
        own = module(**accepted(module, input_ids=IDS, use_cache=False)).logits
        assert torch.equal(module.get_output_embeddings()(states), own)


def test_the_pass_ends_before_the_head_and_leaves_nothing_behind():
    module = make_module()
    made = []
    module.lm_head.register_forward_hook(lambda *_: made.append("logits"))
    head_input(module, input_ids=IDS)
    assert not made
    with pytest.raises(IndexError):
        head_input(module, input_ids=IDS + 300)
    assert module(input_ids=IDS).logits.shape == (2, 20, 320)
    assert made == ["logits"]


@pytest.mark.parametrize("model_type", ["xlnet", "roformer", "bloom", "mamba2"])
def test_rows_padded_at_the_end_are_what_each_is_alone(model_type):
    configuration = small_configurations.small_configuration(model_type)
    module = transformers.AutoModelForCausalLM.from_config(configuration).eval()
    kept = torch.ones_like(IDS, dtype=torch.bool)
    kept[0, 12:] = False
    padded = trunk_states(module, IDS, attention_mask=kept)
    torch.testing.assert_close(padded[0, :12], trunk_states(module, IDS[:1, :12])[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(padded[1], trunk_states(module, IDS[1:])[0], rtol=1e-4, atol=1e-5)


def test_a_head_that_is_never_called_is_refused():
    class Functional(transformers.LlamaForCausalLM):
        def forward(self, input_ids):
            return F.linear(self.model(input_ids).last_hidden_state, self.lm_head.weight)

    with pytest.raises(ModelError, match="without calling its output head"):
        head_input(Functional(make_module().config), input_ids=IDS)


def test_switches_that_a_class_has_not_are_left_out_and_tensors_are_not():
    class Own(torch.nn.Module):
        def forward(self, input_ids, use_cache=None): ...

    given = {"input_ids": IDS, "use_cache": False, "return_dict": True, "attention_mask": IDS, "position_ids": None}
    assert list(accepted(Own(), **given)) == ["input_ids", "use_cache", "attention_mask"]
    assert "return_dict" in accepted(make_module(), **given)
