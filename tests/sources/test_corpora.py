"""Windows of tokens: lengths, scored positions, clusters, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qkld.errors import CorpusError
from qkld.sources.corpora import chat_prompts, chat_windows, read_documents, scored_by_context, text_windows
from qkld.sources.windows import kept_positions, scored_positions
from qkld.study.params import Corpus


class Letters:
    """A tokenizer of letters: 'a' is 0; with ``bos`` it begins every text with 99, as Llama's does."""

    eos_token_id = 50
    chat_template: str | None = "user: {text}"

    def __init__(self, bos: bool = False) -> None:
        self.bos = bos

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        ids = [ord(c) - 97 for c in text if c.isalpha()]
        return {"input_ids": [99, *ids] if self.bos and add_special_tokens else ids}

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [60, *self(messages[0]["content"])["input_ids"], 61]}


def corpus(**values: Any) -> Corpus:
    return Corpus(**{"name": "prose", "asset": "x", "context_lengths": (8, 16), "windows": 3, **values})


def test_packed_windows_follow_each_other_in_the_joined_text() -> None:
    documents = ["abcdefghij", "klmnopqrst", "uvwxyz" * 8]
    made = text_windows(corpus(), documents, Letters(), 0.5)
    assert [len(w.tokens) for w in made.windows] == [16, 16, 16]
    assert [t for w in made.windows for t in w.tokens][:26] == list(range(26))
    assert made.clusters == 3


def test_a_document_gives_its_beginning_and_short_ones_are_passed_over() -> None:
    documents = ["short", "a" * 20, "b" * 16, "tiny", "c" * 40]
    made = text_windows(corpus(packing="documents"), documents, Letters(), 0.5)
    assert [w.tokens for w in made.windows] == [(0,) * 16, (1,) * 16, (2,) * 16]


def test_every_window_begins_as_the_tokenizer_begins_a_text() -> None:
    for packing in ("packed", "documents"):
        made = text_windows(corpus(packing=packing), ["abcdefghijklmnopqrstuvwxyz"] * 3, Letters(bos=True), 0.5)
        assert all(w.tokens[0] == 99 and len(w.tokens) == 16 for w in made.windows)


def test_shorter_contexts_are_beginnings_and_the_second_half_is_scored() -> None:
    entry = corpus()
    made = text_windows(entry, ["abcdefghijklmnopqrstuvwxyz" * 3], Letters(), 0.5)
    assert scored_by_context(entry, made.windows, 0.5)[0] == {8: (4, 5, 6, 7), 16: tuple(range(8, 16))}
    assert made.windows[0].positions == (*range(3, 7), *range(7, 15))


def test_a_context_may_have_fewer_windows() -> None:
    entry = corpus(windows_at={16: 1})
    made = text_windows(entry, ["abcdefghijklmnopqrstuvwxyz" * 3], Letters(), 0.5)
    assert [len(w.tokens) for w in made.windows] == [16, 8, 8]
    assert [sorted(s) for s in scored_by_context(entry, made.windows, 0.5)] == [[8, 16], [8], [8]]


def test_the_first_token_is_never_scored() -> None:
    assert scored_positions(4, 0.0) == (1, 2, 3)
    assert kept_positions((4,), 0.0) == (0, 1, 2)


def test_a_chat_is_one_window_of_its_own_length_and_its_answer_is_scored() -> None:
    entry = corpus(kind="chat", context_lengths=(), windows=2)
    prompts = chat_prompts(entry, ["abc", "de", "never asked"], Letters())
    made = chat_windows(entry, prompts, [(5, 6, 50), (7,)])
    assert prompts == [(60, 0, 1, 2, 61), (60, 3, 4, 61)]
    assert made.windows[0].tokens == (60, 0, 1, 2, 61, 5, 6, 50)
    assert scored_by_context(entry, made.windows, 0.5) == [{0: (5, 6, 7)}, {0: (4,)}]


def test_too_little_text_is_refused_with_what_was_found() -> None:
    with pytest.raises(CorpusError, match="found:    1 windows"):
        text_windows(corpus(), ["abcdefghijklmnopqrstuvwxyz"], Letters(), 0.5)
    with pytest.raises(CorpusError, match="too short"):
        text_windows(corpus(packing="documents"), ["abc"] * 9, Letters(), 0.5)
    chat = corpus(kind="chat", context_lengths=(), windows=2)
    with pytest.raises(CorpusError, match="2 questions"):
        chat_prompts(chat, ["abc"], Letters())
    with pytest.raises(CorpusError, match="no window"):
        chat_windows(chat, [(1, 2)], [()])


def test_a_model_without_a_chat_template_is_refused() -> None:
    tokenizer = Letters()
    tokenizer.chat_template = None
    with pytest.raises(CorpusError, match="no chat template"):
        chat_prompts(corpus(kind="chat", context_lengths=(), windows=1), ["abc"], tokenizer)


def test_documents_are_lines_of_json_or_one_plain_text(tmp_path: Path) -> None:
    lines, plain = tmp_path / "a.jsonl", tmp_path / "b.txt"
    lines.write_text(json.dumps({"text": "one"}) + "\n\n" + json.dumps({"text": "two", "name": "x"}) + "\n")
    plain.write_text("one\n\ntwo")
    assert read_documents(lines) == ["one", "two"]
    assert read_documents(plain) == ["one\n\ntwo"]
    lines.write_text('{"words": "one"}\n')
    with pytest.raises(CorpusError, match=r'line 1, cannot be used.\n  expected: lines of JSON such as \{"text"'):
        read_documents(lines)
    with pytest.raises(CorpusError, match="no such file"):
        read_documents(tmp_path / "missing.txt")
