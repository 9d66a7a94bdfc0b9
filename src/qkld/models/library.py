"""transformers, loaded without the libraries that it imports for what hardly a study uses."""

from __future__ import annotations

import importlib
import re
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
