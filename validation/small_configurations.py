"""The smallest configuration of a causal language model, by one rule from its class's own defaults.

Sizes whose names `SIZES` knows shrink, wherever they stand; of the layers that the defaults list, one of each kind
stays; token ids move into the small vocabulary. What the rule cannot know of a class stands in `OWN`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCABULARY = 320
"""Rows of every head: some have no token of the tokenizer."""

SIZES: Mapping[int, tuple[str, ...]] = {
    VOCABULARY: ("vocab_size", "decoder_vocab_size", "vocab_size_per_layer_input", "unpadded_vocab_size"),
    256: ("max_position_embeddings", "n_positions", "max_seq_len", "max_target_positions", "n_ctx", "context_length",
        "model_max_length"),
    128: ("intermediate_size", "ffn_dim", "ffn_hidden_size", "decoder_ffn_dim", "encoder_ffn_dim", "dim_ff", "dff",
        "d_ff", "intermediate_size_mlp", "dense_intermediate_size", "mlp_dim", "feed_forward_size", "d_inner",
        "mamba_d_ssm"),
    64: ("hidden_size", "hidden_size_global", "d_model", "n_embd", "embedding_size", "emb_dim", "embed_dim",
        "embedding_dim", "moe_intermediate_size", "shared_intermediate_size", "shared_expert_intermediate_size",
        "shared_experts_intermediate_size", "moe_shared_expert_intermediate_size", "expert_ffn_hidden_size",
        "lru_width", "word_embed_proj_dim", "input_embedding_size"),
    32: ("q_lora_rank", "kv_lora_rank", "qk_head_dim", "laurel_rank", "time_step_rank", "mamba_dt_rank",
        "router_hidden_size", "o_lora_rank"),
    16: ("head_dim", "d_head", "d_kv", "kv_channels", "attention_head_size", "dim_head", "global_head_dim",
        "swa_head_dim", "v_head_dim", "qk_nope_head_dim", "qk_rope_head_dim", "linear_head_dim",
        "linear_key_head_dim", "linear_value_head_dim", "index_head_dim", "mamba_d_head", "mamba_headdim",
        "mamba_head_dim", "state_size", "mamba_d_state", "ssm_state_size", "rotary_dim",
        "hidden_size_per_layer_input", "index_topk", "query_pre_attn_scalar", "gated_norm_rank", "sliding_window",
        "window_size", "attention_window_size", "local_attention", "sliding_window_size", "chunk_size",
        "mamba_chunk_size", "attention_chunk_size"),
    8: ("mamba_n_heads", "mamba_num_heads", "n_mamba_heads"),
    4: ("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads", "decoder_attention_heads",
        "encoder_attention_heads", "swa_num_attention_heads", "linear_num_value_heads", "linear_num_heads",
        "num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts", "zero_expert_num", "index_n_heads",
        "num_buckets"),
    2: ("num_key_value_heads", "kv_n_heads", "num_kv_heads", "num_query_groups", "swa_num_key_value_heads",
        "num_global_key_value_heads", "linear_num_key_heads", "num_hidden_layers", "n_layer", "n_layers",
        "num_layers", "decoder_layers", "encoder_layers", "num_decoder_layers", "num_blocks", "num_experts_per_tok",
        "num_experts_per_token", "moe_topk", "moe_k", "moe_top_k", "n_groups", "mamba_n_groups", "max_window_layers"),
    1: ("n_group", "topk_group", "num_expert_group", "n_shared_experts", "num_shared_experts",
        "moe_num_shared_experts", "first_k_dense_replace", "num_dense_layers", "mamba_ngroups", "num_kv_shared_layers"),
}  # fmt: skip
"""Largest value → names of sizes that are at most this; windows and chunks are shorter than the text measured on."""

SMALL = {name: value for value, names in SIZES.items() for name in names}

_ASSISTANT = {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0, "num_kv_shared_layers": 2,
              "num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"]}  # fmt: skip
_LLAMA4 = {"num_hidden_layers": 2, "layer_types": ["chunked_attention", "full_attention"], "no_rope_layers": [1, 0],
           "moe_layers": [1]}  # fmt: skip
_QWEN4 = {"hc_lowrank": 16, "ngram_vocab_size_base": 500, "split_ngram_parts": 4, "indexer_n_heads": 4,
          "indexer_kv_heads": 1, "indexer_head_dim": 16, "indexer_budget": 16, "indexer_compress_ratio": 4}  # fmt: skip
_BLT = {"vocab_size": VOCABULARY, "hidden_size_global": 128}
_DOTS3 = {"num_key_value_heads": 4, "swa_num_attention_heads": 4, "swa_num_key_value_heads": 4, "swa_q_lora_rank": 32,
          "swa_kv_lora_rank": 32, "swa_head_dim": 32, "swa_qk_nope_head_dim": 16, "swa_qk_rope_head_dim": 16,
          "swa_v_head_dim": 16}  # fmt: skip
_ROPE = {"rope_type": "default", "rope_theta": 10000.0}

OWN: Mapping[str, Mapping[str, Any]] = {
    "bamba": {"attn_layer_indices": [1]},
    "blt": {"encoder_hash_byte_group_vocab": 300, "global_config": {"hidden_size": 128, "num_attention_heads": 8},
            "vocab_size": VOCABULARY, "encoder_config": _BLT, "decoder_config": _BLT, "patcher_config": _BLT},
    "cohere_compass_text": {"layer_types": ["sliding_attention", "full_attention"],
                            "rope_parameters": {"sliding_attention": _ROPE, "full_attention": _ROPE}},
    "dbrx": {"attn_config": {"rope_theta": 10000.0, "clip_qkv": 8.0}},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2, "first_k_dense_replace": 1},
    "dots3_note": {"text_config": _DOTS3, "vision_config": {"adapter_in_dim": 64, "adapter_out_dim": 64},
                   "audio_config": {"adapter_input_size": 64, "adapter_out_dim": 64}},
    "dots3_note_text": _DOTS3,
    "emu3": {"vocabulary_map": {"<image>": 5, "<|extra_200|>": 6}},
    "gemma3n_text": {"intermediate_size": 128},
    "gemma4_assistant": {"start": {"text_config": {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0}},
                         "text_config": _ASSISTANT, "backbone_hidden_size": 64},
    "gemma4_unified_assistant": {"text_config": _ASSISTANT, "backbone_hidden_size": 64},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
    "lfm2": {"num_hidden_layers": 2, "layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "llama4": {"text_config": _LLAMA4},
    "llama4_text": _LLAMA4,
    "mamba2": {"num_heads": 8},
    "qwen4_exp": {"text_config": _QWEN4},
    "qwen4_exp_text": _QWEN4,
    "recurrent_gemma": {"num_hidden_layers": 3, "block_types": ["recurrent", "recurrent", "attention"]},
    "reformer": {"axial_pos_shape": [16, 16], "axial_pos_embds_dim": [16, 48]},
    "roc_bert": {"shape_vocab_size": 40, "shape_embed_dim": 16, "pronunciation_vocab_size": 40,
                 "pronunciation_embed_dim": 16},
    "xlstm": {"qk_dim_factor": 1.0},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 4, "layers_block_type": ["linear_attention", "hybrid"] * 2},
}  # fmt: skip
"""Model type → changes beside the rule's, by name; of a part in a mapping of its own; ``start`` to have defaults."""

