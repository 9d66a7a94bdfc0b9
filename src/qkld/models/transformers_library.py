"""transformers, without the libraries that it imports for what hardly a study uses, and without needless words."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

from qkld.models.later import LatePattern, compiler_later, imported_later, symbols_later

LATER = {
    "accelerate": "models that are spread over devices",
    "accelerate.hooks": "layers that fetch their weights when they run",
    "accelerate.utils": "the room on each device",
    "accelerate.utils.modeling": "the size of the largest layer",
    "hqq.core.quantize": "quantized caches",
    "scipy.optimize": "losses of detectors",
    "torch._dynamo._trace_wrapped_higher_order_op": "masks that are compiled",
    "torchao.prototype.safetensors.safetensors_support": "saving torchao's tensors",
}
"""Module → what transformers takes names from it for; it is imported when one of these is first used."""


@cache
def transformers_library() -> ModuleType:
    """transformers and what all its models share.

    Every job of a study loads them, two for each quant. What `LATER` lists, torch's compiler and what spreads a model
    over several processes, which no study does, would take two seconds of processor time more.
    """
    import torch.distributed
    import transformers
    from transformers.utils import is_torch_distributed_available

    with patch.object(torch.distributed, "is_available", lambda: False):
        is_torch_distributed_available()  # it keeps its first answer
    _import_models()
    compiler_later()
    symbols_later()
    with imported_later(LATER, by="transformers"):
        import transformers.generation.utils
        import transformers.modeling_utils
        import transformers.quantizers.auto
    _list_renamings()
    return transformers


def _import_models() -> None:
    """Import the package of all models with the list of its files that transformers has made already.

    Asked with another path to the same folder, it would read them all again.
    """
    from transformers.utils import import_utils

    listed = import_utils.define_import_structure
    with patch.object(import_utils, "define_import_structure", lambda file: listed(Path(file).parent)):
        importlib.import_module("transformers.models")


def _list_renamings() -> None:
    """Let transformers list how each architecture's stored names become its own; a model's patterns are compiled.

    It would compile those of all, a thousand, before it loads the first model.
    """
    from transformers import conversion_mapping, core_model_loading

    later = ModuleType("re")
    vars(later).update(vars(re), compile=LatePattern)
    with patch.object(core_model_loading, "re", later):
        conversion_mapping.get_checkpoint_conversion_mapping("")


# --- messages that are harmless and say nothing to whoever runs a study -----------------------------------------------

HARMLESS = {
    "torchao": "Failed to load",  # one line for each compiled extension that was built for a GPU which is not there
    "torch.utils._pytree": "is an Enum subclass",  # torchao registers enums that torch meanwhile knows by itself
}
"""Logger → words of the messages that are dropped while a library loads."""

PARTS_LEFT_OUT = {"transformers.modeling_utils": "LOAD REPORT"}
"""Where a part of a folder is loaded by intent, and what is missing of that part is an error of its own."""


@contextmanager
def quiet_loading(more: Mapping[str, str] | None = None) -> Iterator[None]:
    """Drop the harmless messages, those of ``more``, and transformers' progress bars inside the block."""
    from transformers.utils import logging as transformers_logging

    filters = [(logging.getLogger(name), _without(words)) for name, words in {**HARMLESS, **(more or {})}.items()]
    had_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    for logger, drop in filters:
        logger.addFilter(drop)
    try:
        yield
    finally:
        for logger, drop in filters:
            logger.removeFilter(drop)
        if had_bars:
            transformers_logging.enable_progress_bar()


def _without(words: str) -> Callable[[logging.LogRecord], bool]:
    return lambda record: words not in record.getMessage()
