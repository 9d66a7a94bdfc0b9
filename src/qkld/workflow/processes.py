"""How the processes that do a study's work start."""

from __future__ import annotations

import gc

OBJECTS = 100_000
"""Objects that are made before Python looks for garbage among them. Imports make a million that stay."""

KERNEL_START = f"import gc; gc.set_threshold({OBJECTS})"
"""What a notebook's kernel runs before the first cell."""


def look_for_garbage_rarely() -> None:
    """Do in this process what `KERNEL_START` does in a kernel."""
    gc.set_threshold(OBJECTS)