GIVEN = {"is_decoder": True, "head_dim": 16, "num_key_value_heads": 4}
"""What defaults leave open or at a value that is none of a causal language model's."""


def model_types() -> list[str]:
    """Every model type that transformers registers with a causal language model, in order of name."""
    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def class_name(model_type: str) -> str:
    """The causal language model's class of a model type."""
    return MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type]


def small_configuration(model_type: str) -> Any:
    """A model type's configuration, its sizes by the rule and its own changes."""
    of = getattr(transformers, CONFIG_MAPPING_NAMES[model_type])
    own = OWN.get(model_type, {})
    start = own.get("start", {})
    changes = merged(shrunk(of(**start)), {name: value for name, value in own.items() if name != "start"})
    return of(**changes)


def merged(changes: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Changes with some of them replaced, inside parts too."""
    both = dict(changes)
    for name, value in own.items():
        both[name] = merged(both.get(name, {}), value) if isinstance(value, Mapping) else value
    return both


def shrunk(config: Any) -> dict[str, Any]:
    """What to change of a configuration's defaults, its parts' among them."""
    values = config.to_dict()
    given = {name: value for name, value in GIVEN.items() if values.get(name, value) in (None, False)}
    if values.get("kv_lora_rank"):  # latent attention gives every head its own keys
        given["num_key_value_heads"] = SMALL["num_attention_heads"]
    changes = dict(_sizes(values)) | given | dict(_token_ids(values)) | _layers(values)
    for part in config.sub_configs:
        if getattr(config, part, None) is not None:
            changes[part] = shrunk(getattr(config, part))
    return changes


def _sizes(values: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for name, value in values.items():
        if isinstance(value, int) and value > SMALL.get(name, value):
            yield name, SMALL[name]


def _token_ids(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Special tokens beyond the small vocabulary, each at an id of its own."""
    names = [n for n in values if n.endswith(("_token_id", "_token_index"))]
    for place, name in enumerate(names, start=3):
        value = values[name]
        if isinstance(value, list):
            yield name, [place]
        elif value is not None and value >= 300:
            yield name, place


def _layers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Lists that name a kind for each layer, cut to the first layer of each kind, and the number of those."""
    counts = [n for n in ("num_hidden_layers", "n_layer", "num_layers", "n_layers") if isinstance(values.get(n), int)]
    if not counts:
        return {}
    lists = {n: v for n, v in values.items() if isinstance(v, list) and len(v) == values[counts[0]] > 2}
    kinds = list(zip(*map(map, [repr] * len(lists), lists.values()), strict=True))
    firsts = sorted({kind: at for at, kind in reversed(list(enumerate(kinds)))}.values())
    kept = firsts if len(firsts) > 1 else [0, 1]
    return {n: [v[at] for at in kept] for n, v in lists.items()} | {counts[0]: len(kept)}
