"""What turns text into ids: its hash, and the refusal of a tokenizer that differs from the reference's."""

from __future__ import annotations

import json
from typing import Any

from qkld.errors import TokenizerError, explain
from qkld.provenance import key_of

PROBE = (
    "Naïve café №7: 3.14159 × 2024\n\n\tdef f(x):\n        return x**2  # don't — 12,345 €\r\n東京 🙂 <|im_start|>user"
)
"""Text whose ids tell pre-tokenizers apart: accents, digits, white space, code, other scripts, a control token."""

SPECIAL = ("bos_token", "eos_token", "unk_token")
"""Special tokens that text can turn into. The padding token enters no scored sequence, and GGUF files change it."""


def fingerprint(tokenizer: Any) -> dict[str, Any]:
    """Everything that two tokenizers must share: vocabulary, merges, special tokens, and the ids of a probe text."""
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


def check_same_tokenizer(reference: Any, quant: Any, *, label: str) -> None:
    """Refuse a quant whose tokenizer is not the reference's.

    Raises
    ------
    TokenizerError
        Naming the first thing that differs, with both values.
    """
    expected, found = fingerprint(reference), fingerprint(quant)
    for what, value in expected.items():
        if found[what] != value:
            shown_expected, shown_found = _difference(value, found[what])
            raise TokenizerError(
                explain(
                    f"The tokenizer of '{label}' differs from the reference's in its {what}.",
                    expected=shown_expected,
                    found=shown_found,
                    do="use a quant of the same model, made with the same tokenizer files",
                )
            )


def _difference(expected: Any, found: Any, shown: int = 5) -> tuple[str, str]:
    """Both values cut down to where they differ."""
    if isinstance(expected, dict):
        keys = [k for k in {**expected, **found} if expected.get(k) != found.get(k)]
        sides = [{k: side.get(k) for k in keys[:shown]} for side in (expected, found)]
    else:
        start = next((i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), 0)
        start = start or min(len(expected), len(found)) * (expected[: len(found)] == found[: len(expected)])
        sides = [f"from place {start}: {side[start : start + shown]}" for side in (expected, found)]
    return tuple(f"{len(whole)} entries, {side}" for whole, side in zip((expected, found), sides, strict=True))
