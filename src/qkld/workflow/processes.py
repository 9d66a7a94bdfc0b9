"""How the processes that do a study's work start."""

from __future__ import annotations

import gc

THRESHOLDS = 100_000, 50, 10
"""Objects that are made before Python looks for garbage among them, and how many such looks before it looks among older
ones. Imports make a million that stay, and each look at older ones walks through all of these."""

KERNEL_START = f"import gc; gc.set_threshold{THRESHOLDS}"
"""What a notebook's kernel runs before the first cell."""


def look_for_garbage_rarely() -> None:
    """Do in this process what `KERNEL_START` does in a kernel."""
    gc.set_threshold(*THRESHOLDS)
