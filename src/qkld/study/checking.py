"""Reading a study's YAML strictly, and saying what is wrong with it in words."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from qkld.errors import ParameterError

Model = TypeVar("Model", bound=BaseModel)


class _OneOfEachKey(yaml.SafeLoader):
    """A YAML loader that refuses a key given twice, where YAML libraries silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        doubled = sorted({str(key) for key in keys if keys.count(key) > 1})
        if doubled:
            raise yaml.constructor.ConstructorError(
                None, None, f"key given twice: {', '.join(doubled)}", node.start_mark
            )
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; a ParameterError where it is not YAML or gives a key twice."""
    try:
        return yaml.load(path.read_bytes(), Loader=_OneOfEachKey)
    except yaml.YAMLError as error:
        raise ParameterError(
            f"{path} is not a YAML file of qkld.", expected="one YAML mapping", found=error, do="correct the file"
        ) from error


def validated(model: type[Model], values: Any, *, source: str, what: str = "study") -> Model:
    """The values as a checked object. Nothing is coerced: "8", 8.5 and true are no integers.

    ``what`` the values should be is said in messages.

    Raises
    ------
    ParameterError
        With every unknown key, missing key and value out of range, each with its place in ``source``.
    """
    try:
        return model.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        raise ParameterError(
            f"{source} is not a valid {what}.",
            expected=f"the keys of {model.__module__}.{model.__name__}, each within its range",
            found="\n            ".join(_problems(error, _keys_of(model), what)),
            do="correct these keys",
        ) from error


def _problems(error: ValidationError, known: Iterable[str], what: str) -> list[str]:
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"]) or what
        line = f"{where}: {problem['msg']} (found {problem.get('input')!r:.120})"
        if problem["type"] == "extra_forbidden":
            close = get_close_matches(str(problem["loc"][-1]), known, n=1)
            line = f"{where}: unknown key" + (f"; did you mean '{close[0]}'?" if close else "")
        lines.append(line)
    return lines


def _keys_of(model: type[BaseModel]) -> set[str]:
    """Every key of the model and of the models inside it."""
    schema = model.model_json_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    return {key for part in parts for key in part.get("properties", {})}
