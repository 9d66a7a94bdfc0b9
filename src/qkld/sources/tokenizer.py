"""What turns text into ids: its hash, what it begins a text with, and the vocabulary that it shares with a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from qkld.errors import ModelError, TokenizerError
from qkld.study.provenance import key_of

PROBE = (
    "Naïve café №7: 3.14159 × 2024\n\n\tdef f(x):\n        return x**2  # don't — 12,345 €\r\n東京 🙂 <|im_start|>user"
)
"""Text whose ids tell pre-tokenizers apart: accents, digits, white space, code, other scripts, a control token."""

LETTER = "a"
"""A text of one token in every vocabulary."""

SHOWN = 5
"""Differing tokens named in a message."""

SPECIAL = ("bos_token", "eos_token", "unk_token")
"""Special tokens that text can turn into. The padding token enters no scored sequence, and GGUF files change it."""


def fingerprint(tokenizer: Any) -> dict[str, Any]:
    """Everything that ids depend on: vocabulary, merges, special tokens, and the ids of a probe text."""
    merges: list[Any] = []
    if getattr(tokenizer, "is_fast", False):
        merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"].get("merges", [])
    return {
        "vocabulary": tokenizer.get_vocab(),
        "merges": [m if isinstance(m, str) else " ".join(m) for m in merges],
        "special tokens": {name: getattr(tokenizer, name) for name in SPECIAL},
        "ids of the probe text": tokenizer(PROBE)["input_ids"],
    }


def tokenizer_sha256(tokenizer: Any) -> str:
    """Hash over the tokenizer's fingerprint, 16 hex digits."""
    return key_of(fingerprint(tokenizer))


def start_of_text(tokenizer: Any) -> list[int]:
    """What the tokenizer puts before the first token of a text, such as BOS; nothing of what it puts behind one.

    Raises
    ------
    TokenizerError
        If a text's own tokens are not found within what the tokenizer makes of it.
    """
    whole, own = tokenizer(LETTER)["input_ids"], tokenizer(LETTER, add_special_tokens=False)["input_ids"]
    for start in range(len(whole) - len(own) + 1):
        if list(whole[start : start + len(own)]) == list(own):
            return list(whole[:start])
    raise TokenizerError(
        "The tokenizer changes a text's tokens when it adds special tokens.",
        expected=f"{list(own)} within the ids of {LETTER!r}",
        found=list(whole),
        do="correct the post-processor in tokenizer.json",
    )


# --- vocabularies -----------------------------------------------------------------------------------------------------


def vocabulary_size(tokenizer: Any, rows: int | None) -> int:
    """Rows of a head that are measured: up to the tokenizer's last token, as far as the head has any (None: unknown).

    Rows beyond are padding. A token beyond has no row, and no text may hold it (`OpenedModel.check_tokens`).
    """
    tokens = max(tokenizer.get_vocab().values()) + 1
    return tokens if rows is None else min(tokens, rows)


def named_tokens(tokenizer: Any, size: int) -> list[str | None]:
    """The token of each id below ``size``; None where the tokenizer has none."""
    named: list[str | None] = [None] * size
    for token, identity in tokenizer.get_vocab().items():
        if identity < size:
            named[identity] = token
    return named


def check_same_tokens(expected: Sequence[str | None], found: Sequence[str | None], *, label: str) -> None:
    """Refuse a quant whose token of any id is not the reference's; its ids beyond the reference's last are padding.

    The ids that are run come from the reference's tokenizer, so merges, pre-tokenizer and special tokens of the quant's
    play no part.

    Raises
    ------
    TokenizerError
        With the number of differing tokens, and the first ones of both sides.
    """
    differing = differences(expected, found)
    if differing:
        shown = list(differing)[:SHOWN]
        raise TokenizerError(
            f"The vocabulary of '{label}' differs in {len(differing)} of {len(expected)} tokens.",
            expected=", ".join(f"{i}: {expected[i]!r}" for i in shown),
            found=", ".join(f"{i}: {differing[i]!r}" for i in shown),
            do="use a quant of the same model, made with the same tokenizer files",
        )


def differences(expected: Sequence[str | None], found: Sequence[str | None]) -> dict[int, str | None]:
    """Id → the quant's token, None beyond its end, where it differs from the reference's.

    Ids that one side has no name for do not count: their rows are there all the same.
    """
    both = {i: (token, found[i]) for i, token in enumerate(expected[: len(found)])}
    named = {i: pair for i, pair in both.items() if None not in pair}
    differing: dict[int, str | None] = {i: own for i, (token, own) in named.items() if _spelled(token) != _spelled(own)}
    beyond = {i: None for i in range(len(found), len(expected)) if expected[i] is not None}
    return {**differing, **beyond}


def _spelled(token: str) -> str:
    """A token in one spelling: SentencePiece writes a space as U+2581, and llama.cpp's converter turns some back."""
    return token.replace("\u2581", " ")


def check_rows(vocabulary: int, rows: int, *, label: str) -> None:
    """Refuse a quant with fewer rows than the reference has tokens with rows.

    Raises
    ------
    ModelError
        Then; the divergence over its rows would be of another distribution.
    """
    if rows < vocabulary:
        raise ModelError(
            f"The head of '{label}' is smaller than the reference's vocabulary.",
            expected=f"at least {vocabulary} rows",
            found=rows,
            do="use a quant of the same model, made with the same tokenizer files",
        )
