"""Other libraries' names that are imported when they are first used, not when a module asks for them."""

from __future__ import annotations

import builtins
import functools
import importlib
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

COMPILER = "torch._dynamo"
"""torch's compiler, whose import takes longer than most models do to load."""

DECORATORS = frozenset({"allow_in_graph", "assume_constant_result", "disable"})
"""What marks a function for the compiler and changes nothing else about it."""


class Later:
    """A class or function of a module, which is imported as soon as it is called or asked for anything.

    Whether something is an instance of it is answered without: before its module is loaded, nothing is.
    """

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def _real(self) -> Any:
        return getattr(importlib.import_module(self._module), self._name)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._real()(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)

    def __instancecheck__(self, one: object) -> bool:
        return self._module in sys.modules and isinstance(one, self._real())

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type]:
        return (self._real(),)


class _StandIn(ModuleType):
    """What ``from MODULE import NAME`` takes its names from: each is a `Later`."""

    def __getattr__(self, name: str) -> Later:
        if name.startswith("__"):
            raise AttributeError(name)
        return Later(self.__name__, name)


@contextmanager
def imported_later(names: Collection[str], *, by: str) -> Iterator[None]:
    """Inside the block, modules of the package ``by`` take what they import from these as `Later`.

    What is loaded already, and what any other package imports there, is imported at once.
    """
    at_once = builtins.__import__

    def importing(
        name: str,
        globals: dict[str, Any] | None = None,
        locals: dict[str, Any] | None = None,
        fromlist: Collection[str] = (),
        level: int = 0,
    ) -> ModuleType:
        is_ours = bool(fromlist) and not level and (globals or {}).get("__name__", "").startswith(f"{by}.")
        if is_ours and name in names and name not in sys.modules:
            return _StandIn(name)
        return at_once(name, globals, locals, fromlist, level)

    with patch.object(builtins, "__import__", importing):
        yield


def compiler_later() -> None:
    """Put off the import of torch's compiler until it is asked for more than to mark a function.

    torch asks it for marks wherever it computes on the meta device, transformers where it declares functions. A marked
    function runs as it is as long as no compiler is loaded, and with its mark from then on.
    """
    if COMPILER not in sys.modules:
        sys.modules[COMPILER] = _Compiler(COMPILER)


class _Compiler(ModuleType):
    """The compiler's decorators; whatever else is asked of it, the compiler itself takes its place."""

    def __getattr__(self, name: str) -> Any:
        if name in DECORATORS:
            return functools.partial(_mark, name)
        if name.startswith("__") and name != "__path__":  # who looks through all modules asks for these
            raise AttributeError(name)
        if sys.modules.get(COMPILER) is self:
            del sys.modules[COMPILER]
        return getattr(importlib.import_module(COMPILER), name)


def _mark(name: str, function: Callable[..., Any] | None = None, *how: Any, **options: Any) -> Callable[..., Any]:
    """The function, marked as soon as the compiler is loaded; see `compiler_later`."""
    if function is None:
        return functools.partial(_mark, name, **options)
    marked = functools.cache(lambda: Later(COMPILER, name)(function, *how, **options))

    @functools.wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        is_loaded = type(sys.modules.get(COMPILER)) is ModuleType
        return (marked() if is_loaded else function)(*arguments, **named)

    return called
