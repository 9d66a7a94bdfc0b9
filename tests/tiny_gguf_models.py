"""One small random model twice: as a Hugging Face folder in bfloat16, and as GGUF files with its vocabulary.

Tokens are spelled, padded and flagged as llama.cpp's converter does it for each architecture.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from tiny_gguf_vocabularies import NORMAL, SPECIAL, UNUSED, byte_level, sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from qkld.models.gguf.llama_as_gguf import interleaved

SIZES = {
    **{"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.25},
    **{"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2},
}

LLAMA31 = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LINEAR = {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0}
YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 64}
LOCAL = {"rope_type": "default", "rope_theta": 1e4}

GEMMA3 = {
    **{"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 64, "num_hidden_layers": 6},
    "rope_parameters": {"sliding_attention": LOCAL, "full_attention": LINEAR},
}

PHI3 = {
    **{"max_position_embeddings": 1024, "original_max_position_embeddings": 512, "sliding_window": None},
    "rope_parameters": {
        **{"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 512},
        **{"short_factor": [1 + 0.1 * i for i in range(8)], "long_factor": [2.0 + i for i in range(8)]},
    },
}

KINDS = {
    "phi3": ("phi3", "Phi3Config", None, PHI3),
    "llama3": ("llama", "LlamaConfig", "llama-bpe", {}),
    "llama31": (
        *("llama", "LlamaConfig", "llama-bpe"),
        {"rope_parameters": {**LLAMA31, "original_max_position_embeddings": 64}},
    ),
    "qwen2": ("qwen2", "Qwen2Config", "qwen2", {"rms_norm_eps": 1e-6}),
    "qwen2-yarn": ("qwen2", "Qwen2Config", "qwen2", {"rope_parameters": YARN}),
    "qwen3": ("qwen3", "Qwen3Config", "qwen2", {"head_dim": 128}),
    "gemma3": ("gemma3", "Gemma3TextConfig", None, GEMMA3),
}
"""Kind → architecture of GGUF, class of configuration, name of the pre-tokenizer (None: SentencePiece), more sizes."""

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = QWEN2.replace(r"\p{N}| ?", r"\p{N}{1,3}| ?", 1)

PADDING = {"qwen2": 40, "qwen2-yarn": 40, "qwen3": 40}
"""Rows beyond the last token."""


def make_module(kind: str) -> torch.nn.Module:
    """The random model in float32, its weights as bfloat16 holds them."""
    import transformers

    _, name, _, more = KINDS[kind]
    torch.manual_seed(3)
    rows = len(_tokens(kind)) + PADDING.get(kind, 0)
    config = getattr(transformers, name)(**{**SIZES, "vocab_size": rows, **more})
    module = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in module.parameters():  # buffers such as rotary frequencies stay as they are computed
            weight.copy_(weight.to(torch.bfloat16))
    return module


def save_folder(folder: Path, kind: str) -> Path:
    """The model and its published tokenizer; Gemma's has one token more than the model has rows."""
    make_module(kind).to(torch.bfloat16).save_pretrained(folder)
    published(kind).save_pretrained(folder)
    return folder


def published(kind: str) -> Any:
    """The tokenizer as its makers publish it: spaces of SentencePiece spelled so, BOS in front, an image's token."""
    from transformers import PreTrainedTokenizerFast

    if KINDS[kind][2] is None:
        made = _sentencepiece()
        if kind == "gemma3":
            made.add_special_tokens([AddedToken("<image_soft_token>", special=True)])
    else:
        tokens, merges = byte_level()
        made = Tokenizer(models.BPE(_ids(tokens), [tuple(m.split(" ")) for m in merges]))
        pattern = QWEN2 if kind in PADDING else LLAMA3
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(pattern), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        made.decoder = decoders.ByteLevel()
    made.add_special_tokens(list(SPECIAL))
    if kind not in PADDING:
        made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def _sentencepiece() -> Tokenizer:
    from transformers.tokenization_utils_base import generate_merges

    tokens = _tokens("gemma3")
    scores = dict(zip(tokens, sentencepiece()[1], strict=True))
    merges = generate_merges(_ids(tokens), scores)
    made = Tokenizer(models.BPE(_ids(tokens), merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Replace(" ", "\u2581")
    made.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    return made


def _tokens(kind: str) -> list[str]:
    """Tokens by id as published."""
    if KINDS[kind][2] is not None:
        return list(byte_level()[0])
    return [token.replace(" ", "\u2581") for token in sentencepiece()[0]]


def _ids(tokens: Any) -> dict[str, int]:
    return {token: i for i, token in enumerate(tokens)}


def write_gguf(path: Path, kind: str, tensor_type: str = "F32", *, rows_of_padding: int | None = None) -> Path:
    """The model as a GGUF file, its matrices in this type; with other rows beyond the last token where asked for."""
    module = make_module(kind)
    if rows_of_padding is not None:
        module.resize_token_embeddings(len(_tokens(kind)) + rows_of_padding, mean_resizing=False)
    architecture, *_ = KINDS[kind]
    writer = gguf.GGUFWriter(path, architecture)
    _add_sizes(writer, module.config, kind)
    _add_vocabulary(writer, module.config.vocab_size, kind)
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, architecture.upper()), module.config.num_hidden_layers)
    heads = {"q_proj": 4, "k_proj": 2} if architecture == "llama" else {}
    for name, tensor in module.named_parameters():
        layer = name.split(".")[-2]
        values = interleaved(tensor, heads[layer]) if layer in heads else tensor
        values = values.detach().numpy() + (architecture == "gemma3" and "norm" in layer)  # Gemma's scale is 1 + weight
        stored = gguf.GGMLQuantizationType[tensor_type] if values.ndim > 1 else gguf.GGMLQuantizationType.F32
        raw = gguf.quants.quantize(np.ascontiguousarray(values, np.float32), stored)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), raw, raw_dtype=stored)
    if kind == "llama31":
        frequencies = module.model.rotary_emb.inv_freq.double().numpy()
        plain = 1e4 ** (-np.arange(0, 16, 2) / 16)
        writer.add_tensor("rope_freqs.weight", (plain / frequencies).astype(np.float32))
    if kind == "phi3":
        for which in ("short", "long"):
            factors = module.config.rope_parameters[f"{which}_factor"]
            writer.add_tensor(f"rope_factors_{which}.weight", np.array(factors, np.float32))
    for finish in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        finish()
    writer.close()
    return path


def _add_sizes(writer: gguf.GGUFWriter, config: Any, kind: str) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters.get("full_attention", config.rope_parameters)
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] in ("yarn", "longrope"):
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if rope["rope_type"] == "longrope":  # as the architecture's own rule gives it for twice the original context
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(2) / math.log(512)))
        writer.add_rope_dimension_count(16)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    if "head_dim" in KINDS[kind][3]:
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    if kind == "gemma3":
        writer.add_sliding_window(config.sliding_window)


def _add_vocabulary(writer: gguf.GGUFWriter, rows: int, kind: str) -> None:
    pre = KINDS[kind][2]
    if pre is None:
        tokens, scores, types = sentencepiece()
        writer.add_tokenizer_model("llama")
        writer.add_token_scores(scores)
        writer.add_add_space_prefix(False)
    else:
        tokens, merges = byte_level()
        types = [SPECIAL.get(token, NORMAL) for token in tokens]
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_merges(merges)
    padding = range(len(tokens), rows)
    writer.add_token_list([*tokens, *(f"[PAD{i}]" for i in padding)])
    writer.add_token_types([*types, *[UNUSED for _ in padding]])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(kind not in PADDING)
