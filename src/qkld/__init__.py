"""How far quantized language models move from their reference, and whether that says anything about their scores."""

from __future__ import annotations

from typing import Any

__all__ = ["load_study", "open_stage"]


def __getattr__(name: str) -> Any:
    """What opens a study is imported when first used: importing a submodule should not read tables' libraries."""
    if name == "load_study":
        from qkld.analysis.study import load_study

        return load_study
    if name == "open_stage":
        from qkld.analysis.opened_study import open_stage

        return open_stage
    raise AttributeError(f"module 'qkld' has no attribute {name!r}")
