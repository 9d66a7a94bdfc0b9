"""Pages that stand alone: a template of ``report/templates`` filled in, with pictures inside."""

from __future__ import annotations

import base64
from typing import Any

import jinja2


def render_page(template: str, **values: Any) -> str:
    """A template of ``qkld/report/templates`` filled in; what it names and is not given is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("qkld", "report/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(template).render(**values)


def inlined(name: str, caption: str, content: bytes) -> dict[str, str]:
    """A PNG as the page's templates show it: its name, its caption, and its bytes as text."""
    return {"name": name, "caption": caption, "data": base64.b64encode(content).decode("ascii")}
