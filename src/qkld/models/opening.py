"""`open_model`: from an entry of the study to a model that is checked and ready to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from qkld.errors import ModelError, SourceError
from qkld.models.attention import attend_in_blocks
from qkld.models.bits import tensor_bits
from qkld.models.context import context_length
from qkld.models.devices import choose_device, choose_dtype
from qkld.models.folders import model_folder
from qkld.models.gguf.config import in_the_references_words
from qkld.models.gguf.open_in_llamacpp import open_llamacpp
from qkld.models.gguf.open_in_torch import converted_folder, converted_tokenizer, gguf_files, located
from qkld.models.gguf.same_model import check_same_model, check_vocabulary, rows_of_folder
from qkld.models.head import Head
from qkld.models.head_discovery import find_head, proven_head
from qkld.models.loading import Loaded, made_model, stored_model
from qkld.models.opened import OpenedModel
from qkld.models.shared_rows import supports_packing
from qkld.models.spreading import room, running_device, spread
from qkld.models.transformers import folder_config, load_tokenizer
from qkld.models.transforms.transformed import is_transformed, transformed_folder
from qkld.models.weights import check_finite, weights_sha256
from qkld.sources.tokenizer import check_rows, check_same_tokens, named_tokens, tokenizer_sha256, vocabulary_size
from qkld.study.entries import GgufModel, MadeModel, ModelEntry, StoredModel, source_of
from qkld.study.params import Compute


def open_model(entry: ModelEntry, *, reference: StoredModel, compute: Compute) -> OpenedModel:
    """Open a reference or a quant from its entry in the study.

    Parameters
    ----------
    entry : ModelEntry
        The model to open.
    reference : StoredModel
        The study's reference: made quants start from its weights, as stored or in the basis of a build, and its
        tokenizer gives the ids of all.
    compute : Compute
        Device, dtypes, whether quantized layers run natively or from their dequantized weights, and whether a model
        that is larger than the device may be spread (``device_map: auto``): plain weights are then loaded, made and
        hashed in this machine's memory before they are placed.

    Raises
    ------
    SourceError
        If a file is missing or its hash, or that of the weights made, is not the one stated.
    TokenizerError
        If a tokenizer is missing, or the vocabulary differs from the reference's.
    ModelError
        If the model cannot be opened, made or measured.
    """
    if isinstance(entry, GgufModel):
        entry = located(entry, reference)
        if entry.engine == "llamacpp":
            return _in_llamacpp(entry, reference, compute)
    device = choose_device(compute.device)
    dtype = choose_dtype(compute, device)
    tokenizer = stored_tokenizer(reference)
    vocabulary = vocabulary_size(tokenizer, rows_of_folder(stored_folder(reference)))
    if isinstance(entry, MadeModel):
        folder = stored_folder(source_of(entry, reference))
        loaded = made_model(entry, folder, reference=reference.label, compute=compute, device=device, dtype=dtype)
    else:
        if entry != reference:
            _check_own(entry, reference, tokenizer, vocabulary)
        how = {"compute": compute, "device": device, "dtype": dtype, "config": _config(entry, reference)}
        loaded = stored_model(stored_folder(entry), label=entry.label, **how)
    ids = {"tokenizer": tokenizer, "vocabulary": vocabulary}
    return _checked(entry, loaded, compute, device, dtype, **ids, packs=_packs(entry, reference))


def _config(entry: StoredModel, reference: StoredModel) -> Any | None:
    """The reference's configuration for a GGUF file beside it, where that fits; None for any model's own."""
    if entry == reference or not isinstance(entry, GgufModel):
        return None
    own, expected = (folder_config(stored_folder(model), label=model.label) for model in (entry, reference))
    return in_the_references_words(own, expected)


def _packs(entry: ModelEntry, reference: StoredModel) -> bool:
    """Whether a model's texts may share a row: the reference's may, and those of its own architecture.

    Configurations decide it and nothing measured, so that a quant has the reference's layout on every machine.
    """
    made_or_same = isinstance(entry, MadeModel) or entry == reference
    return all(
        supports_packing(folder_config(stored_folder(model), label=model.label))
        for model in ([reference] if made_or_same else [reference, entry])
    )


def _in_llamacpp(entry: GgufModel, reference: StoredModel, compute: Compute) -> OpenedModel:
    folder = stored_folder(reference)
    return open_llamacpp(
        entry,
        tokenizer=stored_tokenizer(reference),
        reference_folder=folder,
        reshaped=reference.pad is not None,
        packs=supports_packing(folder_config(folder, label=reference.label)),
        compute=compute,
    )


def _check_own(entry: StoredModel, reference: StoredModel, tokenizer: object, size: int) -> None:
    """Refuse a quant whose files give an id below ``size`` to another token than the reference's tokenizer does.

    A GGUF file is also to have the reference's layers and width.
    """
    if isinstance(entry, GgufModel):
        file = gguf_files(entry)[0]
        check_vocabulary(file, tokenizer, size=size, label=entry.label)
        check_same_model(file, stored_folder(reference), label=entry.label, reshaped=reference.pad is not None)
        return
    own = load_tokenizer(model_folder(entry))
    check_same_tokens(named_tokens(tokenizer, size), named_tokens(own, size), label=entry.label)


def stored_tokenizer(entry: StoredModel) -> Any:
    """The tokenizer of a stored model: of its folder, or what a GGUF file's header describes."""
    if isinstance(entry, GgufModel):
        return load_tokenizer(converted_tokenizer(entry))
    return load_tokenizer(model_folder(entry))


