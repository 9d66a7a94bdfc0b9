"""How a served model is named: ``http://host:port#model,top_k=200,api=vllm``."""

from __future__ import annotations

import os
import re
from typing import Literal

from pydantic import Field

from qkld.errors import ParameterError
from qkld.study.checking import validated
from qkld.study.entries import Label, Strict

Api = Literal["auto", "vllm", "llama-server", "openai"]
"""Which server's form of prompt log-probabilities; see `qkld.compare.served.forms`."""

KEY_VARIABLE = "QKLD_SERVER_KEY"
"""Environment variable with the key that servers ask for; a key is never an argument and is written nowhere."""

FORM = "http://host:port#model, with further settings as in #model,top_k=200,api=vllm"

_ADDRESS = re.compile(r"(?P<url>https?://[^#\s]+)#(?P<model>[^,]+)(,(?P<settings>.+))?")


class ServedModel(Strict):
    """A model behind an HTTP server that gives log-probabilities.

    ``top_k`` is asked for at every position: the more, the closer the bounds. ``timeout`` is for one answer, seconds.
    """

    method: Literal["served"] = "served"
    label: Label
    base_url: str = Field(pattern=r"^https?://\S+$")
    model: str = Field(min_length=1)
    api: Api = "auto"
    top_k: int = Field(default=100, ge=1)
    timeout: float = Field(default=120.0, gt=0)
    attempts: int = Field(default=6, ge=1, le=20)

    @property
    def recipe(self) -> str:
        """As it is given on the command line."""
        return f"{self.base_url}#{self.model}"

    @property
    def key(self) -> str | None:
        """The server's key, from the environment."""
        return os.environ.get(KEY_VARIABLE) or None


def is_served(text: str) -> bool:
    """Whether a model's name is an address of this form."""
    return text.startswith(("http://", "https://")) and "#" in text


def served_model(text: str) -> ServedModel:
    """The model of an address.

    Raises
    ------
    ParameterError
        If it is not of the form, or a setting is unknown or out of range.
    """
    match = _ADDRESS.fullmatch(text)
    settings = [s.partition("=") for s in (match["settings"] or "").split(",") if s] if match else []
    if match is None or not all(equals and value for _, equals, value in settings):
        raise ParameterError(
            f"'{text}' is not an address of a served model.", expected=FORM, found=text, do="correct the address"
        )
    label = re.sub(r"[^A-Za-z0-9._-]+", "-", match["model"].rsplit("/", 1)[-1]).strip("-._")[:80] or "served"
    values = {name: _number(value) for name, _, value in settings}
    url = match["url"].rstrip("/").removesuffix("/v1")
    return validated(ServedModel, {"label": label, "base_url": url, "model": match["model"], **values}, source=text)


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
