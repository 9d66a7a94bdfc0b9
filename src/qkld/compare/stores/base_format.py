"""llama.cpp's base file: its header, and its rows of log-probabilities in 16-bit steps.

``llama-perplexity --kl-divergence-base`` writes it: magic, window length, vocabulary and number of windows, all tokens,
then a row for each position of the second half of each window but the last. A row is float32 step and least
log-probability, a code for each token, and a pad word where the vocabulary is odd. Little-endian, nothing aligned.

Three writers are known. llama.cpp raises what lies more than 16 nats below a row's maximum to that floor, ik_llama.cpp
24 nats; nothing in the file says which. beellama.cpp's ``_logits2`` spans the whole finite range of a row and keeps
code 0 for probability 0.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qkld.compare.stores.enclosure import Enclosure
from qkld.errors import StoreError

Codes = NDArray[np.uint16]

MAGICS = {b"_logits_": 1, b"_logits2": 2}
"""First eight bytes → version of the row format."""

FOREIGN = {b"HFKLDR\0\0": "hipfire's file of top-k logits", b"GGUF": "a GGUF model"}
"""Beginnings of files that are taken for a base file by mistake."""

CLAMPS = (16.0, 24.0)
"""Nats below a row's maximum at which llama.cpp and ik_llama.cpp cut off."""

CLAMP_TOLERANCE = 1e-3
"""How far rounding of float32 logits may carry a clamped row's span from its clamp, nats."""

HEADER_BYTES = 20
SCALE_WORDS = 4
STEPS = {1: 65535, 2: 65534}
"""Version → steps between a row's least and greatest code."""