def stored_folder(entry: StoredModel) -> Path:
    """The folder of safetensors that a stored model is opened from, padded and in the basis that it asks for."""
    folder = given_folder(entry)
    return transformed_folder(entry, folder) if is_transformed(entry) else folder


def given_folder(entry: StoredModel) -> Path:
    """The folder of a stored model's weights as they were given."""
    return converted_folder(entry) if isinstance(entry, GgufModel) else model_folder(entry)


def _checked(
    entry: ModelEntry,
    loaded: Loaded,
    compute: Compute,
    device: torch.device,
    dtype: torch.dtype,
    *,
    tokenizer: Any,
    vocabulary: int,
    packs: bool,
) -> OpenedModel:
    module = loaded.module
    check_finite(module, label=entry.label)
    sha256 = weights_sha256(module)
    _check_made_hash(entry, sha256)
    head = find_head(module)
    if not loaded.is_placed:
        spread(module, room(module, device, reserved=tensor_bits(head.weight) // 8))
        head = _placed_head(module, head)
    head, states = proven_head(module, head)
    _check_dtype(entry, states, compute, dtype)
    attend_in_blocks(module, device, dtype)
    check_rows(vocabulary, head.vocabulary, label=entry.label)
    cut = head.cut(vocabulary)
    return OpenedModel(
        entry=entry,
        module=module,
        tokenizer=tokenizer,
        head=cut.to(dtype=torch.float32) if compute.head_dtype == "float32" else cut,
        device=head.weight.device,
        compute_dtype=dtype,
        vocabulary=vocabulary,
        padded_rows=head.vocabulary - vocabulary,
        bits=loaded.bits,
        left_out=loaded.left_out,
        weights_sha256=sha256,
        tokenizer_sha256=tokenizer_sha256(tokenizer),
        context_length=context_length(module),
        supports_packing=packs,
    )


def _check_dtype(entry: ModelEntry, found: torch.dtype, compute: Compute, dtype: torch.dtype) -> None:
    """Refuse a model whose hidden states are of another dtype than the study says."""
    if found != dtype:
        native = f" with weights: {compute.weights}" if compute.weights == "native" else ""
        raise ModelError(
            f"'{entry.label}' computes in another dtype than requested.",
            expected=f"hidden states in {dtype}",
            found=f"{found}{native}",
            do="use that compute dtype, or weights: dequantized",
        )


def _placed_head(module: nn.Module, head: Head) -> Head:
    """The head of a spread module, lying where the module's first layers run; the module's own where it does."""
    device = running_device(module.get_input_embeddings())
    return find_head(module) if module.get_output_embeddings().weight.device == device else head.to(device=device)


def _check_made_hash(entry: ModelEntry, found: str) -> None:
    expected = getattr(entry, "weights_sha256", None)
    if expected is not None and expected != found:
        raise SourceError(
            f"'{entry.label}' was made, but its weights do not have the stated hash.",
            expected=expected,
            found=found,
            do="use the library versions, compute dtype and compute.weights that the study was written with",
        )
