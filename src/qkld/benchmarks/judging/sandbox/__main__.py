"""``python -m qkld.benchmarks.judging.sandbox``: fetch bubblewrap if it is missing; say which levels hold here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from qkld.benchmarks.judging.sandbox import LEVELS, check_level
from qkld.benchmarks.judging.sandbox.debian import ready_bubblewrap
from qkld.errors import SandboxError


def main() -> None:
    """One line a level. A level that is not to be had is no error here: each study names the one it needs."""
    print(_tried(ready_bubblewrap, "bubblewrap is here"))
    for level in LEVELS:
        print(f"{level}: {_tried(partial(check_level, level), 'works here and holds its limits')}")


def _tried(act: Callable[[], object], success: str) -> str:
    try:
        act()
    except SandboxError as error:
        return f"not here. {error}"
    return success


if __name__ == "__main__":
    main()
