"""Architectures that differ in what a loader must get right: names, merged experts, float32 tensors, shared layers."""

from __future__ import annotations

EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
ROUTED = {
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "first_k_dense_replace": 1,
}
LATENT = {
    "head_dim": 8,
    "n_group": 1,
    "topk_group": 1,
    "q_lora_rank": 32,
    "kv_lora_rank": 32,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 16,
}
DELTA_NET = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
SELECTIVE = {"mamba_d_state": 16, "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_n_groups": 1}

ARCHITECTURES = {
    "Llama": {},
    "Phi": {},
    "GPTNeoX": {},
    "Gemma2": {"tie_word_embeddings": True},
    "Qwen3Moe": EXPERTS,
    "Mixtral": {"num_local_experts": 4},
    "Glm4Moe": ROUTED,
    "DeepseekV3": {**ROUTED, **LATENT},
    "Ernie4_5_Moe": {"moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 64},
    "GptOss": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "Llama4Text": {"num_local_experts": 4, "intermediate_size_mlp": 128, "moe_layers": [1]},
    "Qwen3Next": {**EXPERTS, **DELTA_NET, "shared_expert_intermediate_size": 64},
    "Jamba": {
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "mamba_dt_rank": 8,
        "use_mamba_kernels": False,
    },
    "GraniteMoeHybrid": {
        **SELECTIVE,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "layer_types": ["mamba", "attention"],
        "shared_intermediate_size": 64,
    },
    "Mamba2": {"num_heads": 8, "state_size": 16, "n_groups": 1},
    "Zamba2": {
        "num_hidden_layers": 3,
        "layers_block_type": ["mamba", "mamba", "hybrid"],
        "mamba_d_state": 16,
        "mamba_headdim": 16,
        "n_mamba_heads": 8,
        "num_mem_blocks": 1,
        "attention_head_dim": 32,
    },
}
"""transformers' configuration classes without ``Config`` → what `tiny_models.make_module` is to change in them."""
