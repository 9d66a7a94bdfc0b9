"""Other libraries' names that are imported when they are first used, not when a module asks for them."""

from __future__ import annotations

import builtins
import functools
import importlib
import operator
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from functools import cached_property
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_loader
from types import FunctionType, ModuleType
from typing import Any
from unittest.mock import patch
from weakref import WeakKeyDictionary

COMPILER = "torch._dynamo"
"""torch's compiler, whose import takes longer than most models do to load."""

DECORATORS = frozenset({"allow_in_graph", "assume_constant_result", "disable"})
"""What marks a function for the compiler and changes nothing else about it; ``disable`` alone by another around it."""

MARKED: MutableMapping[Callable[..., Any], str] = WeakKeyDictionary()
"""Functions that the compiler is told of when it is loaded, and by which of its decorators."""

ALGEBRA = "sympy"

SYMBOLS = "torch.fx.experimental.symbolic_shapes"
"""torch's sizes and truths that are symbols of that algebra."""

PLAIN: Mapping[str, tuple[type, Callable[..., bool]]] = {
    "expect_true": (bool, lambda truth: truth),
    "guard_bool": (bool, lambda truth: truth),
    "guard_or_false": (bool, lambda truth: truth),
    "guard_or_true": (bool, lambda truth: truth),
    "statically_known_true": (bool, lambda truth: truth),
    "sym_and": (bool, lambda *truths: all(truths)),
    "sym_or": (bool, lambda *truths: any(truths)),
    "sym_eq": (int, operator.eq),
    "is_nested_int": (int, lambda size: False),
}
"""What torch asks of sizes and truths wherever it computes shapes: the kind that is no symbol, and the answer then."""

MADE_OF = {COMPILER: SYMBOLS, SYMBOLS: ALGEBRA}
"""What is imported before each, so that it holds the modules themselves and not what stands for them."""

USED = frozenset({"__all__", "__path__", "__version__"})
"""Names between underscores that who uses a module asks for; who looks through all modules asks for others."""


class Later:
    """A class or function of a module, which is imported as soon as it is called or asked for anything.

    Whether something is an instance of it is answered without: before its module is loaded, nothing is.
    """

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def _real(self) -> Any:
        return getattr(_module(self._module), self._name)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._real()(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)

    def __instancecheck__(self, one: object) -> bool:
        return _is_loaded(self._module) and isinstance(one, self._real())

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type]:
        return (self._real(),)


class LatePattern:
    """A regular expression that is compiled when it is first used; a copy of it is the compiled one."""

    def __init__(self, pattern: str, flags: int = 0) -> None:
        self._given = pattern, flags

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(*self._given)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._compiled, name)


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
    _stand_in(COMPILER, {name: functools.partial(_mark, name) for name in DECORATORS})


def symbols_later() -> None:
    """Put off the import of symbols and their algebra until a size or a truth is one.

    torch asks them wherever it computes on the meta device, where transformers builds each model: of a plain size or
    truth the answer is plain, and no number is of the algebra. Other functions are imported when they are called.
    """
    _stand_in(ALGEBRA, {"Basic": Later(ALGEBRA, "Basic")})
    answers = {name: _plain(name, kind, answer) for name, (kind, answer) in PLAIN.items()}
    _stand_in(SYMBOLS, answers, function=functools.partial(Later, SYMBOLS))


def _stand_in(name: str, answers: Mapping[str, Any], *, function: Callable[[str], Any] | None = None) -> None:
    """Put a `_GivesWay` where a module would be that is not loaded, among all modules and in its package."""
    if name in sys.modules:
        return
    sys.modules[name] = _GivesWay(name, answers, function)
    package, _, last = name.rpartition(".")
    if package:
        setattr(importlib.import_module(package), last, sys.modules[name])
    if not any(isinstance(finder, _Below) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Below())


def _is_loaded(name: str) -> bool:
    return name in sys.modules and type(sys.modules[name]) is not _GivesWay


def _module(name: str) -> ModuleType:
    """The module itself, imported in place of what stands there for it, after what it is made of."""
    if _is_loaded(name) or name not in sys.modules:
        return importlib.import_module(name)
    if name in MADE_OF:
        _module(MADE_OF[name])
    del sys.modules[name]
    module = importlib.import_module(name)
    if name == COMPILER:
        _tell(module)
    return module


class _GivesWay(ModuleType):
    """Answers for a module; when anything else is asked of it, the module itself takes its place.

    ``function`` gives what stands for the module's functions that are no answers, if they are to be imported later.
    """

    def __init__(self, name: str, answers: Mapping[str, Any], function: Callable[[str], Any] | None) -> None:
        super().__init__(name)
        spec = find_spec(name)
        vars(self).update(_answers=answers, _function=function, __spec__=spec, __file__=spec and spec.origin)

    def __getattr__(self, name: str) -> Any:
        is_no_package = name == "__path__" and self.__spec__.submodule_search_locations is None
        if is_no_package or (name.startswith("__") and name not in USED):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            if name in self._answers:
                return self._answers[name]
            if self._function and name[0].islower():
                return self._function(name)
        return getattr(_module(self.__name__), name)


class _Below(MetaPathFinder):
    """Finds what a package brought with it when it took its place because one of its modules was imported.

    Python asks the package for its path first and would then load that module a second time.
    """

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        module = sys.modules.get(name)
        stood_in = any(name.startswith(f"{package}.") for package in (COMPILER, ALGEBRA))
        return spec_from_loader(name, _Loaded(module)) if stood_in and module and target is None else None


class _Loaded(Loader):
    """Loads a module that is loaded: gives it as it is."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


def _mark(name: str, function: Callable[..., Any] | None = None, *how: Any, **options: Any) -> Callable[..., Any]:
    """The function, marked as soon as the compiler is loaded; see `compiler_later`."""
    if function is None:
        return functools.partial(_mark, name, **options)
    if _is_loaded(COMPILER) or not isinstance(function, FunctionType):
        return Later(COMPILER, name)(function, *how, **options)
    if name != "disable":
        MARKED[function] = name
        return function
    marked = functools.cache(lambda: Later(COMPILER, name)(function, *how, **options))

    @functools.wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        return (marked() if _is_loaded(COMPILER) else function)(*arguments, **named)

    MARKED[called] = "skip"
    return called


def _tell(compiler: ModuleType) -> None:
    for function, name in list(MARKED.items()):
        getattr(compiler.decorators, name)(function)
    MARKED.clear()


def _plain(name: str, kind: type, answer: Callable[..., bool]) -> Callable[..., Any]:
    """A function of `SYMBOLS` that answers by itself where all that it is given is of the plain ``kind``."""

    def asked(*given: Any, **how: Any) -> Any:
        is_plain = bool(given) and all(_is_plain(one, kind) for one in given)
        return answer(*given) if is_plain else Later(SYMBOLS, name)(*given, **how)

    return asked


def _is_plain(one: object, kind: type) -> bool:
    """Whether something is of a kind itself, or a tuple of such."""
    return type(one) is kind or (type(one) is tuple and all(_is_plain(part, kind) for part in one))
