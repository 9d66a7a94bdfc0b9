"""Which token a text stands for: servers of OpenAI's form name tokens by their text alone."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from qkld.compare.served.listed import Listed

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_TOKEN_ID = re.compile(r"token_id:(\d+)")


class TokenTexts:
    """Text → token id, where only one token of a tokenizer has that text.

    A token's text is its bytes as UTF-8. Incomplete characters are written as U+FFFD by some servers and left out by
    others, special tokens as their name or as nothing; a text that could be two tokens by either habit is nobody's.
    """

    def __init__(self, tokenizer: Any) -> None:
        owners: dict[str, set[int]] = defaultdict(set)
        specials = set(tokenizer.all_special_ids) | set(getattr(tokenizer, "added_tokens_decoder", {}))
        decode = _decoder(tokenizer)
        for token, identity in tokenizer.get_vocab().items():
            data = decode(token)
            texts = {data.decode("utf-8", errors=habit) for habit in ("ignore", "replace")}
            for text in texts | ({token, ""} if identity in specials else set()):
                owners[text].add(identity)
        self._owner = {text: ids.copy().pop() for text, ids in owners.items() if len(ids) == 1 and text}

    def token(self, text: str) -> int | None:
        """The id of a text, or of vLLM's ``token_id:123``; None where it is ambiguous or unknown."""
        if match := _TOKEN_ID.fullmatch(text):
            return int(match[1])
        return self._owner.get(text)

    def listed(self, by_text: Mapping[str, float]) -> Listed:
        """Log-probabilities by text as log-probabilities by token."""
        found = {text: self.token(text) for text in by_text}
        values = {token: float(by_text[text]) for text, token in found.items() if token is not None}
        return Listed(values, unresolved=sum(token is None for token in found.values()))


def _decoder(tokenizer: Any) -> Any:
    """A function that gives a token's bytes: of a byte-level vocabulary, or of one with ▁ for spaces."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    byte_of = {character: byte for byte, character in bytes_to_unicode().items()}
    byte_level = not any("▁" in token for token in list(tokenizer.get_vocab())[:2000])

    def decoded(token: str) -> bytes:
        if byte_level and all(character in byte_of for character in token):
            return bytes(byte_of[character] for character in token)
        if match := _BYTE.fullmatch(token):
            return bytes([int(match[1], 16)])
        return token.replace("▁", " ").encode()

    return decoded
