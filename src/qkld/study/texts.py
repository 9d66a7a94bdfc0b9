"""Text files of users and of other tools: one encoding, one kind of line, and errors that name byte and line.

Text is UTF-8, with or without its byte order mark. A line ends at a line feed and nowhere else: Python's `splitlines`
also breaks at U+2028, U+2029, U+0085 and others, which may stand inside a JSON string.
"""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from qkld.errors import QkldError

JSON_LINES = frozenset({".jsonl", ".ndjson", ".json"})
"""Endings of files that hold a JSON value a line, whatever the letters' case."""

BEGINNINGS = {
    codecs.BOM_UTF32_LE: "UTF-32, by its byte order mark",
    codecs.BOM_UTF32_BE: "UTF-32, by its byte order mark",
    codecs.BOM_UTF16_LE: "UTF-16, by its byte order mark",
    codecs.BOM_UTF16_BE: "UTF-16, by its byte order mark",
    b"\x1f\x8b": "a file compressed by gzip",
    b"\x28\xb5\x2f\xfd": "a file compressed by zstd",
    b"BZh": "a file compressed by bzip2",
    b"\xfd7zXZ\x00": "a file compressed by xz",
    b"PK\x03\x04": "a zip archive",
    b"PAR1": "a Parquet table",
    b"GGUF": "a GGUF model",
    b"%PDF-": "a PDF document",
}
"""What files that are no text begin with; UTF-32 first, whose mark begins as that of UTF-16."""

LOOKED_AT = 4096
"""Bytes in which UTF-16 without a mark is looked for."""


class JsonLine(NamedTuple):
    """One line of a file of JSON: its number from 1, its text, and its value."""

    number: int
    text: str
    value: Any


def read_text(path: Path, *, error: type[QkldError], packed: bool = False) -> str:
    """The text of a file, without a byte order mark; its line ends as line feeds, as Python reads text.

    With ``packed`` a file compressed by gzip is unpacked first.

    Raises
    ------
    error
        If there is no such file, it cannot be read, or its bytes are no UTF-8; the message names the first such byte.
    """
    return _decoded(path, error, packed).replace("\r\n", "\n").replace("\r", "\n")


def lines(text: str) -> list[str]:
    """The lines of a text, which end at line feeds only; without an empty one after the last."""
    parts = text.split("\n")
    return parts if parts[-1] else parts[:-1]


def json_lines(path: Path, *, error: type[QkldError], expected: str, packed: bool = False) -> Iterator[JsonLine]:
    """Every line that is not blank, with its value; ``expected`` says in messages what a line should be.

    With ``packed`` a file compressed by gzip is unpacked first.

    Raises
    ------
    error
        As `read_text`, and where a line is no JSON or holds half a character (an unpaired surrogate).
    """
    for number, line in enumerate(lines(_decoded(path, error, packed)), start=1):
        if line.strip(" \t\r"):
            yield JsonLine(number, line, _value(path, number, line, error, expected))


def bad_line(path: Path, number: int, error: type[QkldError], *, expected: str, found: object) -> QkldError:
    """The error of a line that is not what it should be."""
    return error(f"{path}, line {number}, cannot be used.", expected=expected, found=found, do="correct the line")


def _value(path: Path, number: int, line: str, error: type[QkldError], expected: str) -> Any:
    try:
        value = json.loads(line)
        if "\\u" in line:  # only an escape can stand for half a character
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as problem:
        found = f"{type(problem).__name__}: {problem}"[:400]
        raise bad_line(path, number, error, expected=expected, found=found) from problem
    return value


def file_bytes(path: Path, *, error: type[QkldError], packed: bool = False) -> bytes:
    """The bytes of a file, unpacked where gzip packed it and ``packed`` is set.

    Raises
    ------
    error
        If there is no such file, it cannot be read, or it is no whole gzip file.
    """
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise _unreadable(path, error, expected="a file", found=_reason(path, problem), do="name another") from problem
    return _unpacked(path, error, content) if packed and content.startswith(b"\x1f\x8b") else content


def _decoded(path: Path, error: type[QkldError], packed: bool) -> str:
    content = file_bytes(path, error=error, packed=packed)
    known = next((kind for beginning, kind in BEGINNINGS.items() if content.startswith(beginning)), None)
    if known is None and content[:LOOKED_AT].count(0) > len(content[:LOOKED_AT]) // 4:
        known = "more than a quarter of zero bytes, as in UTF-16 without a byte order mark"
    if known is not None:
        do = "write it again as UTF-8, for example by `iconv -f UTF-16 -t UTF-8`, or unpack it first"
        raise _unreadable(path, error, expected="text in UTF-8", found=known, do=do)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        found = f"byte 0x{content[problem.start]:02x} at place {problem.start}, in line {line}: {problem.reason}"
        do = "if it is Latin-1 or Windows-1252, write it again by `iconv -f WINDOWS-1252 -t UTF-8`"
        raise _unreadable(path, error, expected="text in UTF-8", found=found, do=do) from problem


def _unpacked(path: Path, error: type[QkldError], content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as problem:
        found = f"{type(problem).__name__}: {problem}"
        raise _unreadable(path, error, expected="a whole gzip file", found=found, do="copy it again") from problem


def _reason(path: Path, problem: OSError) -> str:
    if path.is_dir():
        return f"a folder, with {', '.join(sorted(p.name for p in path.iterdir())[:5]) or 'nothing in it'}"
    return "no such file" if isinstance(problem, FileNotFoundError) else str(problem.strerror or problem)


def _unreadable(path: Path, error: type[QkldError], *, expected: str, found: str, do: str) -> QkldError:
    return error(f"{path} cannot be read.", expected=expected, found=found, do=do)
