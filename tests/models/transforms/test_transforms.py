"""Padding and rotation: the function is kept, the formulas are the ones stated, and what is not supported is named."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny_models import make_module
from torch import nn

from qkld.divergence import FullLogits, token_divergence
from qkld.errors import ModelError
from qkld.models.gguf.open_in_torch import converted_folder
from qkld.models.transformers import load_module
from qkld.models.transforms.transforms import NORMS, SignedOrder, pad, permute, random_orthogonal, rotate, transform
from validation.crosschecks.exact import largest_logit_difference

GROUPED = {"num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 4, "hidden_size": 36}
"""SmolLM2's heads, a sixteenth of its width: three groups of three, 36 → 48 at multiples of 16."""

IDS = torch.arange(40).reshape(2, 20) * 7 % 300


def lively(kind="Llama", **changes):
    """A random module whose gains and biases are no ones and zeros, and whose ε matters."""
    module = make_module(kind, **{**GROUPED, "intermediate_size": 100, "rms_norm_eps": 0.1, **changes})
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter.normal_()
    return module.double()


BIASED = {"attention_bias": True, "mlp_bias": True}
KINDS = [("Llama", {}), ("Llama", BIASED), ("Llama", {"tie_word_embeddings": True}), ("Mistral", {})]


@pytest.fixture(scope="module", params=KINDS, ids=["llama", "biases", "tied", "mistral"])
def module(request):
    kind, changes = request.param
    return lively(kind, **changes)


@pytest.mark.parametrize("multiple", [16, 24])
def test_padding_keeps_the_logits(module, multiple):
    padded = pad(module, multiple)
    assert largest_logit_difference(module, padded, IDS) < 1e-12
    tied = padded.lm_head.weight is padded.model.embed_tokens.weight
    assert tied == module.config.tie_word_embeddings


def test_rotation_keeps_the_logits_and_unties_the_head(module):
    rotated = rotate(module, 3)
    assert largest_logit_difference(module, rotated, IDS) < 1e-12
    assert not rotated.config.tie_word_embeddings
    assert rotated.lm_head.weight is not rotated.model.embed_tokens.weight
    both = transform(module, multiple=16, seed=3)
    assert largest_logit_difference(module, both, IDS) < 1e-12


def test_permuting_keeps_the_logits_and_every_number_but_for_place_and_sign(module):
    permuted = permute(module, 3)
    assert largest_logit_difference(module, permuted, IDS) < 1e-12
    assert permuted.config.tie_word_embeddings == module.config.tie_word_embeddings
    tied = permuted.lm_head.weight is permuted.model.embed_tokens.weight
    assert tied == module.config.tie_word_embeddings
    for (name, before), after in zip(module.named_parameters(), permuted.parameters(), strict=True):
        assert torch.equal(before.abs().flatten().sort().values, after.abs().flatten().sort().values), name
        assert not torch.equal(before, after) or name.split(".")[-2][0] in "qkv", name  # biases of heads stay
    both = transform(module, multiple=16, seed=None, permutation=3)
    assert largest_logit_difference(module, both, IDS) < 1e-12


def test_each_layer_draws_an_order_of_its_units_and_all_share_that_of_the_stream():
    module = lively()
    layers = permute(module, 3).model.layers
    orders = []
    for before, after in zip(module.model.layers, layers, strict=True):
        rows = [b.mlp.gate_proj.weight.abs().sort(dim=1).values for b in (before, after)]
        orders.append((rows[1][:, None] == rows[0][None]).all(dim=-1).int().argmax(dim=1))
        assert sorted(orders[-1].tolist()) == list(range(100))
        signs = after.mlp.up_proj.weight.sum(), after.mlp.gate_proj.weight.sum()
        assert all(torch.isfinite(s) for s in signs)
    assert not torch.equal(*orders)


def test_a_signed_order_is_drawn_evenly(rng):
    drawn = [SignedOrder.random(3, rng=rng) for _ in range(3000)]
    firsts = np.bincount([int(d.order[0]) for d in drawn], minlength=3) / 3000
    assert np.allclose(firsts, 1 / 3, atol=4 * math.sqrt(2 / 9 / 3000))
    assert abs(np.mean([d.signs.double().mean().item() for d in drawn])) < 4 / math.sqrt(9000)


def test_a_wrong_gain_is_seen_by_the_check(module):
    padded = pad(module, 16)
    padded.model.norm.weight *= 1 + 1e-8
    assert largest_logit_difference(module, padded, IDS) > 1e-11


def test_widths_heads_gains_and_epsilon_are_those_of_the_formula():
    module = lively()
    padded = pad(module, 16)
    config = padded.config
    assert (config.hidden_size, config.intermediate_size, config.head_dim) == (48, 112, 4)
    assert (config.num_attention_heads, config.num_key_value_heads) == (12, 4)
    assert config.rms_norm_eps == pytest.approx(0.075, rel=1e-15)
    before, after = module.model.layers[0], padded.model.layers[0]
    torch.testing.assert_close(
        after.input_layernorm.weight[:36], before.input_layernorm.weight * math.sqrt(0.75), rtol=1e-15, atol=0
    )
    for name, rows, columns in [("q_proj", 36, 36), ("k_proj", 12, 36), ("v_proj", 12, 36), ("o_proj", 36, 36)]:
        weight, old = (getattr(layer.self_attn, name).weight for layer in (after, before))
        assert torch.equal(weight[:rows, :columns], old)
        assert weight[rows:].count_nonzero() == weight[:, columns:].count_nonzero() == 0
    assert after.mlp.down_proj.weight[36:].count_nonzero() == 0


