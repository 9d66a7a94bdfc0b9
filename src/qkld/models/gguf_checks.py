"""Whether a GGUF file is a quant of the study's reference: its layers, and its vocabulary token by token."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qkld.errors import ModelError, TokenizerError, explain
from qkld.models.gguf_files import fact

SHOWN = 5
"""Differing tokens named in a message."""


def check_vocabulary(file: Path, tokenizer: Any, *, label: str) -> None:
    """Refuse a file whose token of any id is not the reference tokenizer's; rows beyond its last token are padding.

    The ids that are run come from the reference's tokenizer, so merges and pre-tokenizer of the file play no part.

    Raises
    ------
    TokenizerError
        With the number of differing tokens, and the first ones of both sides.
    """
    expected = tokenizer.convert_ids_to_tokens(list(range(max(tokenizer.get_vocab().values()) + 1)))
    found = fact(file, "tokenizer.ggml.tokens") or []
    differing = differences(expected, found)
    if differing:
        shown = list(differing)[:SHOWN]
        raise TokenizerError(
            explain(
                f"The vocabulary of '{label}' differs in {len(differing)} of {len(expected)} tokens.",
                expected=", ".join(f"{i}: {expected[i]!r}" for i in shown),
                found=", ".join(f"{i}: {differing[i]!r}" for i in shown),
                do="use a quant of the same model, made with the same tokenizer files",
            )
        )


def differences(expected: Sequence[str | None], found: Sequence[str]) -> dict[int, str | None]:
    """Id → the file's token, None beyond its end, where it differs; ids that the reference leaves free do not count."""
    padded = [*found, *[None] * (len(expected) - len(found))]
    return {i: padded[i] for i, token in enumerate(expected) if token is not None and padded[i] != token}


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
            explain(
                f"'{label}' is a file of another model than the reference.",
                expected=expected,
                found={**found, "architecture": fact(file, "general.architecture")},
                do="use a quant of the reference",
            )
        )


def shape_of_folder(folder: Path) -> dict[str, int | None]:
    """Layers and width of a transformers model; None for what its configuration does not say."""
    config: Mapping[str, Any] = json.loads((folder / "config.json").read_text())
    config = config.get("text_config", config)
    return {"layers": config.get("num_hidden_layers"), "width": config.get("hidden_size")}


def shape_of_file(file: Path) -> dict[str, int | None]:
    """Layers and width by the file's header."""
    architecture = fact(file, "general.architecture")
    blocks = fact(file, f"{architecture}.block_count")
    extra = fact(file, f"{architecture}.nextn_predict_layers") or 0
    return {
        "layers": None if blocks is None else blocks - extra,
        "width": fact(file, f"{architecture}.embedding_length"),
    }
