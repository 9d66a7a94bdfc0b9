"""What a model calls its output head with: the hidden states that a reference store keeps and a head takes.

The head itself is asked, and not the module that a library names the base model: some classes name none, and some
transform, scale or slice between the two.
"""

from __future__ import annotations

import inspect
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from qkld.errors import ModelError


class _HeadReached(Exception):
    """Ends a forward pass at the head; carries what the head was called with."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


@torch.inference_mode()
def head_input(module: nn.Module, **inputs: Any) -> Tensor:
    """What the model calls its head with, (batch, tokens, width); the pass ends there, so logits are never made.

    ``inputs`` are the forward pass's own, such as ``input_ids`` of shape (batch, tokens); see `accepted`.

    Raises
    ------
    ModelError
        If the model makes its logits without a call of the module that it names as its head.
    """

    def reached(_: nn.Module, given: tuple[Tensor, ...], named: dict[str, Tensor]) -> NoReturn:
        raise _HeadReached(given[0] if given else next(iter(named.values())))

    hook = module.get_output_embeddings().register_forward_pre_hook(reached, with_kwargs=True)
    try:
        module(**accepted(module, **inputs))
    except _HeadReached as end:
        return _one_a_token(module, end.states, inputs["input_ids"])
    finally:
        hook.remove()
    raise ModelError(
        f"{type(module).__name__} computes its logits without calling its output head.",
        expected="the module that get_output_embeddings() names to be called with the last hidden states",
        found="a forward pass that never calls it",
        do="measure this model with an engine that gives whole logits, such as llama.cpp",
    )


def _one_a_token(module: nn.Module, states: Tensor, ids: Tensor) -> Tensor:
    if states.shape[:-1] != ids.shape:
        raise ModelError(
            f"{type(module).__name__} calls its output head with other states than one per token.",
            expected=f"{(*ids.shape, 'width')}",
            found=tuple(states.shape),
            do="measure this model with an engine that gives whole logits, such as llama.cpp",
        )
    return states


def accepted(module: nn.Module, **inputs: Any) -> dict[str, Any]:
    """The inputs that are not None, without switches such as ``use_cache`` that the class's forward pass has not.

    Tensors are always handed on: a class that takes no attention mask refuses one, and does not ignore it.
    """
    known = inspect.signature(module.forward).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    return {
        name: value
        for name, value in inputs.items()
        if value is not None and (name in known or takes_any or isinstance(value, Tensor))
    }
