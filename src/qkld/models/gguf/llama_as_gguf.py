"""A Llama model as a GGUF file of float32 that llama.cpp opens and quantizes, its tokenizer taken from another file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from qkld.errors import ModelError
from qkld.models.gguf.gguf_files import read
from qkld.models.gguf.open_in_torch import copy_field
from qkld.study.provenance import written_whole

ARCHITECTURE = "llama"

LEFT_OUT = ("GGUF.", "split.", "general.architecture", "general.quantization_version", "general.size_label")
"""Fields of the source's header that a file of float32 in one piece has no use for, or that its writer gives."""

KEPT_TENSORS = ("rope_freqs.weight",)
"""Taken from the source as they are: llama.cpp's factors on the rotary frequencies, which no transform touches."""


def write_gguf(module: nn.Module, source: Path, out: Path) -> Path:
    """Write the model to ``out``, float32, whole or not at all.

    Parameters
    ----------
    module : nn.Module
        A Llama model of transformers with plain weights, of any width, tied or not.
    source : Path
        A GGUF file of the same vocabulary (its first part, where it is split): tokenizer, context length, rotary
        settings and descriptions are copied from it, all sizes are written anew.
    out : Path
        The file to write.

    Raises
    ------
    ModelError
        If the architecture is another one, or the vocabularies differ in size.
    """
    import gguf

    reader = read(source)
    _check_same_kind(module, reader, source)
    with written_whole(out) as temporary:
        writer = gguf.GGUFWriter(temporary, ARCHITECTURE)
        _add_sizes(writer, module.config)
        for name, field in reader.fields.items():
            if not name.startswith(LEFT_OUT) and all(name not in given for given in writer.kv_data):
                copy_field(writer, name, field)
        for name, tensor in gguf_tensors(module):
            writer.add_tensor(name, tensor.detach().float().cpu().contiguous().numpy())
        for tensor in reader.tensors:
            if tensor.name in KEPT_TENSORS:
                writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return out


def gguf_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every tensor under its name in a GGUF file, as llama.cpp wants it; a tied head is left out."""
    import gguf

    config = module.config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in module.named_parameters():
        layer = name.split(".")[-2]
        arranged = interleaved(tensor, heads[layer]) if layer in heads else tensor
        yield names.get_name(name, try_suffixes=(".weight", ".bias")), arranged


def interleaved(tensor: Tensor, heads: int) -> Tensor:
    """Rows of a query or key projection in llama.cpp's order; (heads · width, …) → the same shape.

    transformers turns row i of a head together with row i + width/2, llama.cpp row 2i with row 2i + 1: ``permute`` of
    llama.cpp's convert_hf_to_gguf.py, with the number of key heads for keys.
    """
    halves = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
    return halves.transpose(1, 2).reshape(tensor.shape)


def _add_sizes(writer: Any, config: Any) -> None:
    """Everything in the header that follows from the model's own configuration."""
    import gguf

    writer.add_vocab_size(config.vocab_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def _check_same_kind(module: nn.Module, reader: Any, source: Path) -> None:
    fields = reader.fields
    kind = fields["general.architecture"].contents()
    tokens = len(fields["tokenizer.ggml.tokens"].data) if "tokenizer.ggml.tokens" in fields else 0
    config = module.config
    if (config.model_type, kind, config.vocab_size) != (ARCHITECTURE, ARCHITECTURE, tokens):
        raise ModelError(
            f"The model cannot be written with the header of {source.name}.",
            expected=f"model and file of architecture {ARCHITECTURE}, and a token for each of the model's "
            f"{config.vocab_size} rows",
            found=f"model {config.model_type}, file {kind} with {tokens} tokens",
            do="take the GGUF file that the model was opened from",
        )
