"""The Python that programs run in: a bare one with the standard library, outside everybody's home if there is one."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from qkld.errors import SandboxError

FLAGS = ("-I", "-S", "-B", "-c")
"""Isolated, without site-packages, writing no bytecode, its program given as text."""


@dataclass(frozen=True)
class Interpreter:
    """An interpreter and the folder that holds it with its library."""

    executable: Path
    prefix: Path


@cache
def bare_interpreter() -> Interpreter:
    """A Python of this minor version that all may read, outside the home; an ordinary user's own where there is none.

    Root's own is of no use where its folder is shut to others: programs do not run as root.

    Raises
    ------
    SandboxError
        If there is none.
    """
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    places = (Path(sys.base_prefix), Path("/usr/local"), Path("/usr"))
    found = [Interpreter((p / "bin" / name).resolve(), p) for p in places if os.access(p / "bin" / name, os.X_OK)]
    for interpreter in found:
        if not interpreter.executable.is_relative_to(Path.home()) and readable_by_all(interpreter.executable):
            return interpreter
    if found and os.getuid():
        return found[0]
    raise SandboxError(
        "No Python was found to run generated code.",
        expected=f"{name} in a folder that every user may read and that is in no home, for example /usr/bin/{name}",
        found=[str(i.executable) for i in found] or "none",
        do=f"install it from the distribution, for example `apt-get install {name}`",
    )


def readable_by_all(path: Path) -> bool:
    """Whether a user without rights of its own may reach and run this file."""
    folders = all(os.stat(folder).st_mode & 0o001 for folder in path.parents)
    return folders and path.stat().st_mode & 0o005 == 0o005
