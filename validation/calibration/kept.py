"""Finished blocks of a calibration on disk."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from qkld.study.parquet import read_parquet, write_parquet
from qkld.study.provenance import key_of
from qkld.study.sealing import altered

CALIBRATED = ("validation.calibration.", "qkld.statistics.")
"""Packages whose modules a block's numbers come from."""

LIBRARIES = ("numpy", "scipy", "pandas", "statsmodels", "pingouin")

FORMAT = 2
"""Raised when blocks are kept in another way, so that older ones are not read."""

_SECONDS = "block_seconds"


@dataclass(frozen=True)
class Block:
    """One record a run, and the processor seconds that all of them took."""

    table: pd.DataFrame
    seconds: float


class _Unexplained(ast.NodeTransformer):
    """Code without its docstrings: strings that stand alone do nothing."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node


def code_of(source: str) -> str:
    """What a module's source does: the same for sources that differ in comments, docstrings or layout alone."""
    return ast.dump(_Unexplained().visit(ast.parse(source)))


def imported_by(module: str) -> set[str]:
    """Modules of `CALIBRATED` that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(_source(module))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.startswith(CALIBRATED) and name in sys.modules}


def behind(module: str) -> list[str]:
    """The module and all of `CALIBRATED` that it imports, directly or through others."""
    found, new = set(), {module}
    while new:
        found |= new
        new = set().union(*map(imported_by, new)) - found
    return sorted(found)


@cache
def source_key(functions: tuple[Callable, ...], module: str) -> str:
    """A name for the code and libraries that blocks come from: other code, other name, so that no block is stale.

    That is the ``functions`` that seed a block and make its runs, and the module that a run comes from with all that it
    imports.
    """
    code = {name: code_of(_source(name)) for name in behind(module)}
    digest = hashlib.sha256(repr([*(code_of(inspect.getsource(f)) for f in functions), code]).encode())
    return key_of({"code": digest.hexdigest(), "libraries": {name: metadata.version(name) for name in LIBRARIES}})


def _source(module: str) -> str:
    return Path(str(sys.modules[module].__file__)).read_text(encoding="utf-8")


def kept(folder: Path, named: dict[str, Any], run: Callable[[], Block]) -> Block:
    """The block of this name in ``folder``; run and written there where it is not. Read back in either case.

    Raises
    ------
    StoreError
        If the block's file was damaged.
    """
    file = folder / f"{key_of({'format': FORMAT, **named})}.parquet"
    if not file.exists():
        block = run()
        write_parquet(file, pa.Table.from_pandas(block.table, preserve_index=False), {_SECONDS: block.seconds})
    try:
        table, note = read_parquet(file)
        return Block(table.to_pandas(), note[_SECONDS])
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise altered(file, error, do="delete it and run `make calibrate` again") from error
