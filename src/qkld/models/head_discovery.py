"""Finding a model's output head, and proving on a few tokens that it gives the model's own logits."""

from __future__ import annotations

import torch
from torch import nn

from qkld.errors import ModelError, explain
from qkld.models.head import Head
from qkld.models.opened import trunk_states

PROBE_IDS = (1, 5, 17, 3, 29, 11, 2, 23)
"""Token ids of the probe; any ids do, taken modulo the vocabulary."""

SOFTCAPS = ("final_logit_softcapping",)
FACTORS = ("logit_scale", "lm_head_multiplier")
DIVISORS = ("logits_scaling",)


def find_head(module: nn.Module) -> Head:
    """The head with all its rows, in the dtype it is stored in.

    The product's factor and soft cap come from the configuration: ``logit_scale`` (Cohere), ``logits_scaling``
    (Granite, a divisor), ``lm_head_multiplier`` (Falcon-H1), ``final_logit_softcapping`` (Gemma).

    Raises
    ------
    ModelError
        If the model has no output embeddings, or they are no plain linear layer.
    """
    layer = module.get_output_embeddings()
    weight = getattr(layer, "weight", None)
    if type(weight) not in (nn.Parameter, torch.Tensor) or not weight.is_floating_point():
        raise ModelError(
            explain(
                f"{type(module).__name__} has no output head that can be applied on its own.",
                expected="get_output_embeddings() to give a linear layer with a plain floating-point weight",
                found=f"{type(layer).__name__} with {type(weight).__name__}",
                do="keep the head unquantized (lm_head among the modules not to convert)",
            )
        )
    config = module.config.get_text_config()
    scale = 1.0
    for name in FACTORS:
        scale *= getattr(config, name, None) or 1.0
    for name in DIVISORS:
        scale /= getattr(config, name, None) or 1.0
    softcap = next((value for name in SOFTCAPS if (value := getattr(config, name, None))), None)
    bias = getattr(layer, "bias", None)
    return Head(weight.detach(), None if bias is None else bias.detach(), scale, softcap)


@torch.inference_mode()
def check_head(module: nn.Module, head: Head) -> None:
    """Hold the head against the model's own logits of a few tokens; in one dtype they must be bit-equal.

    Raises
    ------
    ModelError
        With the largest difference and the module that was taken for the head.
    """
    ids = torch.tensor([[i % head.vocabulary for i in PROBE_IDS]])
    device = module.get_input_embeddings().weight.device
    own = module(input_ids=ids.to(device), use_cache=False).logits[0]
    ours = head.logits(trunk_states(module, ids)[0].to(head.weight.device))
    difference = (own.to(ours.device, torch.float64) - ours.to(torch.float64)).abs().max().item()
    if not difference == 0.0:
        raise ModelError(
            explain(
                f"The head found in {type(module).__name__} does not give the model's logits back.",
                expected="the same bits",
                found=f"largest difference {difference:g} with {type(module.get_output_embeddings()).__name__}, "
                f"scale {head.scale:g}, soft cap {head.softcap}",
                do="add the architecture's scaling to qkld.models.head_discovery",
            )
        )
