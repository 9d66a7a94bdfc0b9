"""A random llama as a GGUF file of its own vocabulary, wide enough for K-quants, whole or in parts."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
from tiny_models import make_tokenizer

CONTEXT = 128
SIZES = {"width": 256, "inner": 512, "blocks": 2, "heads": 8, "key_heads": 4}
"""Multiples of 256, the block of a K-quant; heads of 32, the block of a quantized cache."""


def vocabulary() -> list[str]:
    """Tokens of the model, by id."""
    tokenizer = make_tokenizer()
    return tokenizer.convert_ids_to_tokens(range(len(tokenizer)))


def write_model(path: Path, *, tensors_a_part: int = 0, seed: int = 7, **changes: int) -> Path:
    """Write the model in float32; with ``tensors_a_part`` split, and the first part's name is returned."""
    sizes = {**SIZES, **changes}
    writer = gguf.GGUFWriter(path, "llama", split_max_tensors=tensors_a_part)
    add_sizes(writer, sizes)
    add_tokenizer(writer)
    for name, values in _tensors(sizes, np.random.default_rng(seed)):
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path if path.exists() else next(path.parent.glob(f"{path.stem}-00001-of-*.gguf"))


def add_sizes(writer: gguf.GGUFWriter, sizes: dict[str, int]) -> None:
    """The model's name and sizes, as a header says them."""
    writer.add_name("tiny")
    writer.add_vocab_size(len(vocabulary()))
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(sizes["width"])
    writer.add_block_count(sizes["blocks"])
    writer.add_feed_forward_length(sizes["inner"])
    writer.add_head_count(sizes["heads"])
    writer.add_head_count_kv(sizes["key_heads"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(sizes["width"] // sizes["heads"])
    writer.add_rope_freq_base(10000.0)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def add_tokenizer(writer: gguf.GGUFWriter) -> None:
    """The tokenizer of the model, as a header says it."""
    tokens = vocabulary()
    kinds = [gguf.TokenType.CONTROL if i in (0, 1) else gguf.TokenType.NORMAL for i in range(len(tokens))]
    merges = json.loads(make_tokenizer().backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(False)


def _tensors(sizes: dict[str, int], rng: np.random.Generator) -> list[tuple[str, np.ndarray]]:
    """Name and values of every tensor; the columns of each differ in size, as those of real models do."""
    width, inner, rows = sizes["width"], sizes["inner"], len(vocabulary())
    keys = width * sizes["key_heads"] // sizes["heads"]
    shapes = {"attn_q": (width, width), "attn_k": (keys, width), "attn_v": (keys, width), "attn_output": (width, width)}
    shapes |= {"ffn_gate": (inner, width), "ffn_up": (inner, width), "ffn_down": (width, inner)}
    found = [("token_embd.weight", rng.standard_normal((rows, width)))]
    for block in range(sizes["blocks"]):
        found += [(f"blk.{block}.{norm}.weight", rng.uniform(0.5, 2, width)) for norm in ("attn_norm", "ffn_norm")]
        for name, (outputs, columns) in shapes.items():
            values = rng.standard_normal((outputs, columns)) * rng.lognormal(0, 0.5, columns) * columns**-0.5
            found.append((f"blk.{block}.{name}.weight", values))
    found += [("output_norm.weight", np.ones(width)), ("output.weight", rng.standard_normal((rows, width)) / 8)]
    return [(name, values.astype(np.float32)) for name, values in found]
