"""How the processes that do a study's work start."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

THRESHOLDS = 100_000, 50, 10
"""Objects that are made before Python looks for garbage among them, and how many such looks before it looks among older
ones. Imports make a million that stay, and each look at older ones walks through all of these."""

KERNEL_START = f"import gc; gc.set_threshold{THRESHOLDS}"
"""What a notebook's kernel runs before the first cell."""


def look_for_garbage_rarely() -> None:
    """Do in this process what `KERNEL_START` does in a kernel."""
    gc.set_threshold(*THRESHOLDS)


@contextmanager
def without_address_grammar() -> Iterator[None]:
    """Imports in here do without a grammar of web addresses, which Papermill and Snakemake build and never use.

    jsonschema, below both, tries ``rfc3987_syntax`` and does without it; to build it takes two seconds of processor
    time.
    """
    absent = {} if "rfc3987_syntax" in sys.modules else {"rfc3987_syntax": None}
    sys.modules.update(absent)  # None makes an import of that name fail
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
