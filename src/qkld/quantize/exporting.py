"""A Llama-type torch model as a float32 GGUF file, with the header of the file that its reference came from.

llama.cpp rotates neighbouring pairs of a head's rows where transformers rotates its halves, so the rows of queries and
keys are reordered: the inverse of what transformers does on reading. The round trip gives a source's values back bit by
bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qkld.errors import ModelError, explain
from qkld.models.gguf import copy_field
from qkld.models.gguf_files import fact, read
from qkld.models.transforms import MODEL_TYPES
from qkld.provenance import written_whole

ARCHITECTURE = "llama"
"""What GGUF calls these model types."""

LEFT_OUT = ("GGUF.", "split.", "general.architecture", "general.quantization_version", "general.size_label")
"""Fields of the source's header that a float32 file in one piece has no use for, or writes itself."""


def export_float32(module: nn.Module, header: Path, target: Path) -> Path:
    """Write a model as float32 GGUF: tokenizer and names by another file's header, sizes and weights by the model.

    Parameters
    ----------
    module : nn.Module
        A causal language model of `MODEL_TYPES`, plain weights.
    header : Path
        A GGUF file of the model, before it was padded or rotated (of a split one the first part).
    target : Path
        Written whole or not at all.

    Raises
    ------
    ModelError
        If the model or the header is of another type.
    """
    import gguf

    _check_supported(module, header)
    sizes = header_sizes(module.config)
    with written_whole(target) as temporary:
        writer = gguf.GGUFWriter(temporary, ARCHITECTURE)
        for name, field in read(header).fields.items():
            if not name.startswith(LEFT_OUT):
                copy_field(writer, name, field, sizes.get(name))
        for name, values in named_tensors(module):
            writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return target


def header_sizes(config: Any) -> dict[str, Any]:
    """Fields of the header that follow from the model's configuration."""
    import gguf

    values = {
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "rope.dimension_count": config.head_dim,
    }
    return {
        "general.file_type": gguf.LlamaFileType.ALL_F32.value,
        **{f"{ARCHITECTURE}.{name}": value for name, value in values.items()},
    }


def named_tensors(module: nn.Module) -> Iterator[tuple[str, np.ndarray]]:
    """GGUF name and float32 values of every parameter; a head that is tied to the embeddings is not written."""
    import gguf

    config = module.config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, parameter in module.named_parameters():  # tied ones once
        layer = name.split(".")[-2]
        values = reordered(parameter.data, heads[layer]) if layer in heads else parameter.data
        yield names.get_name(name, try_suffixes=(".weight", ".bias")), values.to(torch.float32).cpu().numpy()


def reordered(weight: Tensor, heads: int) -> Tensor:
    """Rows of a query or key layer in llama.cpp's order: (half, pair) of each head become (pair, half)."""
    rows = weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1)
    return rows.transpose(1, 2).reshape(weight.shape).contiguous()


def _check_supported(module: nn.Module, header: Path) -> None:
    found = module.config.model_type, fact(header, "general.architecture")
    if found[0] not in MODEL_TYPES or found[1] != ARCHITECTURE:
        raise ModelError(
            explain(
                "This model can not be written as a GGUF file here.",
                expected=f"a model of type {' or '.join(MODEL_TYPES)}, and a GGUF file of it",
                found=f"{found[0]}, whose file is of architecture {found[1]}",
                do="convert it with llama.cpp's convert_hf_to_gguf.py, and take the file it writes",
            )
        )
