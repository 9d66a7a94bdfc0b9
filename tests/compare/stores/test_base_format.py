"""Rows of a base file against llama.cpp's arithmetic, written out one number at a time."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from small_stores import second_version_row

from qkld.compare.stores.base_format import BaseHeader, BaseRows, encode_rows
from qkld.errors import StoreError

F = np.float32


def literal_row(logits: np.ndarray, clamp: float = 16.0) -> np.ndarray:
    """One row as llama.cpp's ``log_softmax`` writes it, in scalar float32."""
    largest, least = F(max(logits)), F(min(logits))
    least = max(least, F(largest - F(clamp)))
    total = 0.0
    for x in logits:
        total += float(np.exp(F(x - largest)))
    floor = F(F(least - largest) - F(np.log(total)))
    scale = F(F(largest - least) / F(65535.0))
    row = np.zeros(2 * ((len(logits) + 1) // 2) + 4, dtype="<u2")
    row[:4] = np.array([scale, floor], dtype="<f4").view("<u2")
    if scale:
        inverse = F(F(1) / scale)
        for i, x in enumerate(logits):
            row[4 + i] = int(np.rint(F(inverse * F(x - least)))) if x > least else 0
    return row


def rows_of(words: np.ndarray, vocabulary: int, version: int = 1) -> BaseRows:
    return BaseRows(np.atleast_2d(words), BaseHeader(8, vocabulary, 1, version))


@pytest.mark.parametrize("clamp", [16.0, 24.0])
@pytest.mark.parametrize("vocabulary", [2, 41, 401, 1271])
def test_codes_and_row_headers_are_llama_cpps(rng: np.random.Generator, vocabulary: int, clamp: float) -> None:
    logits = (rng.standard_normal((20, vocabulary)) * rng.uniform(0.1, 9, (20, 1))).astype(F)
    logits[0] = 1.5  # no step
    logits[1, 0] = 60.0  # all others clamped
    logits[2] = np.round(logits[2])  # ties
    expected = np.stack([literal_row(row, clamp) for row in logits])
    np.testing.assert_array_equal(encode_rows(logits, clamp), expected)


@pytest.mark.parametrize("clamp", [16.0, 24.0])
def test_every_log_probability_lies_within_its_half_width(rng: np.random.Generator, clamp: float) -> None:
    logits = (rng.standard_normal((60, 1271)) * rng.uniform(0.1, 9, (60, 1)) + rng.uniform(-30, 30, (60, 1))).astype(F)
    exact = logits.astype(float) - np.log(np.exp(logits - logits.max(1, keepdims=True).astype(float)).sum(1))[:, None]
    exact -= logits.max(1, keepdims=True)
    known = rows_of(encode_rows(logits, clamp), 1271).enclosure(slice(None))
    assert (known.low <= exact).all()
    assert (exact <= known.high).all()
    kept = ~known.rest
    widest = (known.high - known.low)[kept].max()
    assert widest <= 2 * (0.52 * clamp / 65535 + 2e-5)
    mass = np.where(known.rest, np.exp(exact), 0).sum(1)
    assert ((known.rest_low <= mass) & (mass <= known.rest_high)).all()


def test_what_llama_cpp_decodes_sums_to_more_than_one() -> None:
    logits = np.zeros((1, 40_001), dtype=F)
    logits[0, 7] = 30.0
    rows = rows_of(encode_rows(logits), 40_001)
    decoded = rows.log_probabilities()
    assert decoded[0, 7] == pytest.approx(0.0, abs=1e-6)
    assert decoded[0, 0] == pytest.approx(-16.0, abs=1e-5)
    assert np.exp(decoded.astype(float)).sum() > 1.004
    assert rows.enclosure(slice(None)).rest_high[0] < 3e-4  # what half a step at the top leaves, not 0.0045


def test_a_row_that_no_clamp_reached_has_a_value_for_code_0(rng: np.random.Generator) -> None:
    rows = rows_of(encode_rows(rng.uniform(0, 9, (3, 41)).astype(F)), 41)
    assert not rows.clamped.any()
    assert np.isfinite(rows.enclosure(slice(None)).low).all()


def test_a_row_of_equal_logits_is_uniform() -> None:
    known = rows_of(encode_rows(np.full((2, 41), 3.0, dtype=F)), 41).enclosure(slice(None))
    assert (np.abs(known.low + np.log(41)) < 1e-5).all()
    assert not known.rest.any()


def test_minus_infinity_is_only_below_the_floor_in_version_1_and_exact_in_version_2(rng: np.random.Generator) -> None:
    logits = rng.standard_normal((1, 40)).astype(F)
    logits[0, 3] = -np.inf
    first = rows_of(encode_rows(logits), 40).enclosure(slice(None))
    second = rows_of(second_version_row(logits[0]), 40, version=2).enclosure(slice(None))
    assert first.rest[0].nonzero()[0].tolist() == [3]
    assert np.isneginf(second.high[0, 3])
    assert not second.rest.any()


def test_version_2_covers_the_whole_range(rng: np.random.Generator) -> None:
    logits = (rng.standard_normal(301) * 15).astype(F)
    rows = rows_of(second_version_row(logits), 301, version=2)
    exact = logits.astype(float) - logits.max() - np.log(np.exp(logits.astype(float) - logits.max()).sum())
    known = rows.enclosure(slice(None))
    assert rows.scale[0] * 65534 > 60
    assert ((known.low[0] <= exact) & (exact <= known.high[0])).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused_with_their_number(bad: float) -> None:
    logits = np.zeros((5, 8), dtype=F)
    logits[[1, 4], 2] = bad
    with pytest.raises(StoreError, match="2 of 5 rows"):
        encode_rows(logits)


@pytest.mark.parametrize(
    ("word", "value"),
    [(0, F(-1.0)), (0, F(np.nan)), (0, F(1.0)), (1, F(np.inf)), (1, F(3.0))],
)
def test_a_row_with_an_impossible_header_is_refused(rng: np.random.Generator, word: int, value: np.float32) -> None:
    words = encode_rows(rng.standard_normal((4, 41)).astype(F) * 8)
    words[2, 2 * word : 2 * word + 2] = np.array([value], dtype="<f4").view("<u2")
    with pytest.raises(StoreError, match="Row 2 "):
        rows_of(words, 41)


def test_a_row_without_its_largest_code_is_refused(rng: np.random.Generator) -> None:
    words = encode_rows(rng.standard_normal((4, 41)).astype(F) * 8)
    words[1, 4 + words[1, 4:].argmax()] = 0
    with pytest.raises(StoreError, match="largest code 65535"):
        rows_of(words, 41)


def test_rows_whose_codes_can_not_sum_to_one_are_refused(rng: np.random.Generator) -> None:
    words = encode_rows(rng.standard_normal((4, 41)).astype(F) * 8)
    words[1, 4:40] = 65535
    with pytest.raises(StoreError, match="not a probability distribution"):
        rows_of(words, 41).enclosure(slice(None))


def test_the_header_says_where_everything_lies() -> None:
    header = BaseHeader(512, 151_937, 3)
    assert (header.first, header.rows, header.row_words) == (256, 255, 151_938 + 4)
    assert header.size == 20 + 4 * 3 * 512 + 3 * 255 * 2 * 151_942
    assert BaseHeader.from_bytes(header.to_bytes(), "x") == header


@pytest.mark.parametrize(
    ("beginning", "message"),
    [
        (b"", "not a base file"),
        (b"GGUF" + bytes(16), "a GGUF model"),
        (b"HFKLDR\0\0" + bytes(12), "hipfire's file of top-k logits"),
        (b"_logits_" + struct.pack("<i", 512), "12 bytes"),
        (b"_logits_" + struct.pack("<iii", 512, 100, 0), "is invalid"),
        (b"_logits_" + struct.pack("<iii", -5, 100, 4), "is invalid"),
    ],
)
def test_foreign_and_aborted_files_are_named(beginning: bytes, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        BaseHeader.from_bytes(beginning, "file.kld")
