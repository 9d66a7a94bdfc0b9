"""A model larger than its device: accelerate spreads it over the accelerators, this machine's memory and its disk.

Weights that do not stay on an accelerator are brought there layer by layer in every forward pass. Only plain weights
are spread here; a saved quantization that runs natively is placed by transformers as it is loaded.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping

import torch
from torch import nn

from qkld.models.transformers_library import quiet_loading

USED_SHARE = 0.9
"""Share of an accelerator's free memory that weights may take; activations and the walk's tiles take the rest."""


def room(module: nn.Module, device: torch.device, *, reserved: int = 0) -> dict[int | str, int]:
    """Bytes of weights that each place may take: every accelerator of the device's kind, then this machine's memory.

    ``reserved`` bytes of the first accelerator are left for what else lies there, such as the head. The module lies in
    this machine's memory already, so its own bytes count as free there.
    """
    from accelerate.utils import get_max_memory

    free = get_max_memory()
    own = sum(p.numel() * p.element_size() for p in module.parameters())
    places: dict[int | str, int] = {"cpu": free["cpu"] + own}
    if device.type == "cpu":
        return places
    accelerators = {place: int(USED_SHARE * size) for place, size in free.items() if place != "cpu"}
    first = next(iter(accelerators))
    return {**accelerators, first: max(accelerators[first] - reserved, 0), **places}


def spread(module: nn.Module, places: Mapping[int | str, int]) -> None:
    """Spread a module that lies in this machine's memory over these places, in order; what fits nowhere goes to disk.

    The weights on disk lie in a temporary folder that goes with the module.
    """
    from accelerate import dispatch_model, infer_auto_device_map

    whole = [*(getattr(module, "_no_split_modules", None) or ())]
    with quiet_loading():
        where = infer_auto_device_map(module, max_memory=dict(places), no_split_module_classes=whole)
        if where == {"": "disk"}:  # accelerate finds no weights below the empty name
            where = {name: "disk" for name, _ in module.named_children()}
        folder = tempfile.mkdtemp(prefix="qkld-weights-") if "disk" in where.values() else None
        if folder is not None:
            weakref.finalize(module, shutil.rmtree, folder, ignore_errors=True)
        dispatch_model(module, where, offload_dir=folder)


def running_device(layer: nn.Module) -> torch.device:
    """Where a layer runs: where its weights lie, or where accelerate brings them for every forward pass."""
    device = next(layer.parameters()).device
    if device.type != "meta":
        return device
    hooks = [getattr(layer, "_hf_hook", None), *(getattr(m, "_hf_hook", None) for m in layer.modules())]
    parts = [part for hook in hooks for part in getattr(hook, "hooks", (hook,))]
    return torch.device(next(p.execution_device for p in parts if getattr(p, "execution_device", None) is not None))
