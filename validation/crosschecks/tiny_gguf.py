"""A random llama of 301 tokens as a GGUF file, so small that whole base files of it fit into the repository."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

VOCABULARY, WIDTH, INNER, LAYERS, HEADS, CONTEXT = 301, 64, 128, 2, 4, 64
LOGIT_SPREAD = 3.5
"""Standard deviation of its logits, nats: most rows then span more than the 16 nats that a base file keeps."""


def byte_symbols() -> list[str]:
    """The 256 symbols of byte-level BPE, by byte: printable Latin-1 as itself, the others from U+0100 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = (b for b in range(256) if b not in printable)
    moved = {byte: chr(256 + i) for i, byte in enumerate(others)}
    return [moved.get(byte, chr(byte)) for byte in range(256)]


def write_tiny(path: Path) -> None:
    """Write the model, float32; equal bytes of weights on every machine."""
    rng = np.random.default_rng(2606)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_vocab_size(VOCABULARY)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_tokenizer(writer)
    for name, shape, spread in _tensors():
        ones = name.endswith("norm.weight")
        values = np.ones(shape) if ones else rng.standard_normal(shape) * spread
        writer.add_tensor(name, values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    unused = VOCABULARY - 258
    tokens = [*byte_symbols(), "<|endoftext|>", "Āā", *(f"<unused{i}>" for i in range(unused))]
    kinds = [gguf.TokenType.NORMAL] * 256 + [gguf.TokenType.CONTROL, gguf.TokenType.NORMAL]
    kinds += [gguf.TokenType.UNUSED] * unused
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["Ā ā"])  # llama.cpp wants one; no printable text has these two bytes
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(256)
    writer.add_add_bos_token(False)


def _tensors() -> list[tuple[str, tuple[int, ...], float]]:
    """Name, shape (out, in) and standard deviation of every tensor."""
    found = [("token_embd.weight", (VOCABULARY, WIDTH), 1.0)]
    for layer in range(LAYERS):
        square = [f"blk.{layer}.attn_{part}.weight" for part in ("q", "k", "v", "output")]
        found += [(f"blk.{layer}.attn_norm.weight", (WIDTH,), 0.0)]
        found += [(name, (WIDTH, WIDTH), WIDTH**-0.5) for name in square]
        found += [(f"blk.{layer}.ffn_norm.weight", (WIDTH,), 0.0)]
        found += [(f"blk.{layer}.ffn_{part}.weight", (INNER, WIDTH), WIDTH**-0.5) for part in ("gate", "up")]
        found += [(f"blk.{layer}.ffn_down.weight", (WIDTH, INNER), INNER**-0.5)]
    return [*found, ("output_norm.weight", (WIDTH,), 0.0), ("output.weight", (VOCABULARY, WIDTH), LOGIT_SPREAD / 8)]
