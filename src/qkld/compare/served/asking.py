"""A served model ready to be asked: the server's form found out, and its tokenizer held to the reference's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from qkld.compare.served.address import ServedModel
from qkld.compare.served.client import Client
from qkld.compare.served.forms import Form, LlamaServer, OpenAi, Vllm, probe_tokens
from qkld.compare.served.listed import Listed, check_enough
from qkld.compare.served.token_texts import TokenTexts
from qkld.errors import ServerError, TokenizerError
from qkld.sources.tokenizer import PROBE

OWNERS = {"vllm": "vllm", "llamacpp": "llama-server"}
"""Who a server says owns its models → its form; all others are asked in OpenAI's."""

TOKENIZE = {
    "vllm": ("/tokenize", "prompt", {"add_special_tokens": False}),
    "llama-server": ("/tokenize", "content", {"add_special": False, "parse_special": True}),
    "openai": ("/extras/tokenize", "input", {}),
}
"""Form → where text becomes ids; the last is llama-cpp-python's, other servers of this form have none."""

VOLATILE = frozenset({"created", "permission", "permissions"})
"""What a server says of a model that changes from start to start."""


@dataclass(frozen=True)
class Asker:
    """A served model with the reference's tokenizer.

    ``facts`` is what the server says of the model; with `ServedModel.top_k` it is what a result depends on.
    """

    model: ServedModel
    form: Form
    facts: dict[str, Any]
    tokenizer: Any
    vocabulary: int

    def lists(self, tokens: Sequence[int], positions: Sequence[int]) -> list[Listed]:
        """For each position p, the log-probabilities listed for what follows ``tokens[: p + 1]``.

        Raises
        ------
        ServerError
            If the server does not answer, or returns fewer than ``top_k``.
        """
        listed = self.form.lists(tokens, positions, min(self.model.top_k, self.vocabulary))
        check_enough(listed, self.model.top_k, self.vocabulary, label=self.model.label)
        return listed


@contextmanager
def open_asker(model: ServedModel, tokenizer: Any, vocabulary: int) -> Iterator[Asker]:
    """Find the server's form, and refuse a model that reads other tokens than the reference.

    Raises
    ------
    ServerError
        If it does not answer, or has no such model.
    TokenizerError
        If its tokenizer gives other ids for a probe text.
    """
    with Client(model) as client:
        entry = _entry(client)
        api = model.api if model.api != "auto" else OWNERS.get(str(entry.get("owned_by")), "openai")
        _check_tokenizer(client, api, tokenizer)
        facts = {"api": api, **{k: v for k, v in entry.items() if k not in VOLATILE}}
        form = _form(api, client, tokenizer)
        if isinstance(form, OpenAi):
            form.align(min(model.top_k, vocabulary))
        yield Asker(model, form, facts, tokenizer, vocabulary)


def _form(api: str, client: Client, tokenizer: Any) -> Form:
    if api == "openai":
        return OpenAi(client, TokenTexts(tokenizer), tokenizer)
    return Vllm(client) if api == "vllm" else LlamaServer(client, plain=probe_tokens(tokenizer)[0])


def _entry(client: Client) -> dict[str, Any]:
    """What the server says of the model; of its only one where it was started with one under another name."""
    answer = client.get("/v1/models")
    entries = [e for e in answer.get("data", ()) if isinstance(e, dict)] if isinstance(answer, dict) else []
    own = [e for e in entries if client.model.model in (e.get("id"), *(e.get("aliases") or ()))]
    if not own:
        raise ServerError(
            f"The server has no model '{client.model.model}'.",
            expected=", ".join(str(e.get("id")) for e in entries) or "models under /v1/models",
            found=client.model.model,
            do="write the model's name after the #",
        )
    return own[0]


def _check_tokenizer(client: Client, api: str, tokenizer: Any) -> None:
    path, name, more = TOKENIZE[api]
    expected = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
    try:
        answer = client.post(path, {"model": client.model.model, name: PROBE, **more})
    except ServerError:
        if api != "openai":
            raise
        return  # every answer's number of tokens is compared instead
    found = list(answer.get("tokens") or [])
    if len(found) == len(expected) + 1 and found[0] == tokenizer.bos_token_id:
        found = found[1:]
    if found != list(expected):
        raise TokenizerError(
            f"The tokenizer of '{client.model.label}' differs from the reference's in the ids of the probe text.",
            expected=f"{len(expected)} ids, {list(expected)[:8]} …",
            found=f"{len(found)} ids, {found[:8]} …",
            do="serve a quant of the same model, made with the same tokenizer files",
        )
