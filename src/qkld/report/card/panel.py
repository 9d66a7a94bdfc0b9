"""The panel of a card: everything that two cards must share for their figures to be comparable, under one id."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from qkld.errors import ParameterError, TableError
from qkld.study.provenance import canonical_json, key_of
from qkld.study.texts import read_text

SAYABLE = ("reference", "engine", "dtype", "floor")
"""Parts that a reader may add."""

_COMMENT = re.compile(r"<!-- qkld-panel (?P<panel>\{.*?\}) -->", re.DOTALL)


@dataclass(frozen=True)
class Panel:
    """How figures were measured; a part that the source does not state is empty.

    Attributes
    ----------
    reference : what the divergence is from: hash of its weights, or its perplexity where a log has that alone
    texts : of each text its name, hash, windows and context
    engine : what ran the models, with its version or build
    dtype : of the computation
    floor : which noise floor stands beside the figures; "none" where none was measured
    versions : of what the numbers depend on
    """

    reference: str = ""
    texts: tuple[Mapping[str, Any], ...] = ()
    engine: str = ""
    dtype: str = ""
    floor: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> list[str]:
        """Parts that the source does not state."""
        without_hash = [t for t in self.texts if not t.get("hash")]
        empty = [name for name, value in asdict(self).items() if not value]
        return [*empty, *(["hash of the text"] if without_hash else [])]

    @property
    def id(self) -> str | None:
        """16 hex digits over all parts; None where one is missing: such a card cannot be compared by its id."""
        return None if self.missing else key_of(json.loads(canonical_json(asdict(self))))

    def with_said(self, said: Mapping[str, str]) -> Panel:
        """The panel with parts that a reader adds where the source does not say them.

        Raises
        ------
        ParameterError
            If there is no such part, or the source says it otherwise.
        """
        for part, text in said.items():
            own = getattr(self, part, None)
            if part not in SAYABLE or (own and own != text):
                raise ParameterError(
                    f"'{part}' cannot be given with --say.",
                    expected=f"one of {', '.join(SAYABLE)} that the source does not state",
                    found=f"{own} already" if own else repr(part),
                    do="leave it out",
                )
        return replace(self, **said)

    def differences(self, other: Panel) -> list[str]:
        """What differs between two panels, each part in a line; empty where they are comparable."""
        own, others = _flat(asdict(self)), _flat(asdict(other))
        names = [*own, *(name for name in others if name not in own)]
        return [
            f"{name}: {own.get(name, 'not said')} here, {others.get(name, 'not said')} there"
            for name in names
            if own.get(name) != others.get(name)
        ]

    def comment(self) -> str:
        """The panel as a comment of Markdown, from which `panel_of_card` reads it again."""
        inside = canonical_json(asdict(self)).replace("--", "-\\u002d")  # two hyphens would end the comment
        return f"<!-- qkld-panel {inside} -->"


def _flat(value: Any, before: str = "") -> dict[str, str]:
    """Parts with dotted names, those of lists by their place; empty ones are left out."""
    if isinstance(value, Mapping):
        pairs = value.items()
    elif isinstance(value, list | tuple):
        pairs = ((str(i + 1), inner) for i, inner in enumerate(value))
    else:
        return {} if value in ("", None) else {before: str(value)}
    found: dict[str, str] = {}
    for name, inner in pairs:
        found |= _flat(inner, f"{before} {name}".strip())
    return found


def panel_of_card(path: Path) -> Panel:
    """The panel of a card that `qkld card` wrote.

    Raises
    ------
    TableError
        If the file cannot be read or holds none.
    """
    found = _COMMENT.search(read_text(path, error=TableError))
    try:
        values = json.loads(found["panel"])
        return Panel(**{**values, "texts": tuple(values["texts"])})
    except (TypeError, KeyError, ValueError) as error:
        raise TableError(
            f"{path} is not a card of qkld.",
            expected="a card.md with its panel in a comment",
            found="no such comment" if found is None else f"{type(error).__name__}: {error}",
            do="name a card that `qkld card` wrote",
        ) from error