def test_norms_are_those_of_the_literal_definition():
    module = lively()
    norms = [m.model.layers[0].input_layernorm for m in (module.float(), pad(module, 16).float())]
    x = torch.randn(5, 36, generator=torch.Generator().manual_seed(1))
    wide = torch.cat([x, torch.zeros(5, 12)], 1)
    torch.testing.assert_close(norms[1](wide)[:, :36], norms[0](x), rtol=1e-6, atol=1e-7)


def test_widths_that_fit_stay():
    module = lively(**{**GROUPED, "num_attention_heads": 3, "hidden_size": 48, "head_dim": 16, "intermediate_size": 96})
    padded = pad(module, 48)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), padded.parameters(), strict=True))


def test_the_module_given_is_left_as_it_was(module):
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    sizes = module.config.hidden_size, module.config.rms_norm_eps, module.config.tie_word_embeddings
    transform(module, multiple=16, seed=0)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert (module.config.hidden_size, module.config.rms_norm_eps, module.config.tie_word_embeddings) == sizes


def test_rotation_leaves_no_gain_and_fills_what_padding_left_empty():
    both = transform(lively(), multiple=16, seed=1)
    state = both.state_dict()
    gains = [tensor for name, tensor in state.items() if name.split(".")[-2] in NORMS]
    assert len(gains) == 5
    assert all((gain == 1).all() for gain in gains)
    assert (state["model.embed_tokens.weight"][2:] != 0).all()  # the padding token's row, the second one, is zero


def test_a_seed_gives_its_own_matrix_and_leaves_global_state_alone():
    module = lively()
    state = torch.get_rng_state()
    first, again, other = (rotate(module, seed).model.embed_tokens.weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_matrix_is_orthogonal_and_without_the_signs_of_the_decomposition(rng):
    matrix = random_orthogonal(41, rng=rng)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(41, dtype=torch.float64), rtol=0, atol=1e-13)
    traces = [random_orthogonal(3, rng=rng).trace().item() for _ in range(2000)]
    # a Haar-distributed matrix has E tr Q = 0 and E (tr Q)² = 1; with LAPACK's own signs the mean is far below 0
    assert abs(np.mean(traces)) < 4 / math.sqrt(2000)
    assert np.mean(np.square(traces)) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(
    ("kind", "named"),
    [("Qwen3", "model type qwen3"), ("Gemma", "model type gemma"), ("Granite", "model type granite")],
)
@pytest.mark.parametrize(
    "change",
    [lambda m: pad(m, 16), lambda m: rotate(m, 0), lambda m: permute(m, 0)],
    ids=["pad", "rotate", "permute"],
)
def test_other_architectures_are_refused_by_name(kind, named, change):
    with pytest.raises(ModelError, match=named):
        change(make_module(kind))


def test_further_layers_and_quantized_weights_are_refused_by_name():
    module = make_module()
    module.model.layers[1].self_attn.q_norm = nn.RMSNorm(16)
    with pytest.raises(ModelError, match=r"parameter model\.layers\.1\.self_attn\.q_norm\.weight"):
        rotate(module, 0)
    module = make_module()
    module.model.layers[0].mlp.up_proj.weight = nn.Parameter(torch.zeros(128, 64, dtype=torch.int8), False)
    with pytest.raises(ModelError, match=r"quantized weights in model\.layers\.0\.mlp\.up_proj\.weight"):
        pad(module, 16)


def test_widths_that_transformers_can_not_open_are_refused():
    module = make_module(hidden_size=99, num_attention_heads=3, num_key_value_heads=3, head_dim=16)
    with pytest.raises(ModelError, match=r"(?s)is divisible by its 3.*112 wide.*another multiple"):
        pad(module, 16)


@pytest.fixture(scope="module")
def smollm2(demo):
    """The demo's model in float64, and padded to 256 and rotated."""
    plain = load_module(converted_folder(demo), label="demo", dtype=torch.float32).double()
    return plain, transform(plain, multiple=256, seed=2606)


@pytest.mark.model
def test_smollm2_keeps_its_logits_in_float64(smollm2):
    plain, changed = smollm2
    assert largest_logit_difference(plain, changed, IDS[:1] * 97) < 1e-9


@pytest.mark.model
def test_smollm2_has_the_sizes_of_a_model_that_k_quants_fit(smollm2):
    config, state = smollm2[1].config, smollm2[1].state_dict()
    heads = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    assert (config.hidden_size, *heads, config.intermediate_size) == (768, 12, 4, 64, 1536)
    assert config.rms_norm_eps == pytest.approx(0.75e-5, rel=1e-7)
    assert all(t.shape[-1] % 256 == 0 for t in state.values() if t.ndim == 2)
    block = [m.model.layers[7].mlp.up_proj.weight[5, 32:64].unique().numel() for m in smollm2]
    assert block[0] <= 16 < block[1] == 32, "the weights have left the four-bit grid"


@pytest.mark.model
def test_smollm2_keeps_its_distributions_in_float32(smollm2):
    ids = torch.arange(256).reshape(2, 128) * 191 % 49152
    with torch.inference_mode():
        plain, changed = (m.float()(input_ids=ids).logits.flatten(0, 1) for m in smollm2)
    found = token_divergence(FullLogits(plain), FullLogits(changed), ids.flatten())
    assert 0 <= found.kl.mean() < 1e-7
