"""The tokenizer of a GGUF file's header gives the ids that llama.cpp gives, and holds no token beside the header's."""

from __future__ import annotations

import unicodedata

import pytest
from tiny_gguf_vocabularies import PROSE, byte_level, llama_ids, sentencepiece, write_byte_level, write_sentencepiece
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from qkld.errors import TokenizerError
from qkld.models.gguf.header_tokenizer import CUTS, SAME_CUTS, header_tokenizer

pytestmark = pytest.mark.model

TEXTS = (
    *("a", " a", "  a  ", "\n", "\n\n2. foo", "a  123 b", "x\t\ty", "3.14159  2024\n\n12", "don't I'LL", "12345678"),
    *("<|user|>hello</s> <s>x", "e\u0301 é", "東京123", "🙂", "\u2581a \u2581", "<unk>", "a\r\n\r\nb"),
    PROSE,
    PROSE.upper(),
    PROSE[::-1],
    PROSE.replace(" ", "  "),
)

APPROXIMATED = frozenset(("tekken", "gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"))
"""Names whose published pattern tells capitals and marks of every script; llama.cpp's tells those of ASCII."""

NAMES = sorted({*CUTS, *SAME_CUTS, *GGUF_PRE_TOKENIZER_SPLITS})


@pytest.mark.parametrize("name", NAMES)
def test_a_byte_level_vocabulary_is_cut_as_llamacpp_cuts_it(tmp_path, name):
    file = write_byte_level(tmp_path / "m.gguf", name)
    made = header_tokenizer(file, label="m")
    tokens, _ = byte_level()
    assert made.get_vocab() == {token: i for i, token in enumerate(tokens)}
    texts = [without_other_letters(text) for text in TEXTS] if name in APPROXIMATED else TEXTS
    for text, expected in zip(texts, llama_ids(file, texts), strict=True):
        found = made(text, add_special_tokens=False)["input_ids"]
        assert found == expected, (text, made.convert_ids_to_tokens(found), made.convert_ids_to_tokens(expected))
        assert made.decode(found) == text


def without_other_letters(text):
    """The text without letters and marks beyond ASCII."""
    return "".join(sign for sign in text if sign.isascii() or unicodedata.category(sign)[0] not in "LM")


@pytest.mark.parametrize("prefix", [None, True, False])
@pytest.mark.parametrize("architecture", ["llama", "phi3"])
def test_a_sentencepiece_vocabulary_is_cut_as_llamacpp_cuts_it(tmp_path, architecture, prefix):
    file = write_sentencepiece(tmp_path / "m.gguf", architecture=architecture, add_space_prefix=prefix)
    made = header_tokenizer(file, label="m")
    tokens, _, _ = sentencepiece()
    assert made.get_vocab() == {token: i for i, token in enumerate(tokens)}
    for text, expected in zip(TEXTS, llama_ids(file, TEXTS), strict=True):
        found = made(text, add_special_tokens=False)["input_ids"]
        assert found == expected, (text, made.convert_ids_to_tokens(found), made.convert_ids_to_tokens(expected))


@pytest.mark.parametrize("said", [None, True, False])
@pytest.mark.parametrize("name", ["llama-bpe", "tekken", "qwen2", "gpt-2"])
def test_a_text_begins_as_in_llamacpp_and_nothing_is_put_behind_it(tmp_path, name, said):
    file = write_byte_level(tmp_path / "m.gguf", name, add_bos_token=said)
    assert [header_tokenizer(file, label="m")("The old man")["input_ids"]] == llama_ids(
        file, ["The old man"], begin=True
    )
    appending = write_byte_level(tmp_path / "e.gguf", name, add_bos_token=said, add_eos_token=True)
    assert header_tokenizer(appending, label="m")("The old man")["input_ids"][-1] != 2


def test_placeholders_of_padding_are_no_tokens(tmp_path):
    tokens, _ = byte_level()
    padded = [*tokens, *(f"[PAD{i}]" for i in range(len(tokens), len(tokens) + 40))]
    types = [1] * len(tokens) + [5] * 40
    made = header_tokenizer(write_byte_level(tmp_path / "m.gguf", "qwen2", tokens=padded, token_type=types), label="m")
    assert len(made) == len(tokens) == max(made.get_vocab().values()) + 1


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"tokens": None}, r"'m' has no tokenizer"),
        ({"tokens": ["a", "b", "a"]}, r"(?s)duplicate tokens.*'a'"),
        ({"pre": "unheard-of"}, r"(?s)tokenizer\.ggml\.pre one of.*unheard-of.*Hugging Face folder"),
        ({"pre": None}, r"tokenizer\.ggml\.pre None"),
        ({"model": "rwkv"}, r"kind rwkv"),
        ({"model": "llama"}, r"tokenizer\.ggml\.scores"),
    ],
)
def test_what_no_tokenizer_can_be_made_from_is_refused(tmp_path, facts, message):
    file = write_byte_level(tmp_path / "m.gguf", **{"pre": "gpt-2", **facts})
    with pytest.raises(TokenizerError, match=message):
        header_tokenizer(file, label="m")
