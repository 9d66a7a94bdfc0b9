"""Base files on disk: what is written comes back, and every damage is noticed."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from small_stores import CONTEXT, VOCABULARY, WINDOWS, second_version_row, small_logits, small_tokens

from qkld.compare.stores import BaseFile, seal_base_file, write_base_file
from qkld.compare.stores.base_file import base_positions, seal_of
from qkld.compare.stores.base_format import BaseHeader, encode_rows
from qkld.errors import DiskError, StoreError


def written(folder: Path, clamp: float = 16.0) -> BaseFile:
    return write_base_file(folder / "base.kld", small_tokens(), small_logits(), VOCABULARY, clamp=clamp)


def test_bytes_are_those_of_the_layout(tmp_path: Path) -> None:
    file = written(tmp_path)
    expected = b"_logits_" + np.array([CONTEXT, VOCABULARY, WINDOWS], dtype="<i4").tobytes()
    expected += small_tokens().astype("<i4").tobytes() + b"".join(encode_rows(x).tobytes() for x in small_logits())
    assert file.path.read_bytes() == expected
    assert file.path.stat().st_size == file.header.size


def test_tokens_windows_and_rows_come_back(tmp_path: Path) -> None:
    file = written(tmp_path)
    for i, window in enumerate(file.windows):
        assert window.tokens == tuple(small_tokens()[i])
        assert window.positions == (6, 7, 8, 9, 10)
        assert file.targets(i).tolist() == [window.tokens[p + 1] for p in window.positions]
        np.testing.assert_array_equal(file.words(i), encode_rows(small_logits()[i]))


def test_positions_are_llama_cpps_for_even_and_odd_windows() -> None:
    assert base_positions(512) == tuple(range(256, 511))
    assert base_positions(7) == (3, 4, 5)


@pytest.mark.parametrize("clamp", [16.0, 24.0])
def test_the_writers_clamp_is_recognised(tmp_path: Path, clamp: float) -> None:
    logits = [x * 4 for x in small_logits()]
    assert write_base_file(tmp_path / "f", small_tokens(), logits, VOCABULARY, clamp=clamp).clamp() == clamp


def test_a_file_that_no_clamp_reached_has_none(tmp_path: Path) -> None:
    logits = [x / 10 for x in small_logits()]
    assert write_base_file(tmp_path / "f", small_tokens(), logits, VOCABULARY).clamp() is None


def test_version_2_is_read(tmp_path: Path) -> None:
    header = BaseHeader(CONTEXT, VOCABULARY, WINDOWS, version=2)
    rows = b"".join(second_version_row(row).tobytes() for block in small_logits() for row in block)
    (tmp_path / "v2").write_bytes(header.to_bytes() + small_tokens().astype("<i4").tobytes() + rows)
    file = BaseFile(tmp_path / "v2")
    assert file.clamp() is None
    exact = small_logits()[1].astype(float)
    exact -= np.log(np.exp(exact).sum(axis=1, keepdims=True))
    known = file.rows(1).enclosure(slice(None))
    assert ((known.low <= exact) & (exact <= known.high)).all()


@pytest.mark.parametrize("size", [0, 7, 12, 19, 100, -1, -2000, 1])
def test_a_file_of_another_size_is_refused_with_both_sizes(tmp_path: Path, size: int) -> None:
    path = written(tmp_path).path
    seal_of(path).unlink()
    data = path.read_bytes()
    path.write_bytes(data + b"x" if size == 1 else data[:size])
    with pytest.raises(
        StoreError, match="not a base file" if size in (0, 7) else "size that its header states"
    ) as error:
        BaseFile(path)
    if size == -1:
        assert f"{len(data):,} bytes" in str(error.value)
        assert f"{len(data) - 1:,} bytes" in str(error.value)


def test_every_flipped_bit_is_noticed(tmp_path: Path, rng: np.random.Generator) -> None:
    path = written(tmp_path).path
    data = bytearray(path.read_bytes())
    places = sorted({*range(0, 24), *rng.integers(24, len(data), 60).tolist(), len(data) - 1})
    for place in places:
        changed = data.copy()
        changed[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "changed").write_bytes(changed)
        seal_of(tmp_path / "changed").write_bytes(seal_of(path).read_bytes())
        with pytest.raises(StoreError):
            read_all(tmp_path / "changed")


def read_all(path: Path) -> None:
    file = BaseFile(path)
    for i in range(len(file.windows)):
        file.rows(i).enclosure(slice(None))


def test_swapped_windows_are_noticed(tmp_path: Path) -> None:
    file = written(tmp_path)
    data, (start, length) = file.path.read_bytes(), (file.header.rows_at, file.header.window_bytes)
    swapped = data[:start] + data[start + length : start + 2 * length] + data[start : start + length]
    file.path.write_bytes(swapped + data[start + 2 * length :])
    with pytest.raises(StoreError, match="window 0 with another digest"):
        BaseFile(file.path).rows(0)


def test_an_edited_seal_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path).path
    seal = json.loads(seal_of(path).read_text())
    seal_of(path).write_text(json.dumps({**seal, "made": {"by": "somebody else"}}))
    with pytest.raises(StoreError, match="damaged or edited"):
        BaseFile(path)


def test_another_programs_file_can_be_sealed(tmp_path: Path) -> None:
    path = written(tmp_path).path
    seal_of(path).unlink()
    data = path.read_bytes()
    seal_base_file(path, by="llama-perplexity")
    assert json.loads(seal_of(path).read_text())["made"] == {"by": "llama-perplexity"}
    assert path.read_bytes() == data
    path.write_bytes(data[:-3] + b"\0" + data[-2:])
    with pytest.raises(StoreError, match="another digest"):
        BaseFile(path).words(WINDOWS - 1)


def test_tokens_outside_the_vocabulary_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path).path
    seal_of(path).unlink()
    data = bytearray(path.read_bytes())
    data[20:24] = np.array([VOCABULARY], dtype="<i4").tobytes()
    path.write_bytes(data)
    with pytest.raises(StoreError, match="outside the vocabulary"):
        BaseFile(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nothing\.kld"):
        BaseFile(tmp_path / "nothing.kld")


def failing() -> Iterator[np.ndarray]:
    yield small_logits()[0]
    raise RuntimeError("the model stopped")


def test_a_writer_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = written(tmp_path).path
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="the model stopped"):
        write_base_file(path, small_tokens(), failing(), VOCABULARY)
    assert path.read_bytes() == before
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize(
    ("tokens", "logits", "message"),
    [
        (small_tokens() + VOCABULARY, small_logits(), r"token ids of the vocabulary"),
        (small_tokens()[0], small_logits(), r"shape \(windows, context\)"),
        (small_tokens(), small_logits()[:2], "as many blocks"),
        (small_tokens(), [*small_logits(), small_logits()[0]], "logits of window 3 of 3"),
        (small_tokens(), [x[:, 1:] for x in small_logits()], "logits of window 0"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_written(tmp_path: Path, tokens, logits, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        write_base_file(tmp_path / "f", tokens, logits, VOCABULARY)
    assert list(tmp_path.iterdir()) == []


def test_a_clamp_that_readers_do_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="clamp"):
        write_base_file(tmp_path / "f", small_tokens(), small_logits(), VOCABULARY, clamp=20.0)


def test_a_full_disk_is_an_error_and_leaves_no_file(small_disk: Path) -> None:
    logits = (np.zeros((5, 4001), dtype=np.float32) for _ in range(WINDOWS * 4))
    tokens = np.zeros((WINDOWS * 4, CONTEXT), dtype=int)
    with pytest.raises(DiskError, match="cannot be written"):
        write_base_file(small_disk / "f", tokens, logits, 4001)
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("windows", [4, 32])
def test_memory_holds_one_window_however_many_there_are(tmp_path: Path, windows: int) -> None:
    tokens = np.zeros((windows, CONTEXT), dtype=int)
    tracemalloc.start()
    file = write_base_file(tmp_path / "f", tokens, (np.ones((5, 20_001), np.float32) for _ in range(windows)), 20_001)
    for i in range(windows):
        file.rows(i).enclosure(slice(0, 1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30 * 5 * 20_001  # bytes: a few float32 copies of one window's logits
