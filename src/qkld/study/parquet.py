"""Parquet files with a note and a SHA-256 over every byte of the file, in which the digest's own place counts as zeros.

Parquet's page checksums leave headers and footer out, and a digest of values leaves out how they are stored. The digest
lies in the footer, so that a table is one file that may be copied by itself; but for a table that was written beside
another of its folder, whose columns it leaves out where they are alike. Its key columns stay: whoever reads the file
with another program knows what each row is of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from qkld.study.provenance import canonical_json, written_whole

ROWS_AT_ONCE = 65_536
"""Rows that are written together, so that memory does not grow with a table's length."""

DIGEST = "file_sha256"
"""Key of the digest in a file's note."""

BASE = "base"
"""Key in a file's note of the file beside it that holds the columns that both have alike."""

_KEY = "qkld"
_BLANK = "0" * 64
_MARK = f'{{"{DIGEST}":"'.encode()  # a note begins with it
_MAGIC = b"PAR1"
_TAIL = 8  # bytes after the footer: its length, and the magic word


class AlteredFile(ValueError):
    """A file's bytes are not those that were written."""


def write_parquet(
    path: Path, table: pa.Table, note: dict[str, Any], base: Path | None = None, key: Collection[str] = ()
) -> None:
    """Write a table whole, with a note (JSON) and the file's digest in its footer.

    ``base`` is a file of the same folder that was written without one: columns that it has alike, row by row, are left
    out but for those of ``key``, and `read_parquet` takes them from there.
    """
    table = table.replace_schema_metadata(None)
    if base is not None:
        table, alike = _apart(table, base, key)
        note = note | {BASE: alike} if alike["columns"] else note
    with written_whole(path) as temporary:
        with pq.ParquetWriter(temporary, table.schema, **_encoded(table.schema)) as writer:
            writer.write_table(table, row_group_size=ROWS_AT_ONCE)
            rest = canonical_json(note)[1:]
            writer.add_key_value_metadata({_KEY: f'{_MARK.decode()}{_BLANK}"{"," if note else ""}{rest}'})
        with pa.memory_map(str(temporary)) as file:
            data = memoryview(file.read_buffer())
            place = _place_of_digest(data)
            digest = _digest(data, place)
        with temporary.open("r+b") as stream:
            stream.seek(place)
            stream.write(digest.encode())


def _encoded(schema: pa.Schema) -> dict[str, Any]:
    """How columns are stored: bytes of one place of all numbers together, so that few significant bits take little.

    Smallest and largest values, and Arrow's own account of the types, are left out: of small tables they are a third.
    """
    numbers = [name for name, kind in _leaves(schema) if pa.types.is_floating(kind)]
    others = [name for name, kind in _leaves(schema) if not pa.types.is_floating(kind)]
    return {
        "compression": "zstd",
        "write_page_checksum": True,
        "write_statistics": False,
        "store_schema": False,
        "use_dictionary": others,
        "use_byte_stream_split": numbers,
    }


def _leaves(schema: pa.Schema) -> list[tuple[str, pa.DataType]]:
    """Parquet's name and the type of every column; of a list, of what it holds."""
    lists = pa.types.is_list, pa.types.is_large_list
    return [
        (f"{field.name}.list.element", field.type.value_type)
        if any(is_list(field.type) for is_list in lists)
        else (field.name, field.type)
        for field in schema
    ]


def read_parquet(path: Path) -> tuple[pa.Table, Any]:
    """The table and its note, None where there is none, once every byte was found to be as it was written.

    Of a file without a note, as other programs write it, nothing is checked.

    Raises
    ------
    AlteredFile
        If the file's digest is not the one it states, or the file beside it is not the one it was written beside.
    OSError, ValueError, pa.ArrowException
        If it is no whole Parquet file, or has a note and no digest.
    """
    table, note = _read(path)
    if isinstance(note, dict) and BASE in note:
        table = _together(table, path, note.pop(BASE))
    return table, note


def _read(path: Path) -> tuple[pa.Table, Any]:
    """A file's own columns, and its note."""
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


# --- a table beside another -------------------------------------------------------------------------------------------


def _apart(table: pa.Table, path: Path, key: Collection[str]) -> tuple[pa.Table, dict[str, Any]]:
    """The table without the columns that another file has alike, its key kept, and the note that says so."""
    base, _ = _read(path)
    shared = [name for name in table.column_names if name in base.column_names and name not in key]
    alike = [name for name in shared if _alike(table[name], base[name])]
    return table.drop_columns(alike), {"file": path.name, "values": _values_digest(base, alike), "columns": alike}


def _values_digest(table: pa.Table, columns: list[str]) -> str:
    """SHA-256 over the values of these columns, however they are stored."""
    return hashlib.sha256(json.dumps([table[name].to_pylist() for name in columns]).encode()).hexdigest()


def _alike(values: pa.ChunkedArray, others: pa.ChunkedArray) -> bool:
    """Whether two columns hold the same in one type of pandas, NaN and missing values included."""
    return len(values) == len(others) and values.to_pandas().equals(others.to_pandas())


def _together(table: pa.Table, path: Path, alike: dict[str, Any]) -> pa.Table:
    """A table with the columns that it left out, from the file beside it."""
    base_path = path.with_name(alike["file"])
    if not base_path.exists():
        raise AlteredFile(f"{base_path.name}, beside which it was written, is not there")
    base, _ = _read(base_path)
    lacking = [name for name in alike["columns"] if name not in base.column_names]
    if lacking or _values_digest(base, alike["columns"]) != alike["values"]:
        raise AlteredFile(f"{base_path.name} has other values than when it was written beside that")
    for name in alike["columns"]:
        table = table.append_column(base.schema.field(name), base[name])
    return table


def read_note(path: Path) -> Any:
    """The note in a file's footer, None where there is none; nothing is compared with the digest."""
    return json.loads((pq.read_metadata(path).metadata or {}).get(_KEY.encode(), b"null"))


def read_frame(path: Path) -> pd.DataFrame:
    """The table of a Parquet file, whoever wrote it, with the columns that it left out because another has them.

    Raises
    ------
    AlteredFile, OSError, ValueError, pa.ArrowException
        As `read_parquet`.
    """
    return read_parquet(path)[0].to_pandas() if leaves_out(path) else pd.read_parquet(path)


def leaves_out(path: Path) -> bool:
    """Whether a file was written beside another, which has columns of it."""
    note = read_note(path)
    return isinstance(note, dict) and BASE in note


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
