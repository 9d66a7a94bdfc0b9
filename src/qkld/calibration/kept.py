"""Finished blocks of a calibration on disk."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from qkld.provenance import key_of, written_whole

CALIBRATED = ("qkld.calibration.", "qkld.statistics.")
"""Packages whose loaded modules a block's numbers come from."""

LIBRARIES = ("numpy", "scipy", "pandas", "statsmodels", "pingouin")

_SECONDS = "block_seconds"


@dataclass(frozen=True)
class Block:
    """One record a run, and the processor seconds that all of them took."""

    table: pd.DataFrame
    seconds: float


def source_key() -> str:
    """A name for the code and libraries that blocks come from: other code, other name, so that no block is stale."""
    digest = hashlib.sha256()
    for name in sorted(name for name in sys.modules if name.startswith(CALIBRATED)):
        digest.update(name.encode() + b"\0" + Path(str(sys.modules[name].__file__)).read_bytes())
    return key_of({"code": digest.hexdigest(), "libraries": {name: metadata.version(name) for name in LIBRARIES}})


def kept(folder: Path, named: dict[str, Any], run: Callable[[], Block]) -> Block:
    """The block of this name in ``folder``; run and written there where it is not. Read back in either case."""
    file = folder / f"{key_of(named)}.parquet"
    if not file.exists():
        block = run()
        with written_whole(file) as temporary:
            block.table.assign(**{_SECONDS: block.seconds}).to_parquet(temporary, index=False)
    table = pd.read_parquet(file)
    return Block(table.drop(columns=_SECONDS), float(table[_SECONDS].iloc[0]))
