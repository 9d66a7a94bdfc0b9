"""A GGUF file run by llama.cpp, as a model of the package: what is deployed, activations quantized too.

llama.cpp gives full logits and no head to apply to hidden states, so here the "hidden states" are the logits, and the
head hands them on. Whatever measures a quant by `OpenedModel.hidden` and `OpenedModel.head` measures this one too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qkld.models.devices import choose_device, choose_dtype
from qkld.models.gguf.batch import as_batch
from qkld.models.gguf.gguf_files import Contents, contents
from qkld.models.gguf.llamacpp_library import LlamaCpp, check_offload, library, version
from qkld.models.gguf.open_in_torch import checked_files
from qkld.models.gguf.same_model import check_same_model, check_vocabulary, rows_of_folder
from qkld.models.opened import OpenedModel
from qkld.sources.tokenizer import check_rows, tokenizer_sha256, vocabulary_size
from qkld.study.entries import GgufModel
from qkld.study.params import Compute
from qkld.study.provenance import canonical_json

CACHE_TYPE = "f16"
"""Of keys and of values where an entry says nothing: llama.cpp's own default."""


@dataclass(frozen=True)
class GivenLogits:
    """The head of a model that gives its logits itself: it takes them as they are, in place of hidden states."""

    vocabulary: int

    @property
    def width(self) -> int:
        """Width of the "hidden states": the vocabulary."""
        return self.vocabulary

    def logits(self, hidden: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Vocabulary rows ``start:stop`` of logits, shape (tokens, vocab)."""
        return hidden[:, start:stop]

    tile = logits

    def sha256(self) -> str:
        """Names that no head of the package is applied."""
        return hashlib.sha256(b"logits as given").hexdigest()


@dataclass(frozen=True)
class LlamaCppModel(OpenedModel):
    """An `OpenedModel` whose ``module`` is llama.cpp's, and whose hidden states are logits.

    ``compute_dtype`` is the study's, which the reference's logits come in; llama.cpp's are float32, from products
    whose precision the tensor types decide.
    """

    contents: Contents | None = None

    def hidden(
        self, input_ids: Tensor, *, position_ids: Tensor | None = None, attention_mask: Tensor | None = None
    ) -> Tensor:
        """Logits; ids (batch, tokens) → (batch, tokens, vocab), float32, zero at padding.

        ``attention_mask`` is (batch, tokens) with true for tokens, or (1, 1, tokens, tokens), true where a row may
        look: see `llamacpp_batch.as_batch`.
        """
        batch = as_batch(input_ids, position_ids, attention_mask)
        given = torch.from_numpy(self.module.logits(batch))[:, : self.vocabulary]
        logits = given
        if len(batch.places) < input_ids.numel():
            logits = given.new_zeros(input_ids.numel(), self.vocabulary)
            logits[torch.from_numpy(batch.places)] = given
        return logits.unflatten(0, tuple(input_ids.shape)).to(self.device)

    def facts(self) -> dict[str, Any]:
        """As of any model, with the engine, its settings, and what the file holds."""
        return {
            **super().facts(),
            "compute_dtype": "float32 logits of llama.cpp",
            "engine": {**settings(self.entry), "version": version(), "gpu": self.module.gpu},
            "gguf": self.contents.as_json(),
        }


def settings(entry: GgufModel) -> dict[str, Any]:
    """What an entry says about how llama.cpp runs it, defaults filled in."""
    flash = {None: "auto", True: "on", False: "off"}[entry.flash_attention]
    return {
        "name": "llamacpp",
        "cache_k": entry.cache_k or CACHE_TYPE,
        "cache_v": entry.cache_v or CACHE_TYPE,
        "flash_attention": flash,
    }


def open_llamacpp(
    entry: GgufModel, *, tokenizer: Any, reference_folder: Path, reshaped: bool, packs: bool, compute: Compute
) -> LlamaCppModel:
    """Open a GGUF file in llama.cpp.

    Parameters
    ----------
    entry : GgufModel
        Of engine ``llamacpp``, with a file (see `gguf.located` for one that is made here).
    tokenizer
        The reference's, which every id comes from.
    reference_folder : Path
        Of the reference's model, to compare layers and width with; ``reshaped`` where it runs padded.
    packs : bool
        Whether the reference's texts share rows; the file's then do too, unless its architecture does not let them.
    compute : Compute
        Its device says where llama.cpp runs: a GPU that is named must be one that the library was built for; with
        ``auto`` it runs on the CPU where it was built without. The walk over the vocabulary runs on the device itself.

    Raises
    ------
    SourceError, ModelError, TokenizerError
        As `open_model` does.
    """
    library()
    files = checked_files(entry)
    check_same_model(files[0], reference_folder, label=entry.label, reshaped=reshaped)
    vocabulary = vocabulary_size(tokenizer, rows_of_folder(reference_folder))
    check_vocabulary(files[0], tokenizer, size=vocabulary, label=entry.label)
    device = choose_device(compute.device)
    if compute.device not in ("auto", "cpu"):
        check_offload(entry.label)
    held = contents(files)
    module = LlamaCpp(
        files,
        label=entry.label,
        gpu=device.type != "cpu" and library().llama_supports_gpu_offload(),
        cache_k=entry.cache_k or CACHE_TYPE,
        cache_v=entry.cache_v or CACHE_TYPE,
        flash_attention=entry.flash_attention,
        threads=torch.get_num_threads(),
    )
    check_rows(vocabulary, module.vocabulary, label=entry.label)
    return LlamaCppModel(
        entry=entry,
        module=module,
        tokenizer=tokenizer,
        head=GivenLogits(vocabulary),
        device=device,
        compute_dtype=choose_dtype(compute, device),
        vocabulary=vocabulary,
        padded_rows=module.vocabulary - vocabulary,
        bits=held.bits,
        weights_sha256=weights_and_engine_sha256(held, entry),
        tokenizer_sha256=tokenizer_sha256(tokenizer),
        context_length=module.context_length,
        supports_packing=packs and module.shares_prefixes,
        contents=held,
    )


def weights_and_engine_sha256(held: Contents, entry: GgufModel) -> str:
    """Hash over the tensors and llama.cpp's settings: one file in two cache types makes two rows of a cohort."""
    return hashlib.sha256(canonical_json([held.tensor_data_sha256, settings(entry)]).encode()).hexdigest()
