"""How servers give the distributions of a prompt's tokens, one class a form.

* ``vllm``: token ids as the prompt, ``prompt_logprobs`` by token id, the prompt's own tokens always among them.
* ``openai``: ``echo`` with ``logprobs``, by text; the prompt as ids, or as text where the server takes no ids.
* ``llama-server``: no log-probabilities of a prompt, but of the next token, with ids and as many as are asked for. So
  each position is the end of a prompt of its own; the server keeps the common beginning, so that costs one token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from qkld.compare.served.client import Client
from qkld.compare.served.listed import Listed
from qkld.compare.served.token_texts import TokenTexts
from qkld.errors import ServerError, TokenizerError

ALIGNED = 0.05
"""Greatest difference of two log-probabilities that are the same, nats: servers compute prompts in other shapes."""


FORCED = 1e6
"""Added to the logit of the token that a server is to sample, so that no other can be."""

SENTENCE = "The house on the hill is old and the sea is"
"""Text by which rows are aligned; short words, so that its beginnings are tokens of their own."""


class Form(Protocol):
    """Distributions of a prompt's tokens."""

    def lists(self, tokens: Sequence[int], positions: Sequence[int], top_k: int) -> list[Listed]:
        """For each position p, the distribution of what follows ``tokens[: p + 1]``."""
        ...


