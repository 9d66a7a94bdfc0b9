"""A file with single bits flipped: whatever reads it has to say so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from qkld.errors import QkldError


def flips(path: Path, rng: np.random.Generator, *, count: int = 300) -> Iterator[tuple[int, int]]:
    """Flip one bit of a file, give (byte, bit), and put it back; at random places, or at every one if they are few."""
    whole = path.read_bytes()
    places = range(8 * len(whole))
    if len(places) > count:
        places = sorted(rng.choice(len(places), size=count, replace=False).tolist())
    for place in places:
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        yield divmod(place, 8)
    path.write_bytes(whole)


def unnoticed(
    path: Path, read: Callable[[], object], rng: np.random.Generator, *, count: int = 300
) -> list[tuple[int, int]]:
    """(byte, bit) of the flips after which ``read`` raised no `QkldError`; any other exception is a failure."""
    missed = []
    read()
    for place in flips(path, rng, count=count):
        try:
            read()
        except QkldError:
            continue
        missed.append(place)
    read()
    return missed
