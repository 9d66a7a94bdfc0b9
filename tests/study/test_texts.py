"""Texts in every encoding and with every kind of line end: read as they are, or refused with the byte or the line."""

from __future__ import annotations

import codecs
import gzip
import json

import pytest

from qkld.analysis.importing.reading import json_lines
from qkld.errors import CorpusError, TableError
from qkld.sources.corpora import read_documents
from qkld.study.texts import lines, read_text

WORDS = "Grüße, naïve café: 東京 🙂 and so on. " * 3

INSIDE_STRINGS = ("\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e")
"""Everything beside line feed and carriage return at which `str.splitlines` breaks."""


def written(path, content: str | bytes):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("sign", INSIDE_STRINGS)
def test_a_line_ends_at_a_line_feed_only(tmp_path, sign):
    assert len(f"a{sign}b".splitlines()) == 2
    text = f"one{sign}two"
    assert lines(f"{text}\nthree\n") == [text, "three"]
    assert read_text(written(tmp_path / "a.txt", text), error=CorpusError) == text
    if ord(sign) > 31:  # JSON escapes the others itself
        path = written(tmp_path / "a.jsonl", json.dumps({"text": text}, ensure_ascii=False) + "\n")
        assert read_documents(path) == [text]
        assert list(json_lines(path, expected="a text")) == [(1, {"text": text})]


@pytest.mark.parametrize("name", ["a.jsonl", "a.JSONL", "a.ndjson", "a.json"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_of_json_are_told_by_their_ending_and_a_mark_is_dropped(tmp_path, name, end):
    content = end.join([json.dumps({"text": "one"}), "", json.dumps({"text": WORDS, "id": 2}, ensure_ascii=False)])
    for mark in (b"", codecs.BOM_UTF8):
        assert read_documents(written(tmp_path / name, mark + content.encode())) == ["one", WORDS]


def test_plain_text_is_the_same_whatever_its_mark_and_line_ends(tmp_path):
    text = f"{WORDS}\n\n{WORDS}\nwith a \0 inside"
    for content in (text.encode(), codecs.BOM_UTF8 + text.encode(), text.replace("\n", "\r\n").encode()):
        assert read_documents(written(tmp_path / "a.txt", content)) == [text]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("one\ncafé".encode("latin-1"), r"byte 0xe9 at place 7, in line 2"),
        ("one – two".encode("cp1252"), r"byte 0x96 at place 4, in line 1.*(?s:.*)WINDOWS-1252"),
        ("日本語の文章".encode("shift-jis"), r"byte 0x93 at place 0"),
        (WORDS.encode("utf-16"), r"UTF-16, by its byte order mark"),
        (codecs.BOM_UTF16_BE + WORDS.encode("utf-16-be"), r"UTF-16, by its byte order mark"),
        (WORDS.encode("utf-32"), r"UTF-32, by its byte order mark"),
        (b"plain English".ljust(64).decode().encode("utf-16-le"), r"zero bytes, as in UTF-16 without"),
        (gzip.compress(WORDS.encode(), mtime=0), r"compressed by gzip"),
        (b"PAR1\x15\x04", r"a Parquet table"),
        (WORDS.encode()[:-30] + b"\xf0\x9f", r"byte 0xf0.*unexpected end"),
    ],
)
def test_what_is_no_utf8_is_refused_with_byte_and_place(tmp_path, content, found):
    for name in ("a.txt", "a.jsonl"):
        with pytest.raises(CorpusError, match=rf"cannot be read\.\n  expected: text in UTF-8\n  found:    .*{found}"):
            read_documents(written(tmp_path / name, content))
    with pytest.raises(TableError, match=found):
        list(json_lines(tmp_path / "a.jsonl", expected="a sample"))


@pytest.mark.parametrize(
    "line",
    [
        *('{"text": null}', '{"text": 3}', '{"content": "x"}', "{}", "[]", '"text"', "null", "3", '["text"]'),
        *('{"text": "x"', "text", '{"text": "half \\ud83d a character"}', "[" * 100_000, "{'text': 'x'}", "9" * 5000),
    ],
)
def test_a_line_without_a_text_is_named(tmp_path, line):
    path = written(tmp_path / "a.jsonl", f'{{"text": "one"}}\n\n{line}\n')
    with pytest.raises(CorpusError, match=r"a\.jsonl, line 3, cannot be used"):
        read_documents(path)


def test_a_folder_a_missing_file_and_a_dangling_link_are_named(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    written(folder / "one.txt", WORDS)
    (tmp_path / "link.txt").symlink_to(tmp_path / "gone.txt")
    for path, found in (
        (folder, r"a folder, with one\.txt"),
        (tmp_path / "none.txt", "no such file"),
        (tmp_path / "link.txt", "no such file"),
        (folder / "one.txt" / "below", "Not a directory"),
    ):
        with pytest.raises(CorpusError, match=found):
            read_documents(path)
