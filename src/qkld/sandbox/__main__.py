"""``python -m qkld.sandbox``: fetch bubblewrap where it is missing, and say which levels hold their limits here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from qkld.errors import SandboxError
from qkld.sandbox import LEVELS, check_level
from qkld.sandbox.debian import ready_bubblewrap


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
