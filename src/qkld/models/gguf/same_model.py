"""Whether a GGUF file is a quant of the study's reference: its layers, and its vocabulary token by token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qkld.errors import ModelError, TokenizerError
from qkld.models.folders import read_json
from qkld.models.gguf.gguf_files import fact
from qkld.sources.tokenizer import check_same_tokens, named_tokens

TOKENIZER_MODEL = "tokenizer.ggml.model"


def check_vocabulary(file: Path, tokenizer: Any, *, size: int, label: str) -> None:
    """Refuse a file whose token of any id below ``size`` is not the reference tokenizer's (`check_same_tokens`).

    Raises
    ------
    TokenizerError
        If tokens differ, or the file has no vocabulary.
    """
    check_same_tokens(named_tokens(tokenizer, size), header_tokens(file, label=label), label=label)


def header_tokens(file: Path, *, label: str) -> list[str | None]:
    """The tokens of a file's header by id; None for the placeholders that llama.cpp's converter gives free ids.

    Raises
    ------
    TokenizerError
        If the header has none, or one of them twice.
    """
    tokens = fact(file, "tokenizer.ggml.tokens")
    if not tokens:
        raise TokenizerError(
            f"'{label}' has no tokenizer.",
            expected=f"tokenizer.ggml.tokens in the header of {file.name}",
            found=f"architecture {fact(file, 'general.architecture')}, tokenizer {fact(file, TOKENIZER_MODEL)}",
            do="give a GGUF file of a language model, with its vocabulary",
        )
    doubled = sorted(token for token, count in Counter(tokens).items() if count > 1 and token)
    if doubled:
        raise TokenizerError(
            f"'{label}' has duplicate tokens in its vocabulary.",
            expected="every token once; llama.cpp stops at such a file",
            found=", ".join(f"{token!r}" for token in doubled[:5]),
            do="make the file again with a current llama.cpp",
        )
    return [None if token == f"[PAD{i}]" else token for i, token in enumerate(tokens)]


def check_same_model(file: Path, folder: Path, *, label: str, reshaped: bool = False) -> None:
    """Refuse a file with other layers, or another width, than the model in ``folder`` (by its ``config.json``).

    Layers that only predict further tokens (``nextn_predict_layers``) do not enter the logits and do not count.
    ``reshaped`` says that the reference runs padded, so that files of its own width and of the padded one both fit.

    Raises
    ------
    ModelError
        Naming what differs.
    """
    expected, found = shape_of_folder(folder), shape_of_file(file)
    compared = {"layers"} if reshaped else {"layers", "width"}
    if any(found[name] != expected[name] for name in compared if expected[name] is not None):
        raise ModelError(
            f"'{label}' is a file of a different model than the reference.",
            expected=expected,
            found={**found, "architecture": fact(file, "general.architecture")},
            do="use a quant of the reference",
        )


def shape_of_folder(folder: Path) -> dict[str, int | None]:
    """Layers and width of a transformers model; None for what its configuration does not say."""
    config = _text_config(folder)
    return {"layers": config.get("num_hidden_layers"), "width": config.get("hidden_size")}


def rows_of_folder(folder: Path) -> int | None:
    """Rows of the embedding and the head by a transformers model's configuration; None where it does not say."""
    return _text_config(folder).get("vocab_size")


def _text_config(folder: Path) -> Mapping[str, Any]:
    config = read_json(folder / "config.json")
    return config["text_config"] if isinstance(config.get("text_config"), Mapping) else config


def shape_of_file(file: Path) -> dict[str, int | None]:
    """Layers and width by the file's header."""
    architecture = fact(file, "general.architecture")
    blocks = fact(file, f"{architecture}.block_count")
    extra = fact(file, f"{architecture}.nextn_predict_layers") or 0
    return {
        "layers": None if blocks is None else blocks - extra,
        "width": fact(file, f"{architecture}.embedding_length"),
    }
