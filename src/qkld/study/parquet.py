"""Parquet files with a note and a SHA-256 over every byte of the file, in which the digest's own place counts as zeros.

Parquet's page checksums leave headers and footer out, and a digest of values leaves out how they are stored. The digest
lies in the footer, so that a table is one file that may be copied by itself.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qkld.study.provenance import canonical_json, written_whole

ROWS_AT_ONCE = 65_536
"""Rows that are written together, so that memory does not grow with a table's length."""

DIGEST = "file_sha256"
"""Key of the digest in a file's note."""

_KEY = "qkld"
_BLANK = "0" * 64
_MARK = f'{{"{DIGEST}":"'.encode()  # a note begins with it
_MAGIC = b"PAR1"
_TAIL = 8  # bytes after the footer: its length, and the magic word


class AlteredFile(ValueError):
    """A file's bytes are not those that were written."""


def write_parquet(path: Path, table: pa.Table, note: dict[str, Any]) -> None:
    """Write a table whole, with a note (JSON) and the file's digest in its footer."""
    table = table.replace_schema_metadata(None)
    with written_whole(path) as temporary:
        with pq.ParquetWriter(temporary, table.schema, compression="zstd", write_page_checksum=True) as writer:
            writer.write_table(table, row_group_size=ROWS_AT_ONCE)
            writer.add_key_value_metadata({_KEY: _MARK.decode() + _BLANK + '",' + canonical_json(note)[1:]})
        with pa.memory_map(str(temporary)) as file:
            data = memoryview(file.read_buffer())
            place = _place_of_digest(data)
            digest = _digest(data, place)
        with temporary.open("r+b") as stream:
            stream.seek(place)
            stream.write(digest.encode())


def read_parquet(path: Path) -> tuple[pa.Table, Any]:
    """The table and its note, None where there is none, once every byte was found to be as it was written.

    Of a file without a note, as other programs write it, nothing is checked.

    Raises
    ------
    AlteredFile
        If the file's digest is not the one it states.
    OSError, ValueError, pa.ArrowException
        If it is no whole Parquet file, or has a note and no digest.
    """
    with pa.memory_map(str(path)) as file:
        buffer = file.read_buffer()
        data = memoryview(buffer)
        place = _place_of_digest(data)
        if place is not None:
            stated, found = bytes(data[place : place + len(_BLANK)]), _digest(data, place)
            if stated != found.encode():
                raise AlteredFile(f"digest {found} instead of {stated.decode(errors='replace')}")
        parquet = pq.ParquetFile(pa.BufferReader(buffer))
        note = json.loads((parquet.metadata.metadata or {}).get(_KEY.encode(), b"null"))
        if note is not None and place is None:
            raise ValueError("no digest of the file's bytes: an earlier version of qkld wrote it, or it was damaged")
        return parquet.read().replace_schema_metadata(None), note


def read_note(path: Path) -> Any:
    """The note in a file's footer, None where there is none; nothing is compared with the digest."""
    return json.loads((pq.read_metadata(path).metadata or {}).get(_KEY.encode(), b"null"))


def _place_of_digest(data: memoryview) -> int | None:
    """Where the digest begins, or None where the footer holds none."""
    if data[-len(_MAGIC) :] != _MAGIC:
        raise ValueError("not Parquet's last bytes: it was cut off, or is no Parquet file")
    length = int.from_bytes(data[-_TAIL : -_TAIL // 2], "little")
    start = max(0, len(data) - _TAIL - length)
    found = bytes(data[start:]).rfind(_MARK)
    return None if found < 0 else start + found + len(_MARK)


def _digest(data: memoryview, place: int) -> str:
    digest = hashlib.sha256(data[:place])
    digest.update(_BLANK.encode())
    digest.update(data[place + len(_BLANK) :])
    return digest.hexdigest()
