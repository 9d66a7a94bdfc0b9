"""llama.cpp through llama-cpp-python's low-level calls: a model, a context of the size needed, and full logits.

The calls are those of ``llama.h``; nothing of llama-cpp-python's own sampling or chat is used. What llama.cpp logs as
a warning or an error is kept for messages instead of being printed.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections import deque
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from qkld.errors import ModelError
from qkld.models.gguf.batch import Batch

WARNING, ERROR, CONTINUED = 3, 4, 5
"""Levels of llama.cpp's log, as ``ggml.h`` numbers them."""

MOST_SEQUENCES = 256
"""``LLAMA_MAX_SEQ``: sequences that one batch may hold."""

CELLS = 256
"""llama.cpp rounds the cells of a cache up to multiples of this."""

MATRIX_TILES = b"AMX_INT8 = 1"
"""What llama.cpp says of itself where it multiplies quantized weights by AMX. The pinned version ends the process then
(a general protection fault, seen with Q8_0, Q4_0 and Q4_1 files), so weights stay in their file's layout there."""

LOG: deque[str] = deque(maxlen=30)
"""The last warnings and errors."""


@cache
def library() -> ModuleType:
    """llama_cpp, its log turned to `LOG`.

    Raises
    ------
    ModelError
        If it is not installed or its libraries cannot be loaded.
    """
    try:
        import llama_cpp
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelError(
            "Engine llamacpp needs llama-cpp-python, which is not installed.",
            expected="the package of requirements-llamacpp.lock, compiled on this machine",
            found=f"{type(error).__name__}: {error}"[:400],
            do="run `make llamacpp`",
        ) from error
    llama_cpp.llama_log_set(_kept_log(llama_cpp), ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    return llama_cpp


@cache
def _kept_log(llama_cpp: ModuleType) -> Any:
    """The callback; kept here, because llama.cpp only keeps its address."""
    level_now = [0]

    @llama_cpp.llama_log_callback
    def keep(level: int, text: bytes, _: ctypes.c_void_p) -> None:
        level_now[0] = level_now[0] if level == CONTINUED else level
        if level_now[0] in (WARNING, ERROR):
            LOG.append(text.decode("utf-8", "replace"))

    return keep


def said() -> str:
    """What llama.cpp logged last, for a message."""
    return " ".join("".join(LOG).split())[-600:] or "nothing logged"


def version() -> str:
    """Of llama-cpp-python, and of the llama.cpp in it."""
    return f"llama-cpp-python {library().__version__}, llama.cpp {library().llama_version().decode()}"


def check_offload(label: str) -> None:
    """Refuse a GPU that was asked for by name and that the library was built without.

    Raises
    ------
    ModelError
        Always then; it would run, silently, on the CPU.
    """
    if not library().llama_supports_gpu_offload():
        raise ModelError(
            f"'{label}' should run on a GPU, but llama-cpp-python was built without GPU support.",
            expected="a build with CUDA (or Metal)",
            found="a build for the CPU alone",
            do="run `make llamacpp CMAKE_ARGS=-DGGML_CUDA=on`, or set compute.device to cpu",
        )


class LlamaCpp:
    """A model that llama.cpp has loaded, with one context that grows to what is asked of it.

    Parameters
    ----------
    files
        The model's file, or all parts of a split one.
    gpu : bool
        Put all layers and the cache on the GPU; else everything stays on the CPU.
    cache_k, cache_v : str
        Types of the key-value cache, as ggml names them: ``f16``, ``q8_0``.
    flash_attention : bool or None
        None leaves it to llama.cpp.
    threads : int
        Of the CPU.

    Raises
    ------
    ModelError
        If llama.cpp does not load it; its own words are in the message.
    """

    def __init__(
        self,
        files: list[Path],
        *,
        label: str,
        gpu: bool,
        cache_k: str,
        cache_v: str,
        flash_attention: bool | None,
        threads: int,
    ) -> None:
        import gguf

        llama = library()
        self.label, self.gpu, self.threads = label, gpu, threads
        self._cache = tuple(gguf.GGMLQuantizationType[name.upper()].value for name in (cache_k, cache_v))
        self._flash = {None: -1, False: 0, True: 1}[flash_attention]
        self._model = self._loaded(llama, files)
        self._context: Any = None
        self._size = (0, 0)
        self._free_model = weakref.finalize(self, llama.llama_model_free, self._model)
        self._free_model.atexit = False  # the system takes everything back then
        self.vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self._model))
        self.context_length = llama.llama_model_n_ctx_train(self._model)
        limited = (llama.llama_model_is_recurrent, llama.llama_model_is_hybrid, llama.llama_model_n_swa)
        self.shares_prefixes = not any(of(self._model) for of in limited)  # as in `packing.supports_packing`

    def _loaded(self, llama: ModuleType, files: list[Path]) -> Any:
        LOG.clear()
        parameters = llama.llama_model_default_params()
        parameters.n_gpu_layers = -1 if self.gpu else 0
        parameters.use_extra_bufts = MATRIX_TILES not in llama.llama_print_system_info()
        paths = (ctypes.c_char_p * len(files))(*(os.fsencode(file) for file in files))
        model = (
            llama.llama_model_load_from_file(os.fsencode(files[0]), parameters)
            if len(files) == 1
            else llama.llama_model_load_from_splits(paths, len(files), parameters)
        )
        if not model:
            raise ModelError(
                f"llama.cpp cannot load '{self.label}'.",
                expected="a model of an architecture and tensor types that this llama.cpp runs",
                found=said(),
                do="download the file again, or use a newer llama-cpp-python in requirements-llamacpp.lock",
            )
        return model

    def logits(self, batch: Batch) -> np.ndarray:
        """Logits of every token of a batch, run at once in an empty cache; (tokens, vocabulary), float32.

        Raises
        ------
        ModelError
            If the batch has too many sequences or llama.cpp cannot run it.
        """
        llama = library()
        tokens = len(batch.tokens)
        context = self._context_for(tokens, batch.sequences)
        llama.llama_memory_clear(llama.llama_get_memory(context), False)
        filled = _filled(llama, batch)
        try:
            code = llama.llama_decode(context, filled)
        finally:
            llama.llama_batch_free(filled)
        if code:
            raise self._refused(f"{tokens} tokens in {batch.sequences} sequences (code {code})")
        values = np.ctypeslib.as_array(llama.llama_get_logits(context), shape=(tokens, self.vocabulary))
        return values.copy()  # the buffer is llama.cpp's, and the next batch overwrites it

    def begin(self, prompt: Sequence[int], *, room: int) -> np.ndarray:
        """Run a prompt in an empty cache that has room for so many tokens; logits of its last token, float32."""
        llama = library()
        llama.llama_memory_clear(llama.llama_get_memory(self._context_for(room, 1)), False)
        return self._written(prompt, at=0)

    def go_on(self, token: int, *, at: int) -> np.ndarray:
        """Run one more token, the ``at``-th of its text, behind what is in the cache; its logits."""
        return self._written([token], at=at)

    def _written(self, tokens: Sequence[int], *, at: int) -> np.ndarray:
        """Run tokens behind the cache's, logits of the last one alone, and wait until they are there."""
        llama = library()
        count = len(tokens)
        text = Batch(
            np.array(tokens, np.int32), np.arange(at, at + count, dtype=np.int32), ((0,),) * count, np.empty(0)
        )
        filled = _filled(llama, text, logits=slice(count - 1, count))
        try:
            code = llama.llama_decode(self._context, filled)
            llama.llama_synchronize(self._context)
        finally:
            llama.llama_batch_free(filled)
        if code:
            raise self._refused(f"{count} tokens behind {at} (code {code})")
        return np.ctypeslib.as_array(llama.llama_get_logits_ith(self._context, -1), shape=(self.vocabulary,)).copy()

    def _context_for(self, tokens: int, sequences: int) -> Any:
        """A context with room for a batch: the one there is, or a larger one in its place."""
        if tokens <= self._size[0] and sequences <= self._size[1]:
            return self._context
        if sequences > MOST_SEQUENCES:
            raise ModelError(
                f"One batch for '{self.label}' has too many sequences for llama.cpp.",
                expected=f"at most {MOST_SEQUENCES} choices of items in one batch",
                found=sequences,
                do="lower benchmark_scores.pack_tokens",
            )
        cells = max(self._size[0], -(-tokens // CELLS) * CELLS)
        room = max(self._size[1], 1 << (sequences - 1).bit_length())
        self._forget_context()
        self._context = self._new_context(cells, room)
        self._free_context = weakref.finalize(self, library().llama_free, self._context)
        self._free_context.atexit = False
        self._size = (cells, room)
        return self._context

    def _new_context(self, cells: int, sequences: int) -> Any:
        llama = library()
        LOG.clear()
        parameters = llama.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = cells
        parameters.n_seq_max = sequences
        parameters.n_threads = parameters.n_threads_batch = self.threads
        parameters.type_k, parameters.type_v = self._cache
        parameters.flash_attn_type = self._flash
        parameters.offload_kqv = parameters.op_offload = self.gpu
        parameters.kv_unified = True  # a prompt's cells serve all its choices
        context = llama.llama_init_from_model(self._model, parameters)
        if not context:
            raise self._refused(f"a context of {cells} tokens")
        return context

    def _forget_context(self) -> None:
        if self._context is not None:
            self._free_context()
            self._context = None

    def _refused(self, what: str) -> ModelError:
        return ModelError(
            f"llama.cpp cannot run '{self.label}'.",
            expected=what,
            found=said(),
            do="choose other cache_k and cache_v, flash_attention, or fewer tokens at a time",
        )

    def close(self) -> None:
        """Give the memory back."""
        self._forget_context()
        self._free_model()


def _filled(llama: ModuleType, batch: Batch, *, logits: slice = slice(None)) -> Any:
    """llama.cpp's own form of a batch, the logits of these tokens asked for; to be freed."""
    tokens = len(batch.tokens)
    filled = llama.llama_batch_init(tokens, 0, max(len(own) for own in batch.members))
    filled.n_tokens = tokens
    for name, values in (("token", batch.tokens), ("pos", batch.positions)):
        np.ctypeslib.as_array(getattr(filled, name), shape=(tokens,))[:] = values
    asked = np.ctypeslib.as_array(filled.logits, shape=(tokens,))
    asked[:] = 0
    asked[logits] = 1
    for i, own in enumerate(batch.members):
        filled.n_seq_id[i] = len(own)
        for j, sequence in enumerate(own):
            filled.seq_id[i][j] = sequence
    return filled
