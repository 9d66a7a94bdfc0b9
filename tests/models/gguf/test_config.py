"""What headers say of rotary frequencies and attention, and configurations that fit another's weights."""

from __future__ import annotations

import numpy as np
import pytest
import transformers
from tiny_gguf_models import GEMMA3, SIZES
from tiny_gguf_vocabularies import write_byte_level

from qkld.errors import ModelError
from qkld.models.gguf.config import completed, in_the_references_words


def header(path, architecture="llama", *, more=None, **scaling):
    """A file without scaling tensors whose header says this below ``rope.scaling``, and ``more``."""
    said = {f"rope.scaling.{key}": value for key, value in scaling.items()} | (more or {})
    return [write_byte_level(path, "gpt-2", architecture=architecture, said=said)]


def test_a_part_of_each_head_is_turned_where_the_header_says_so(tmp_path):
    config = transformers.Phi3Config(**{**SIZES, "hidden_size": 128})
    made = completed(config, header(tmp_path / "m.gguf", "phi3", more={"rope.dimension_count": 24}), label="m")
    assert made.rope_parameters["partial_rotary_factor"] == 24 / 32


def test_soft_caps_are_the_headers(tmp_path):
    caps = {"attn_logit_softcapping": 20.0, "final_logit_softcapping": 15.0}
    config = transformers.Gemma2Config(**SIZES, head_dim=16)
    made = completed(config, header(tmp_path / "m.gguf", "gemma2", more=caps), label="m")
    assert {name: getattr(made, name) for name in caps} == caps


@pytest.mark.parametrize("key", ["attention.scale", "logit_scale", "embedding_scale", "residual_scale"])
def test_a_scale_that_no_configuration_takes_is_refused(tmp_path, key):
    with pytest.raises(ModelError, match=rf"(?s)'m' uses a scaling that is not supported in torch.*'{key}': 0\.5"):
        completed(transformers.LlamaConfig(**SIZES), header(tmp_path / "m.gguf", more={key: 0.5}), label="m")
    completed(transformers.LlamaConfig(**SIZES), header(tmp_path / "n.gguf", more={key: 1.0}), label="m")


def test_a_header_that_scales_nothing_leaves_the_configuration(tmp_path):
    config = transformers.LlamaConfig(**SIZES)
    for said in ({}, {"type": "none", "factor": 2.0}):
        assert completed(config, header(tmp_path / "m.gguf", **said), label="m").to_dict() == config.to_dict()


def test_a_scaling_that_is_not_known_is_refused(tmp_path):
    files = header(tmp_path / "m.gguf", type="longrope", factor=4.0)
    with pytest.raises(ModelError, match=r"(?s)'m' uses a rotary scaling.*'type': 'longrope'.*engine llamacpp"):
        completed(transformers.LlamaConfig(**SIZES), files, label="m")


@pytest.mark.parametrize(("layers", "scalar"), [(6, 16), (62, 64 / 4)])
def test_the_scale_of_gemmas_attention_follows_its_size(tmp_path, layers, scalar):
    config = transformers.Gemma3TextConfig(**{**SIZES, **GEMMA3, "num_hidden_layers": layers, "head_dim": 16})
    config.query_pre_attn_scalar = 256  # the class's default, which transformers leaves
    made = completed(config, header(tmp_path / "m.gguf", "gemma3", type="linear", factor=8.0), label="m")
    assert made.query_pre_attn_scalar == scalar
    assert made.rope_parameters["full_attention"]["factor"] == 8
    assert made.rope_parameters["sliding_attention"]["rope_type"] == "default"
    assert config.query_pre_attn_scalar == 256


def test_a_file_runs_as_the_reference_where_it_is_the_same_model():
    reference = transformers.Gemma3TextConfig(**{**SIZES, **GEMMA3, "vocab_size": 400, "query_pre_attn_scalar": 21})
    own = transformers.Gemma3TextConfig(**{**SIZES, **GEMMA3, "vocab_size": 448, "tie_word_embeddings": False})
    made = in_the_references_words(own, reference)
    assert (made.query_pre_attn_scalar, made.vocab_size, made.tie_word_embeddings) == (21, 448, False)
    assert (reference.vocab_size, reference.tie_word_embeddings) == (400, True)
    wider = transformers.Gemma3TextConfig(**{**SIZES, **GEMMA3, "hidden_size": 96})
    assert in_the_references_words(wider, reference) is None
    assert in_the_references_words(transformers.LlamaConfig(**SIZES), reference) is None


def test_factors_of_each_frequency_give_the_frequencies_of_the_published_form():
    """Llama 3.1's form, and the list of factors that llama.cpp's converter makes of it."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    published = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    base = {"rope_theta": 1e4, "original_max_position_embeddings": 64}
    config = transformers.LlamaConfig(**SIZES, rope_parameters={**published, **base})
    expected, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 1e4 ** (-np.arange(0, 16, 2) / 16)
    factors = (plain / expected.double().numpy()).tolist()
    config.rope_parameters = {"rope_theta": 1e4, "rope_type": "longrope", "short_factor": factors}
    config.rope_parameters |= {"long_factor": factors, "original_max_position_embeddings": 1, "attention_factor": 1.0}
    found, scale = ROPE_INIT_FUNCTIONS["longrope"](config, "cpu", seq_len=100)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-6)
    assert scale == 1
