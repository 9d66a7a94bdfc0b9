"""The reference's tokenizer gives the ids of all; a quant is refused where an id is another token of its own."""

from __future__ import annotations

import pytest
from tiny_models import make_module, make_tokenizer, save, stored
from tokenizers import pre_tokenizers, processors

from qkld.benchmarks.harness import HarnessModel
from qkld.compare.preparing import _windows_there
from qkld.errors import ModelError, TokenizerError
from qkld.models import open_model
from qkld.models.transformers import load_tokenizer
from qkld.sources.corpora import text_windows
from qkld.sources.tokenizer import check_same_tokens, named_tokens, start_of_text, tokenizer_sha256, vocabulary_size
from qkld.study.params import Corpus

TOKENS = len(make_tokenizer())


def other_vocabulary():
    return make_tokenizer(text=("completely different words here",))


def other_special_token():
    tokenizer = make_tokenizer()
    tokenizer.bos_token = "</s>"
    return tokenizer


def other_pre_tokenizer():
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("e", "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return tokenizer


def other_merges():
    import json

    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    state = json.loads(make_tokenizer().backend_tokenizer.to_str())
    state["model"]["merges"] = state["model"]["merges"][::-1]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


def with_padding_token():
    """As tuned models have: one more token, at the id behind the last."""
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "<|PAD_TOKEN|>"})
    return tokenizer


def putting(before, behind):
    """A tokenizer that puts these tokens before and behind a text."""
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["[gMASK]", "<sop>"]})
    used = dict.fromkeys([*before, *behind])
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=[*before, "$A", *behind],
        special_tokens=[(token, tokenizer.convert_tokens_to_ids(token)) for token in used],
    )
    return tokenizer


def test_every_part_of_a_tokenizer_is_in_its_hash():
    others = (other_vocabulary, other_special_token, other_pre_tokenizer, other_merges, with_padding_token)
    assert len({tokenizer_sha256(make()) for make in (make_tokenizer, make_tokenizer, *others)}) == 1 + len(others)


def test_a_quant_with_another_vocabulary_is_not_opened_and_both_sides_are_named(tmp_path, tiny, compute):
    entry = stored(save(tmp_path, make_module(), other_vocabulary()), label="q4")
    with pytest.raises(TokenizerError, match=r"vocabulary of 'q4' differs in \d+ of \d+ tokens") as caught:
        open_model(entry, reference=tiny, compute=compute)
    lines = str(caught.value).split("\n")
    expected, found = (next(x for x in lines if x.strip().startswith(k)) for k in ("expected", "found"))
    assert expected.split(":", 1)[1] != found.split(":", 1)[1]


@pytest.mark.parametrize("make", [other_special_token, other_pre_tokenizer, other_merges, with_padding_token])
def test_a_quant_is_measured_on_the_references_ids_whatever_its_own_tokenizer_would_make(tmp_path, tiny, compute, make):
    entry = stored(save(tmp_path, make_module(), make()), label="q4")
    opened, reference = (open_model(e, reference=tiny, compute=compute) for e in (entry, tiny))
    assert tokenizer_sha256(make()) != opened.tokenizer_sha256 == reference.tokenizer_sha256
    assert (
        (opened.vocabulary, opened.padded_rows)
        == (reference.vocabulary, reference.padded_rows)
        == (TOKENS, 320 - TOKENS)
    )


def test_a_quant_with_fewer_rows_than_the_reference_has_tokens_is_refused(tmp_path, tiny, compute):
    entry = stored(save(tmp_path, make_module(vocab_size=TOKENS - 1)), label="q4")
    with pytest.raises(ModelError, match=rf"(?s)'q4' is smaller.*at least {TOKENS} rows.*{TOKENS - 1}"):
        open_model(entry, reference=tiny, compute=compute)


def test_rows_end_at_the_last_token_or_at_the_last_row():
    tokenizer = with_padding_token()
    sizes = [vocabulary_size(tokenizer, rows) for rows in (None, 320, TOKENS, 280)]
    assert sizes == [TOKENS + 1, TOKENS + 1, TOKENS, 280]
    assert named_tokens(tokenizer, TOKENS + 2)[TOKENS:] == ["<|PAD_TOKEN|>", None]
    check_same_tokens(named_tokens(make_tokenizer(), TOKENS), named_tokens(tokenizer, TOKENS), label="q")


BEFORE = (("<s>",), ("[gMASK]", "<sop>"), ())


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("behind", [(), ("</s>",), ("</s>", "<sop>")])
def test_windows_and_prompts_begin_with_what_stands_before_a_text_alone(before, behind):
    tokenizer, plain = putting(before, behind), putting(before, ())
    text = "The quick brown fox, 12345 times. " * 20
    start = [tokenizer.convert_tokens_to_ids(token) for token in before]
    assert start_of_text(tokenizer) == start == plain("x")["input_ids"][:-1]
    corpus = Corpus(name="text", path="t", context_lengths=(16,), windows=3)
    made, expected = (text_windows(corpus, [text], t, 0.5) for t in (tokenizer, plain))
    assert [w.tokens for w in made.windows] == [w.tokens for w in expected.windows]
    assert all(list(w.tokens[: len(start)]) == start for w in made.windows)
    assert _windows_there([text], tokenizer, 16, "packed") == _windows_there([text], plain, 16, "packed")
    item = HarnessModel(tokenizer).item("0", [("The quick", " brown"), ("The quick", " fox, 12")])
    assert list(item.prompt) == plain("The quick")["input_ids"]
    assert [tokenizer.decode(choice) for choice in item.choices] == [" brown", " fox, 12"]


