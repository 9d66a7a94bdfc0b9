"""Vocabularies as GGUF files without weights, and the ids that llama.cpp itself gives for a text."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gguf
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

PROSE = (
    "The old man's boat, 12 years old, wasn't here in 2024: it cost $1,234.56 -- or €99!\n\n"
    "  def f(x):\n\t\treturn x ** 2   # don't\r\n\r\n\n2. Second item;    3) third\n"
    "ÉTÉ naïve Café İstanbul Straße ΑΒΓ αβγ e\u0301te\u0301 東京タワー 汉字123 한국어 हिन्दी عربي 🙂👍🏽 №7 ½ ² "
    "\u00a0x\u2028y\u3000z McDonald'S I'LL they'Ve camelCaseWord HTTPServer <|user|> [INST] </s> a/b//c ... !!! ==> "
    "\\n {x: [1, 22, 333, 4444]}\n"
)
"""Text in which pre-tokenizers differ: contractions, digits, runs of white space, scripts, marks, punctuation."""

SPECIAL = {"<unk>": UNKNOWN, "<s>": CONTROL, "</s>": CONTROL, "<|user|>": USER_DEFINED}


@cache
def byte_level() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tokens and merges of a byte-level BPE learned over whole lines: merges run across words, digits and spaces."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([PROSE, *PROSE.split(), *PROSE.split("\n"), *PROSE.split(" ")] * 3, trainer)
    state = json.loads(made.to_str())["model"]
    merges = [m if isinstance(m, str) else " ".join(m) for m in state["merges"]]
    return tuple(sorted(state["vocab"], key=state["vocab"].get)), tuple(merges)


@cache
def sentencepiece() -> tuple[tuple[str, ...], tuple[float, ...], tuple[int, ...]]:
    """Tokens, scores and types of a SentencePiece BPE with bytes, spaces written as U+2581."""
    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.Replace(" ", "\u2581")
    made.train_from_iterator([PROSE] * 3 + PROSE.split(), trainers.BpeTrainer(vocab_size=500, show_progress=False))
    head = [*SPECIAL, "  ", *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary = made.get_vocab()
    learned = [token for token in sorted(vocabulary, key=vocabulary.get) if token not in (*head, "\u2581\u2581")]
    types = [*SPECIAL.values(), USER_DEFINED, *[BYTE] * 256, *[NORMAL] * len(learned)]
    scores = [0.0] * len(head) + [-float(i) for i in range(len(learned))]
    return (*head, *learned), tuple(scores), tuple(types)


def write_byte_level(
    path: Path, pre: str, *, architecture: str = "llama", said: Mapping[str, Any] | None = None, **more: Any
) -> Path:
    """A file of the byte-level vocabulary with this pre-tokenizer's name; ``said`` goes below the architecture."""
    tokens, merges = byte_level()
    types = [SPECIAL.get(token, NORMAL) for token in tokens]
    facts = {"model": "gpt2", "pre": pre, "tokens": tokens, "token_type": types, "merges": merges}
    return write_vocabulary(path, facts | more, architecture=architecture, said=said or {})


def write_sentencepiece(path: Path, *, architecture: str = "llama", **more: Any) -> Path:
    """A file of the SentencePiece vocabulary."""
    tokens, scores, types = sentencepiece()
    facts = {"model": "llama", "tokens": tokens, "scores": scores, "token_type": types, "unknown_token_id": 0}
    return write_vocabulary(path, facts | more, architecture=architecture)


def write_vocabulary(
    path: Path, facts: Mapping[str, Any], *, architecture: str, said: Mapping[str, Any] = MappingProxyType({})
) -> Path:
    """A file with these facts below ``tokenizer.ggml``, those that are None left out, and no tensor."""
    writer = gguf.GGUFWriter(path, architecture)
    for add, value in (
        *((writer.add_context_length, 128), (writer.add_embedding_length, 64), (writer.add_block_count, 1)),
        *((writer.add_feed_forward_length, 64), (writer.add_head_count, 2), (writer.add_layer_norm_rms_eps, 1e-5)),
    ):
        add(value)
    for name, value in {"bos_token_id": 1, "eos_token_id": 2, **facts}.items():
        if value is not None:
            _add(writer, f"tokenizer.ggml.{name}", value)
    for name, value in said.items():
        _add(writer, f"{architecture}.{name}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, list(value))


def llama_ids(file: Path, texts: Sequence[str], *, begin: bool = False) -> list[list[int]]:
    """Ids of texts by llama.cpp's own tokenizer, control tokens recognised; with what it puts before where asked."""
    from qkld.models.gguf.llamacpp_library import library

    llama = library()
    parameters = llama.llama_model_default_params()
    parameters.vocab_only = True
    model = llama.llama_model_load_from_file(os.fsencode(file), parameters)
    assert model, f"llama.cpp cannot load {file.name}"
    vocabulary = llama.llama_model_get_vocab(model)
    found = []
    for text in texts:
        raw = text.encode()
        room = (ctypes.c_int32 * (len(raw) + 16))()
        count = llama.llama_tokenize(vocabulary, raw, len(raw), room, len(room), begin, True)
        found.append(list(room[:count]))
    llama.llama_model_free(model)
    return found
