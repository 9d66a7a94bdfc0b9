"""Texts → windows of tokens: which tokens are run together, which are scored, and what shares context."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qkld.errors import CorpusError
from qkld.sources.fetching import fetch
from qkld.sources.tokenizer import start_of_text
from qkld.sources.windows import Window, kept_positions, scored_positions
from qkld.study.params import Corpus
from qkld.study.paths import project_root
from qkld.study.texts import JSON_LINES, JsonLine, bad_line, json_lines, read_text

A_LINE = 'lines of JSON such as {"text": "…"}'
"""What a corpus of several documents consists of."""

OWN_LENGTH = 0
"""The context length of a chat, whose every window is as long as the chat."""


@dataclass(frozen=True)
class CorpusWindows:
    """The windows of one corpus."""

    name: str
    windows: tuple[Window, ...]

    @property
    def clusters(self) -> int:
        """How many clusters the intervals of this corpus rest on."""
        return len({w.cluster for w in self.windows})


def corpus_documents(corpus: Corpus) -> list[str]:
    """The documents of a study's corpus: of its pinned asset, which is fetched, or of its own file."""
    return read_documents(fetch(corpus.asset) if corpus.asset else project_root() / str(corpus.path))


def read_documents(path: Path) -> list[str]:
    """Documents of a text file: lines of JSON with a ``text`` (see `JSON_LINES`), or one plain text.

    Raises
    ------
    CorpusError
        If it is missing, in another encoding than UTF-8, or a line of JSON has no text; with byte or line.
    """
    if path.suffix.lower() not in JSON_LINES:
        return [read_text(path, error=CorpusError)]
    return [_text_of(path, line) for line in json_lines(path, error=CorpusError, expected=A_LINE)]


def _text_of(path: Path, line: JsonLine) -> str:
    text = line.value.get("text") if isinstance(line.value, dict) else None
    if not isinstance(text, str):
        raise bad_line(path, line.number, CorpusError, expected=A_LINE, found=line.text[:200])
    return text


def text_windows(corpus: Corpus, documents: Iterable[str], tokenizer: Any, score_from: float) -> CorpusWindows:
    """Windows of a text corpus, each as long as its longest context; shorter contexts are the windows' beginnings.

    Every window starts with what the tokenizer puts before a text, such as BOS. With ``packing: packed`` documents are
    joined by an empty line and cut one after the other, and a window is a cluster; with ``documents`` each document
    that is long enough gives its beginning, and is a cluster. A model is causal, so one run of a window gives the exact
    logits of all its beginnings.
    """
    contexts = [corpus.contexts_of(i) for i in range(corpus.windows)]
    cut = _packed if corpus.packing == "packed" else _beginnings
    chosen = list(cut(documents, tokenizer, [c[-1] for c in contexts]))
    if len(chosen) < corpus.windows:
        raise CorpusError(
            f"Corpus '{corpus.name}' is too short.",
            expected=f"{corpus.windows} windows of {corpus.context_lengths[-1]} tokens ({corpus.packing})",
            found=f"{len(chosen)} windows",
            do="use more text, fewer windows or a shorter context",
        )
    windows = tuple(
        Window(f"{corpus.name}-{i}", tokens, kept_positions(contexts[i], score_from), cluster=i)
        for i, tokens in enumerate(chosen)
    )
    return CorpusWindows(corpus.name, windows)


def scored_by_context(
    corpus: Corpus, windows: tuple[Window, ...], score_from: float
) -> list[dict[int, tuple[int, ...]]]:
    """For each window: context → positions of its scored tokens."""
    if corpus.kind == "chat":
        return [{OWN_LENGTH: tuple(p + 1 for p in w.positions)} for w in windows]
    return [{c: scored_positions(c, score_from) for c in corpus.contexts_of(i)} for i in range(len(windows))]


def _packed(documents: Iterable[str], tokenizer: Any, lengths: list[int]) -> Iterator[tuple[int, ...]]:
    """Windows of these lengths, cut one after the other from the joined documents."""
    start, left = start_of_text(tokenizer), []
    wanted = iter(lengths)
    room = next(wanted) - len(start)
    for document in documents:
        left += tokenizer(document.strip() + "\n\n", add_special_tokens=False)["input_ids"]
        while len(left) >= room:
            yield (*start, *left[:room])
            left = left[room:]
            length = next(wanted, None)
            if length is None:
                return
            room = length - len(start)


def _beginnings(documents: Iterable[str], tokenizer: Any, lengths: list[int]) -> Iterator[tuple[int, ...]]:
    """The beginnings of documents that are long enough for these lengths, one a document."""
    start = start_of_text(tokenizer)
    remaining = iter(documents)
    for length in lengths:
        for document in remaining:
            tokens = tokenizer(document, add_special_tokens=False)["input_ids"]
            if len(start) + len(tokens) >= length:
                yield (*start, *tokens[: length - len(start)])
                break


def chat_prompts(corpus: Corpus, questions: Iterable[str], tokenizer: Any) -> list[tuple[int, ...]]:
    """Each question as a chat that waits for its answer, rendered with the model's template as real control tokens."""
    if not getattr(tokenizer, "chat_template", None):
        raise CorpusError(
            f"Corpus '{corpus.name}' is a chat, but the model has no chat template.",
            expected="tokenizer.chat_template",
            found="none",
            do="use a chat model, or remove the corpus",
        )
    chosen = [q for q, _ in zip(questions, range(corpus.windows), strict=False)]
    if len(chosen) < corpus.windows:
        raise CorpusError(
            f"Corpus '{corpus.name}' is too short.",
            expected=f"{corpus.windows} questions",
            found=len(chosen),
            do="use more questions or fewer windows",
        )
    rendered = [
        tokenizer.apply_chat_template([{"role": "user", "content": q}], add_generation_prompt=True, return_dict=True)
        for q in chosen
    ]
    return [tuple(r["input_ids"]) for r in rendered]


def chat_windows(corpus: Corpus, prompts: list[tuple[int, ...]], answers: list[tuple[int, ...]]) -> CorpusWindows:
    """One window a chat: prompt and answer; the answer's tokens are scored, and each chat is a cluster."""
    pairs = [(p, a) for p, a in zip(prompts, answers, strict=True) if a]
    if not pairs:
        raise CorpusError(
            f"Corpus '{corpus.name}' yields no window.",
            expected="answers of at least one token",
            found="none",
            do="raise chat_answer_tokens or change the questions",
        )
    windows = tuple(
        Window(f"{corpus.name}-{i}", (*p, *a), tuple(range(len(p) - 1, len(p) + len(a) - 1)), cluster=i)
        for i, (p, a) in enumerate(pairs)
    )
    return CorpusWindows(corpus.name, windows)