@dataclass(frozen=True)
class BaseHeader:
    """The first 20 bytes, and where everything lies."""

    context: int
    vocabulary: int
    chunks: int
    version: int = 1

    @property
    def first(self) -> int:
        """First position that has a row: it predicts token ``first + 1``."""
        return self.context // 2

    @property
    def rows(self) -> int:
        """Rows of a window."""
        return self.context - 1 - self.first

    @property
    def row_words(self) -> int:
        """16-bit words of a row; a pad word follows an odd number of codes."""
        return 2 * ((self.vocabulary + 1) // 2) + SCALE_WORDS

    @property
    def rows_at(self) -> int:
        """Bytes before the first row: header and tokens."""
        return HEADER_BYTES + 4 * self.chunks * self.context

    @property
    def window_bytes(self) -> int:
        """Bytes of one window's rows."""
        return 2 * self.rows * self.row_words

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.rows_at + self.chunks * self.window_bytes

    def to_bytes(self) -> bytes:
        """The header as it stands in the file."""
        magic = next(magic for magic, version in MAGICS.items() if version == self.version)
        return magic + struct.pack("<iii", self.context, self.vocabulary, self.chunks)

    @classmethod
    def from_bytes(cls, beginning: bytes, name: object) -> BaseHeader:
        """Read the header of the file called ``name``.

        Raises
        ------
        StoreError
            If it is no base file, or ends within its header as an aborted ``llama-perplexity`` leaves it.
        """
        magic = beginning[:8]
        if magic not in MAGICS:
            known = next((what for start, what in FOREIGN.items() if magic.startswith(start)), None)
            found = repr(magic) + (f": {known}" if known else "")
            raise StoreError(f"{name} is not a base file.", expected=sorted(MAGICS), found=found, do="name a base file")
        if len(beginning) < HEADER_BYTES:
            raise _cut(name, f"{HEADER_BYTES} bytes of header", f"{len(beginning)} bytes")
        header = cls(*struct.unpack("<iii", beginning[8:HEADER_BYTES]), MAGICS[magic])
        if header.context < 4 or header.vocabulary < 2 or header.chunks < 1:
            raise StoreError(
                f"The header of {name} is invalid.",
                expected="a window of at least 4 tokens, 2 tokens of vocabulary, 1 window",
                found=f"{header.context}, {header.vocabulary} and {header.chunks}",
                do="the file was altered or its writer was stopped: make it again",
            )
        return header

    def check_size(self, size: int, name: object) -> None:
        """Refuse a file of another size than its header states.

        Raises
        ------
        StoreError
            Naming both sizes: llama.cpp does not notice a full disk, and exits with 0.
        """
        if size != self.size:
            raise _cut(name, f"{self.size:,} bytes ({self.chunks} windows of {self.rows} rows)", f"{size:,} bytes")


def _cut(name: object, expected: str, found: str) -> StoreError:
    return StoreError(
        f"{name} does not have the size that its header states.",
        expected=expected,
        found=found,
        do="its writer was stopped, its disk was full, or it was altered: make the file again",
    )


def encode_rows(logits: NDArray[np.floating[Any]], clamp: float = CLAMPS[0]) -> Codes:
    """Rows of a version 1 file, shape (rows, words), from logits (rows, vocab) as llama.cpp computes them in float32.

    Codes are equal to those of its compiled code where that does not contract products and sums; else some differ by 1.

    Raises
    ------
    StoreError
        If a logit is NaN or +inf, or all of a row are −inf: a base file cannot say so.
    """
    x = np.ascontiguousarray(logits, dtype=np.float32)
    largest = x.max(axis=1, keepdims=True)
    if not np.isfinite(largest).all():
        bad = int((~np.isfinite(largest)).sum())
        raise StoreError(
            "Logits that are not finite cannot be written to a base file.",
            expected="a finite maximum in every row",
            found=f"{bad} of {len(x)} rows without one",
            do="check the model, or run it in compute_dtype float32",
        )
    least = np.maximum(x.min(axis=1, keepdims=True), largest - np.float32(clamp))
    total = np.exp(x - largest).sum(axis=1, keepdims=True, dtype=np.float64)
    floor = (least - largest) - np.log(total).astype(np.float32)
    scale = (largest - least) / np.float32(STEPS[1])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # a row of equal logits has no step
        steps = np.rint((np.float32(1) / scale) * (x - least))
    codes = np.where((x > least) & (scale > 0), steps, 0)
    words = np.zeros((len(x), 2 * ((x.shape[1] + 1) // 2) + SCALE_WORDS), dtype="<u2")
    words[:, :SCALE_WORDS] = np.hstack([scale, floor]).astype("<f4").view("<u2")
    words[:, SCALE_WORDS : SCALE_WORDS + x.shape[1]] = codes
    return words


@dataclass(frozen=True)
class BaseRows:
    """Rows of a base file, words of shape (rows, words).

    Raises
    ------
    StoreError
        On construction, if a row is none that a writer of this format leaves.
    """

    words: Codes
    header: BaseHeader

    def __post_init__(self) -> None:
        scale, floor, top = self.scale, self.floor, self.codes.max(axis=1)
        whole = STEPS[self.header.version] + (self.header.version == 2)
        spans = scale * np.float32(STEPS[self.header.version])
        good = np.isfinite(scale) & np.isfinite(floor) & (scale >= 0) & (floor + spans < 1e-3)
        good &= np.where(scale > 0, top == whole, top <= whole - STEPS[self.header.version])
        if self.header.version == 1:
            good &= spans < CLAMPS[-1] + CLAMP_TOLERANCE
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            raise StoreError(
                f"Row {row} of a base file's window is not valid.",
                expected=f"a span of at most {CLAMPS[-1]:g} nats (version 1) and largest code {whole}",
                found=f"span {spans[row]:.6g}, least log-probability {floor[row]:.6g}, largest code {top[row]}",
                do="the file was altered or made with another vocabulary: make it again",
            )

    @property
    def codes(self) -> Codes:
        """The tokens' codes, shape (rows, vocab)."""
        return self.words[:, SCALE_WORDS : SCALE_WORDS + self.header.vocabulary]

    @property
    def scale(self) -> NDArray[np.float32]:
        """Nats between neighbouring codes, shape (rows,)."""
        return np.ascontiguousarray(self.words[:, :2]).view("<f4")[:, 0]

    @property
    def floor(self) -> NDArray[np.float32]:
        """Log-probability of the least code, shape (rows,)."""
        return np.ascontiguousarray(self.words[:, 2:4]).view("<f4")[:, 0]

    @property
    def clamped(self) -> NDArray[np.bool_]:
        """Rows whose span is that of a clamp, so that code 0 is an upper end and no value; shape (rows,)."""
        if self.header.version == 2:
            return np.zeros(len(self.words), dtype=bool)
        spans = self.scale * np.float32(STEPS[1])
        return np.any([np.abs(spans - clamp) <= CLAMP_TOLERANCE for clamp in CLAMPS], axis=0)

    def log_probabilities(self) -> NDArray[np.float32]:
        """Decoded as llama.cpp does, shape (rows, vocab): what was clamped is at the floor, so a row's sum is above 1.

        Version 2 is not brought to sum 1 here, and gives −inf for its code 0.
        """
        codes = self.codes.astype(np.float32)
        if self.header.version == 1:
            return self.scale[:, None] * codes + self.floor[:, None]
        decoded = self.scale[:, None] * (codes - np.float32(1)) + self.floor[:, None]
        return np.where(codes == 0, np.float32(-np.inf), decoded)

    @property
    def half_width(self) -> NDArray[np.float64]:
        """How far a decoded value may lie from the writer's logits, nats, shape (rows,).

        Half a step, 1/64 step for the float32 products on the way to a code, and 2⁻²² of the magnitudes that enter
        the least log-probability (float32 sums, ``expf``, the logarithm).
        """
        return (0.5 + 1 / 64) * self.scale.astype(np.float64) + 2.0**-22 * (1.0 + np.abs(self.floor.astype(np.float64)))

    def enclosure(self, rows: NDArray | slice) -> Enclosure:
        """Intervals of these rows' log-probabilities: half a step to either side, and no lower end where clamped."""
        part = BaseRows(self.words[rows], self.header)
        decoded, width = part.log_probabilities().astype(np.float64), part.half_width[:, None]
        low = np.where(part.clamped[:, None] & (part.codes == 0), -np.inf, decoded - width)
        return Enclosure.of(low, decoded + width)
