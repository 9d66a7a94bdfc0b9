"""This machine told to compute as a smaller processor would, as far as its libraries listen."""

from __future__ import annotations

import os
import subprocess
import sys

LEVELS = {
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "sse4": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
}
"""Environment variables by level: torch's own kernels, oneDNN's and MKL's."""


def printed_at(level: str, code: str) -> str:
    """What Python code prints in a process of its own on the processor imitated."""
    environment = {**os.environ, **LEVELS[level]}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
