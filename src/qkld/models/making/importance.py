"""Importance matrices: the mean squared input of every column of a model's layers, over text.

A block quantizer given them minimises Σ_j w_j·(x_j − x̂_j)² over a block's columns j with w from the mean of the squared
input a_j², since the error of an output Σ_j x_j·a_j is (x_j − x̂_j)²·a_j² for inputs that do not correlate. llama.cpp's
``llama-imatrix`` collects the same sums from its own forward passes; here torch's, in float32 and summed in float64.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from qkld.errors import CorpusError, ModelError
from qkld.models import OpenedModel
from qkld.sources import fetch
from qkld.sources.corpora import chat_prompts, read_documents, text_windows
from qkld.study.entries import Importance
from qkld.study.params import Corpus, Study
from qkld.study.paths import project_root

SCORE_FROM = 0.5
"""Any value: windows of an importance matrix are run whole and not scored."""

NAMED = 60
"""Characters of a document in a message."""


def importance_of(
    model: OpenedModel, windows: Sequence[Sequence[int]], *, architecture: str = "llama"
) -> dict[str, np.ndarray]:
    """Mean squared input a column of every linear layer but the head; tensor name → (columns,), float32.

    Parameters
    ----------
    model : OpenedModel
        Run in torch.
    windows
        Token ids, one window a forward pass.
    architecture : str
        What GGUF calls the model's: it says how tensors are named.

    Raises
    ------
    ModelError
        If a layer has no name in GGUF files of this architecture, or a window holds a token that the model has no row
        for.
    """
    model.check_tokens(windows)
    sums: dict[str, Tensor] = {}
    tokens = 0
    with squares_of_inputs(model.module, sums):
        for window in tqdm(windows, desc="importance matrix", unit="window"):
            model.hidden(torch.tensor([list(window)], device=model.device))
            tokens += len(window)
    names = gguf_names(model.module, sums, architecture)
    return {names[layer]: (total / tokens).float().cpu().numpy() for layer, total in sums.items()}


@contextmanager
def squares_of_inputs(module: nn.Module, sums: dict[str, Tensor]) -> Iterator[None]:
    """While it is open, every forward pass of a module adds Σ x² over tokens to ``sums``: layer → (columns,), float64.

    The head is left out, as llama-imatrix leaves it out by default.
    """

    def adder(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def add(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            squares = inputs[0].detach().double().square().flatten(0, -2).sum(dim=0)
            sums[name] = sums[name] + squares if name in sums else squares

        return add

    head = module.get_output_embeddings()
    layers = {n: m for n, m in module.named_modules() if isinstance(m, nn.Linear) and m is not head}
    hooks = [layer.register_forward_pre_hook(adder(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def gguf_names(module: nn.Module, layers: Iterable[str], architecture: str) -> dict[str, str]:
    """Layer of a transformers model → name of its weight in GGUF files.

    Raises
    ------
    ModelError
        If GGUF knows no such architecture or layer.
    """
    import gguf

    known = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}
    blocks = module.config.get_text_config().num_hidden_layers
    names = gguf.get_tensor_name_map(known[architecture], blocks) if architecture in known else None
    found = {layer: names.get_name(layer) if names else None for layer in layers}
    unknown = [layer for layer, name in found.items() if name is None]
    if unknown:
        raise ModelError(
            f"{len(unknown)} layers of this model have no known GGUF name.",
            expected=f"layers of architecture {architecture}",
            found=", ".join(unknown[:3]),
            do="compute the importance matrix with llama.cpp's llama-imatrix, and give its file",
        )
    return {layer: f"{name}.weight" for layer, name in found.items()}


# --- its text ---------------------------------------------------------------------------------------------------------


def importance_windows(wanted: Importance, tokenizer: Any) -> tuple[list[tuple[int, ...]], list[str]]:
    """Windows cut from the last documents of each asset, backwards, and the documents that they took."""
    windows, taken = [], []
    for asset in wanted.assets:
        corpus = Corpus(name=asset, asset=asset, context_lengths=(wanted.context,), windows=wanted.windows)
        documents = noted(reversed(read_documents(fetch(asset))), taken)
        windows += [w.tokens for w in text_windows(corpus, documents, tokenizer, SCORE_FROM).windows]
    return windows, taken


def noted(documents: Iterable[str], taken: list[str]) -> Iterator[str]:
    """The documents, each added to ``taken`` as it is taken."""
    for document in documents:
        taken.append(document)
        yield document


def measured_documents(study: Study, tokenizer: Any) -> dict[str, list[str]]:
    """Corpus → the documents that its windows take, and so what KLD is measured on."""
    found: dict[str, list[str]] = {}
    for corpus in study.corpora:
        taken = found.setdefault(corpus.name, [])
        source = fetch(corpus.asset) if corpus.asset else project_root() / str(corpus.path)
        documents = noted(read_documents(source), taken)
        if corpus.kind == "text":
            text_windows(corpus, documents, tokenizer, study.reference_logits.score_from)
        else:
            chat_prompts(corpus, documents, tokenizer)
    return found


def check_disjoint(taken: Iterable[str], measured: Mapping[str, Iterable[str]]) -> None:
    """Refuse text of an importance matrix that KLD is measured on: the quant would have seen its examination.

    Documents are compared by hash, white space at their ends aside.

    Raises
    ------
    CorpusError
        Naming the corpus and the first document shared.
    """
    own = {_digest(document): document for document in taken}
    for corpus, documents in measured.items():
        shared = [digest for digest in map(_digest, documents) if digest in own]
        if shared:
            raise CorpusError(
                f"The text of the importance matrix is also in corpus '{corpus}', which KLD is measured on.",
                expected="no document in both",
                found=f"{len(shared)}, the first: {own[shared[0]].strip()[:NAMED]!r}",
                do="use other text, or fewer windows",
            )


def _digest(document: str) -> str:
    return hashlib.sha256(document.strip().encode()).hexdigest()
