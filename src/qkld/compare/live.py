"""A model behind the interface of stores: its distributions are computed when a window is read."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from qkld.compare.stores import LogitRows, Store
from qkld.divergence import FullLogits
from qkld.errors import CorpusError
from qkld.models import OpenedModel
from qkld.models.gguf.open_in_llamacpp import GivenLogits, LlamaCppModel
from qkld.models.head import Head
from qkld.models.head_discovery import find_head, proven_head
from qkld.sources.tokenizer import start_of_text
from qkld.sources.windows import Window


@dataclass(frozen=True)
class LiveModel:
    """A model on the windows of a store; the exact logits of one window are in memory at a time.

    ``head`` is the model's, as many of its rows as the store has tokens; ``begin`` is run in the place of each window's
    first tokens.
    """

    model: OpenedModel
    head: Head | GivenLogits
    windows: tuple[Window, ...]
    begin: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return self.model.label

    @property
    def vocabulary(self) -> int:
        return self.head.vocabulary

    @torch.inference_mode()
    def rows(self, index: int) -> LogitRows:
        """One window's logits, made for all its rows at once."""
        window = self.windows[index]
        tokens = [*self.begin, *window.tokens[len(self.begin) :]]
        hidden = self.model.hidden(torch.tensor([tokens], device=self.model.device))
        return LogitRows(FullLogits(self.head.logits(hidden[0, list(window.positions)])))


def live_model(model: OpenedModel, store: Store, *, as_llama: bool) -> LiveModel:
    """The model on a store's windows.

    ``as_llama`` begins as llama.cpp does: a base file names the tokens of its text, and a model whose tokenizer begins
    with BOS is run with that in the place of each window's first one.

    Raises
    ------
    CorpusError
        If a window is longer than the model's context.
    """
    longest = max(len(w.tokens) for w in store.windows)
    if longest > model.context_length:
        raise CorpusError(
            f"A window of {store.name} is longer than the context of '{model.label}'.",
            expected=f"at most {model.context_length} tokens",
            found=longest,
            do="make the store with shorter windows",
        )
    begin = tuple(start_of_text(model.tokenizer)[:1]) if as_llama else ()
    wide, head = _with_rows(model, store.vocabulary)
    return LiveModel(wide, head, tuple(store.windows), begin)


def _with_rows(model: OpenedModel, vocabulary: int) -> tuple[OpenedModel, Head | GivenLogits]:
    """The model and its head with this many rows where it has padding for them: llama.cpp counts padding as tokens.

    Any other vocabulary is left to `check_same_windows`, which refuses it.
    """
    if not model.vocabulary < vocabulary <= model.vocabulary + model.padded_rows:
        return model, model.head
    if isinstance(model, LlamaCppModel):
        return replace(model, vocabulary=vocabulary), GivenLogits(vocabulary)
    whole, _ = proven_head(model.module, find_head(model.module))
    return model, whole.to(dtype=model.head.weight.dtype, device=model.device).cut(vocabulary)