@pytest.mark.parametrize("before", BEFORE[:2])
def test_a_chat_that_begins_as_the_tokenizer_does_is_not_begun_twice(before):
    tokenizer = putting(before, ("</s>",))
    chat = "".join(before) + "The quick"
    assert HarnessModel(tokenizer).tok_encode(chat) == putting(before, ())("The quick")["input_ids"]


@pytest.mark.parametrize("kind", ["Qwen2", "Llama", "GPTNeoX", "Gemma3Text", "Mistral", "Cohere", "Phi3"])
def test_a_tokenizer_is_what_its_file_says_whatever_the_models_type(tmp_path, kind):
    """transformers has classes for some of these types that normalise, cut or add tokens of their own."""
    import transformers
    from tokenizers import Tokenizer

    getattr(transformers, f"{kind}Config")().save_pretrained(tmp_path)
    putting(("<s>",), ()).save_pretrained(tmp_path)
    own, loaded = Tokenizer.from_file(str(tmp_path / "tokenizer.json")), load_tokenizer(tmp_path)
    assert loaded.get_vocab() == own.get_vocab()
    for text in ("  e\u0301 é 12345\n\n2. The quick brown fox", "\u2581a <sop>x</s>"):
        assert loaded(text)["input_ids"] == own.encode(text).ids


def unigram():
    """As T5's: pieces with scores, bytes for what is in none, </s> behind a text and nothing before it."""
    from tokenizers import Tokenizer, models

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"<0x{byte:02X}>", -9.0) for byte in range(256))]
    pieces += [
        ("\u2581", -2.0),
        ("\u2581the", -3.0),
        ("quick", -3.0),
        *((letter, -5.0) for letter in "abcdefghijklmno"),
    ]
    made = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return made, []


def word_pieces():
    """As BERT's, in lower case: [CLS] before and [SEP] behind a text."""
    from tokenizers import Tokenizer, models, normalizers

    vocabulary = {token: i for i, token in enumerate(["[UNK]", "[CLS]", "[SEP]", "a", "the", "quick", "##ly", "7"])}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return made, [1]


def prefixed():
    """As RoBERTa's and early Falcon's: a space is put before a text's first word."""
    tokenizer = make_tokenizer().backend_tokenizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(),
            processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]),
        ]
    )
    return tokenizer, [0]


def spaced():
    """As GPT-NeoX's: runs of spaces are added tokens that are not special."""
    tokenizer = make_tokenizer().backend_tokenizer
    tokenizer.add_tokens([" " * n for n in range(24, 1, -1)])
    return tokenizer, []


def many_controls():
    """As Mistral's: a thousand control tokens first, BOS among them."""
    from tokenizers import Tokenizer, decoders, models

    controls = ["<unk>", "<s>", "</s>", *(f"<SPECIAL_{i}>" for i in range(3, 1000))]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({token: i for i, token in enumerate([*controls, *letters])}, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.add_special_tokens(controls)
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return made, [1]


@pytest.mark.parametrize("make", [unigram, word_pieces, prefixed, spaced, many_controls])
def test_every_kind_of_tokenizer_is_read_from_its_folder_and_begins_its_texts(tmp_path, make):
    from transformers import PreTrainedTokenizerFast

    made, start = make()
    PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    text = "the quick    a 7\n  the quickly " * 6
    own = loaded(text, add_special_tokens=False)["input_ids"]
    assert start_of_text(loaded) == start
    assert own == made.encode(text, add_special_tokens=False).ids
    size = vocabulary_size(loaded, None)
    assert size == max(made.get_vocab().values()) + 1
    check_same_tokens(
        named_tokens(loaded, size), named_tokens(PreTrainedTokenizerFast(tokenizer_object=made), size), label="q"
    )
    corpus = Corpus(name="text", path="t", context_lengths=(8,), windows=2)
    cut = [t for w in text_windows(corpus, [text], loaded, 0.5).windows for t in w.tokens[len(start) :]]
    ended = made.encode(text.strip() + "\n\n", add_special_tokens=False).ids
    assert cut == ended[: len(cut)]


def test_a_folder_without_a_vocabulary_is_refused(tmp_path):
    make_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(TokenizerError, match=r"(?s)no readable tokenizer.*tokenizer_config\.json"):
        load_tokenizer(tmp_path)
    for broken in ("", "{}", '{"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}}'):
        (tmp_path / "tokenizer.json").write_text(broken)
        with pytest.raises(TokenizerError, match="no readable tokenizer"):
            load_tokenizer(tmp_path)