class Vllm:
    """vLLM's ``prompt_logprobs``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def lists(self, tokens: Sequence[int], positions: Sequence[int], top_k: int) -> list[Listed]:
        body = {"model": self._client.model.model, "prompt": list(tokens), "max_tokens": 1, "temperature": 0}
        choice = first_choice(self._client, self._client.post("/v1/completions", {**body, "prompt_logprobs": top_k}))
        rows = choice.get("prompt_logprobs")
        if not isinstance(rows, list) or len(rows) != len(tokens):
            raise too_few(self._client, f"prompt_logprobs of {len(tokens)} tokens", rows and f"{len(rows)} rows")
        return [Listed({int(t): float(v["logprob"]) for t, v in rows[p + 1].items()}) for p in positions]


class LlamaServer:
    """llama.cpp's own server: the next token's distribution for every beginning of the prompt.

    The server is made to sample the text's own next token, so that this one's log-probability comes along; what it
    lists is from before that bias. It leaves the distribution out where the token that it samples ends the text or is
    part of a character: then ``plain`` is sampled, a token that is text by itself.
    """

    def __init__(self, client: Client, plain: int) -> None:
        self._client, self._plain = client, plain

    def lists(self, tokens: Sequence[int], positions: Sequence[int], top_k: int) -> list[Listed]:
        return [self._after(tokens[: p + 1], tokens[p + 1], top_k) for p in positions]

    def _after(self, prompt: Sequence[int], following: int, top_k: int) -> Listed:
        row = self._row(prompt, following, top_k) or self._row(prompt, self._plain, top_k)
        if row is None:
            raise too_few(self._client, f"log-probabilities after {len(prompt)} tokens", "none")
        return Listed({int(entry["id"]): float(entry["logprob"]) for entry in (row, *row["top_logprobs"])})

    def _row(self, prompt: Sequence[int], sampled: int, top_k: int) -> dict[str, Any] | None:
        body = {"prompt": list(prompt), "n_predict": 1, "n_probs": top_k, "cache_prompt": True}
        sampling = {"temperature": 0, "logit_bias": [[sampled, FORCED]], "post_sampling_probs": False}
        answer = self._client.post("/completion", body | sampling)
        read = answer.get("tokens_evaluated") if isinstance(answer, dict) else None
        if read != len(prompt):
            raise too_few(self._client, f"the {len(prompt)} tokens sent", f"{read} tokens")
        rows = answer.get("completion_probabilities")
        return rows[0] if rows else None


class OpenAi:
    """``echo`` with ``logprobs``.

    Row i of an answer is to be the distribution of the prompt's token i. llama-cpp-python gives that of token i + 1 for
    models without a token of beginning; `align` asks for one distribution in two ways and keeps the row that agrees.
    """

    def __init__(self, client: Client, texts: TokenTexts, tokenizer: Any) -> None:
        self._client, self._texts, self._tokenizer = client, texts, tokenizer
        self.as_text = False
        self._shift: int | None = None

    def lists(self, tokens: Sequence[int], positions: Sequence[int], top_k: int) -> list[Listed]:
        if self._shift is None:
            self.align(top_k)
        rows = self._rows(tokens, top_k, echo=True)
        wanted = [p + self._shift for p in positions]
        if max(wanted, default=0) >= len(rows) or any(rows[w] is None for w in wanted):
            raise too_few(self._client, f"log-probabilities of {len(tokens)} tokens", f"{len(rows)} rows")
        return [self._texts.listed(rows[w]) for w in wanted]

    def align(self, top_k: int) -> None:
        """Find whether the prompt may be ids, and which row of an echoed prompt is the distribution of its last token.

        Raises
        ------
        ServerError
            If none is, as where a server knows ``echo`` and does not do it.
        """
        tokens = probe_tokens(self._tokenizer)
        self._try_ids(tokens)
        alone = self._rows(tokens[:-1], top_k, echo=False)
        echoed = self._rows(tokens, top_k, echo=True)
        last = len(tokens) - 1
        for shift in (1, 0):
            place = last - 1 + shift
            both = [*alone[:1], *echoed[place : place + 1]]
            if len(both) == 2 and all(both) and agree(*map(self._texts.listed, both)):
                self._shift = shift
                return
        raise too_few(
            self._client,
            f"an echoed prompt whose row {last} or {last - 1} is what the server gives for its beginning alone",
            f"{len(echoed)} rows, none of them equal to it",
        )

    def _try_ids(self, tokens: Sequence[int]) -> None:
        body = {"model": self._client.model.model, "prompt": list(tokens), "max_tokens": 1}
        try:
            self._client.post("/v1/completions", body, attempts=1)
        except ServerError:
            self.as_text = True

    def _rows(self, tokens: Sequence[int], top_k: int, *, echo: bool) -> list[dict[str, float] | None]:
        body = {"model": self._client.model.model, "prompt": self._prompt(tokens), "max_tokens": 1, "temperature": 0}
        answer = self._client.post("/v1/completions", {**body, "logprobs": top_k, **({"echo": True} if echo else {})})
        read = (answer.get("usage") or {}).get("prompt_tokens", len(tokens)) if isinstance(answer, dict) else None
        if read != len(tokens):
            raise TokenizerError(
                f"The server of '{self._client.model.label}' reads other tokens than the reference.",
                expected=f"{len(tokens)} tokens",
                found=read,
                do="serve a quant of the same model with its own tokenizer, and without an added first token",
            )
        logprobs = first_choice(self._client, answer).get("logprobs") or {}
        return list(logprobs.get("top_logprobs") or [])

    def _prompt(self, tokens: Sequence[int]) -> list[int] | str:
        return round_trip(self._tokenizer, tokens) if self.as_text else list(tokens)


def probe_tokens(tokenizer: Any) -> list[int]:
    """Tokens of a sentence that become themselves again as text, the last one left out or not.

    Raises
    ------
    TokenizerError
        If no beginning of the sentence does.
    """
    tokens = list(tokenizer(SENTENCE, add_special_tokens=False)["input_ids"])
    for end in range(len(tokens), 3, -1):
        if survives(tokenizer, tokens[:end]) and survives(tokenizer, tokens[: end - 1]):
            return tokens[:end]
    round_trip(tokenizer, tokens)
    return tokens


def survives(tokenizer: Any, tokens: Sequence[int]) -> bool:
    """Whether tokens become themselves again as text."""
    try:
        round_trip(tokenizer, tokens)
    except TokenizerError:
        return False
    return True


def agree(one: Listed, other: Listed) -> bool:
    """Whether two lists are of one distribution: most tokens shared, with equal log-probabilities."""
    shared = set(one.values) & set(other.values)
    few = min(len(one.values), len(other.values))
    return 2 * len(shared) > few > 0 and max(abs(one.values[t] - other.values[t]) for t in shared) < ALIGNED


def round_trip(tokenizer: Any, tokens: Sequence[int]) -> str:
    """The text of tokens, if it becomes these very tokens again.

    Raises
    ------
    TokenizerError
        If it does not, as where a window was cut within a word.
    """
    text = tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    again = tokenizer(text, add_special_tokens=False)["input_ids"]
    if list(again) != list(tokens):
        raise TokenizerError(
            "These tokens cannot be sent to a server that accepts only text.",
            expected=f"text that is tokenized to the same {len(tokens)} tokens",
            found=f"{len(again)} tokens, different from position {_first_difference(tokens, again)} on",
            do="use a server that accepts token ids (vLLM, llama-server), or other windows",
        )
    return text


def _first_difference(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def first_choice(client: Client, answer: Any) -> dict[str, Any]:
    """``choices[0]`` of an answer, or a ServerError."""
    try:
        return dict(answer["choices"][0])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise too_few(client, "an answer with choices", f"{type(error).__name__}: {error}") from error


def too_few(client: Client, expected: str, found: object) -> ServerError:
    """The error of a server that gives no or not enough log-probabilities of a prompt."""
    return ServerError(
        f"The server of '{client.model.label}' returns no usable log-probabilities of a prompt.",
        expected=expected,
        found=found,
        do="switch them on (llama-cpp-python: --logits_all true), or name the server's form with #model,api=",
    )
