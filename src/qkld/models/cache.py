"""What a key-value cache takes, by what a model says of its layers: heads that share keys, windows, latent attention.

Layers without attention keep a state whose size does not depend on the context; it is not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from qkld.models.gguf.gguf_files import fact
from qkld.models.gguf.same_model import shape_of_file

VALUE = 2
"""Bytes of a key or value in f16, llama.cpp's default."""

BATCH, CELLS = 512, 256
"""Tokens that llama.cpp keeps beyond a window, one batch, and what it rounds the cells of a window up to."""

WHOLE_TEXT_EVERY = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "cohere2": 4, "gpt-oss": 2, "olmo2": 4}
"""Architecture whose header has a window and no pattern → every so many layers, the last one sees the whole text."""

ATTENDS_EVERY = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4}
"""The same of architectures whose other layers have no attention."""


class Layer(NamedTuple):
    """Bytes that one layer keeps a token, and of how many tokens at most; None: of all."""

    bytes: int
    most: int | None = None


@dataclass(frozen=True)
class Cache:
    """A key-value cache by layer; layers without attention are left out."""

    layers: tuple[Layer, ...]

    def size(self, context: int) -> int:
        """Bytes at a context of so many tokens."""
        return sum(own.bytes * min(context, own.most or context) for own in self.layers)


# --- from a GGUF header -----------------------------------------------------------------------------------------------


def cache_of_file(file: Path) -> Cache:
    """Of a GGUF file in llama.cpp, where layers with a window keep one batch more.

    A header with a window that does not say which layers have it is counted as if none had. Keys and values are as wide
    as llama.cpp stores them. A file that was converted for latent attention keeps one head of the latent and the
    rotated part, and no values, which are read from the latent.
    """
    architecture = fact(file, "general.architecture")

    def said(name: str) -> Any:
        return fact(file, f"{architecture}.{name}")

    count = int(shape_of_file(file)["layers"] or 0)
    kept = _attending(_key_heads(said, count), said("full_attention_interval") or ATTENDS_EVERY.get(architecture))
    slides = _slides(said, architecture, count)
    window = said("attention.sliding_window")
    own = count - (said("attention.shared_kv_layers") or 0)
    made = [
        Layer(VALUE * heads * _width(said, slid), _with_batch(window) if slid else None)
        for heads, slid in zip(kept[:own], slides[:own], strict=True)
    ]
    return Cache(tuple(layer for layer in made if layer.bytes))


def _key_heads(said: Any, layers: int) -> list[int]:
    """Heads whose keys each layer keeps."""
    heads, keys = said("attention.head_count"), said("attention.head_count_kv")
    found = heads if keys is None else keys
    return list(found)[:layers] if isinstance(found, list) else [int(found or 0)] * layers


def _attending(heads: Sequence[int], every: int | None) -> list[int]:
    """None for the layers without attention, where only every so many-th has it."""
    return [own if every is None or (i + 1) % every == 0 else 0 for i, own in enumerate(heads)]


def _slides(said: Any, architecture: str, layers: int) -> list[bool]:
    """Whether each layer sees a window alone."""
    if not said("attention.sliding_window"):
        return [False] * layers
    pattern = said("attention.sliding_window_pattern") or WHOLE_TEXT_EVERY.get(architecture)
    if isinstance(pattern, list):
        return [bool(slid) for slid in pattern[:layers]]
    return [pattern is not None and (i + 1) % pattern != 0 for i in range(layers)]


def _width(said: Any, slides: bool) -> int:
    """Numbers of a key and a value of one head."""
    heads = said("attention.head_count")
    widest = int(said("embedding_length") / max(heads if isinstance(heads, list) else [heads or 1]))
    is_latent = said("attention.key_length_mla") is not None
    return sum(_length(said, kind, slides) or widest for kind in (("key",) if is_latent else ("key", "value")))


def _length(said: Any, kind: str, slides: bool) -> int | None:
    own = said(f"attention.{kind}_length_swa") if slides else None
    return own or said(f"attention.{kind}_length")


def _with_batch(window: int) -> int:
    return -(-(window + BATCH) // CELLS) * CELLS


# --- from a configuration ---------------------------------------------------------------------------------------------

WITHOUT_KEYS = ("linear_attention", "mamba", "conv", "recurrent", "moe", "mlp")
"""Kinds of layers, as transformers names them, that keep no keys."""


def cache_of_config(config: Any) -> Cache:
    """Of a checkpoint in transformers, in 16 bits; with latent attention it keeps keys and values of every head."""
    text = config.get_text_config(decoder=True)
    count = getattr(text, "num_hidden_layers", 0) or 0
    kinds = getattr(text, "layer_types", None) or [_kind_of_all(text)] * count
    own = count - (getattr(text, "num_kv_shared_layers", 0) or 0)
    size = VALUE * _width_of_config(text)
    return Cache(tuple(Layer(size, _most(text, kind)) for kind in kinds[:own] if kind not in WITHOUT_KEYS))


def _kind_of_all(text: Any) -> str:
    """The kind of every layer where the configuration has no list of them."""
    if not getattr(text, "num_attention_heads", 0):
        return "recurrent"
    slides = getattr(text, "sliding_window", None) and getattr(text, "use_sliding_window", True)
    return "sliding_attention" if slides else "full_attention"


def _most(text: Any, kind: str) -> int | None:
    limits = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
    return getattr(text, limits[kind], None) if kind in limits else None


def _width_of_config(text: Any) -> int:
    """Numbers of a key and a value, over all heads that one layer keeps."""
    heads = getattr(text, "num_attention_heads", 0)
    if getattr(text, "kv_lora_rank", None):
        return heads * (text.qk_nope_head_dim + text.qk_rope_head_dim + text.v_head_dim)
    wide = getattr(text, "head_dim", None) or (text.hidden_size // heads if heads else 0)
    return 2 * wide * (getattr(text, "num_key_value_heads", None) or heads)
