"""Finding a model's output head, and proving on a few tokens that it gives the model's own logits."""

from __future__ import annotations

import math
import traceback
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from qkld.errors import ModelError
from qkld.models.head import Head
from qkld.models.head_input import accepted
from qkld.models.opened import trunk_states
from qkld.models.spreading import running_device

PROBE_IDS = (1, 5, 17, 3, 29, 11, 2, 23)
"""Token ids of the probe; any ids do, taken modulo the vocabulary."""

SOFTCAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
FACTORS = ("logit_scale", "lm_head_multiplier")
DIVISORS = ("logits_scaling",)


def find_head(module: nn.Module) -> Head:
    """The head with all its rows, in the dtype it is stored in.

    The product's factor and soft cap come from the configuration: ``logit_scale`` (Cohere), ``logits_scaling``
    (Granite, a divisor), ``lm_head_multiplier`` (Falcon-H1), ``final_logit_softcapping`` (Gemma), ``logits_soft_cap``
    (RecurrentGemma), ``output_logit_soft_cap`` (xLSTM); `proven_head` says whether the class takes them so.

    Raises
    ------
    ModelError
        If the model has no output embeddings, or they are no plain linear layer; names the module looked for.
    """
    layer = module.get_output_embeddings()
    if layer is None:
        raise ModelError(
            f"{type(module).__name__} has no output head.",
            expected="the module that get_output_embeddings() names, such as lm_head",
            found=f"none among {[name for name, _ in module.named_children()]}",
            do="give a causal language model with its head",
        )
    weight = getattr(layer, "weight", None)
    if type(weight) not in (nn.Parameter, torch.Tensor) or not weight.is_floating_point():
        raise ModelError(
            f"{type(module).__name__} has no output head that can be applied on its own.",
            expected="get_output_embeddings() to give a linear layer with a plain floating-point weight",
            found=f"{_name_of(layer, module)}, {type(layer).__name__} with {type(weight).__name__}",
            do="keep the head unquantized (lm_head among the modules not to convert)",
        )
    scale = math.prod(_values(module, FACTORS)) / math.prod(_values(module, DIVISORS))
    softcap = next(iter(_values(module, SOFTCAPS)), None)
    bias = getattr(layer, "bias", None)
    return Head(weight.detach(), None if bias is None else bias.detach(), scale, softcap)


def _name_of(layer: nn.Module, module: nn.Module) -> str:
    """A layer's name within its model."""
    return next((name for name, part in module.named_modules() if part is layer), "a module without a name")


def _values(module: nn.Module, names: tuple[str, ...]) -> list[float]:
    """The configuration's values under these names, absent ones left out."""
    config = module.config.get_text_config()
    return [float(value) for name in names if (value := getattr(config, name, None)) is not None]


def proven_head(module: nn.Module, head: Head) -> tuple[Head, torch.dtype]:
    """The head in the form that gives the model's own logits of a few tokens: what `find_head` found, or nearly so.

    A configuration's name does not tell whether a class multiplies by the value (HyperCLOVA X) or divides by it
    (Granite), or takes it at all; nor whether it scales in float32, or gives fewer logits than the head has rows. These
    forms lie further apart than any rounding. Returns the dtype of the hidden states too.

    Raises
    ------
    ModelError
        If the model cannot be run, if its logits are not finite, or if they differ: with the largest difference of the
        form that was found first, and the module that was taken for the head.
    """
    scales = dict.fromkeys((head.scale, 1 / head.scale, 1.0))
    softcaps = dict.fromkeys((head.softcap, None))
    return _first_proven(module, head, [replace(head, scale=s, softcap=c) for c in softcaps for s in scales])


@torch.inference_mode()
def _first_proven(module: nn.Module, head: Head, forms: Iterable[Head]) -> tuple[Head, torch.dtype]:
    """The first form that gives the model's own logits of a few tokens, nothing but rounding between them.

    Where a machine runs both products by one kernel in one shape they are bit-equal, elsewhere they round apart: see
    `_rounding`.
    """
    ids = torch.tensor([[i % head.vocabulary for i in PROBE_IDS]])
    own = _own_logits(module, ids, head.weight.dtype)
    _check_finite(own)
    hidden = trunk_states(module, ids)[0].to(head.weight.device)
    own = own.to(head.weight.device)
    is_wide = own.dtype == torch.float32 and torch.finfo(head.weight.dtype).bits < 32
    forms = [replace(form.cut(own.shape[-1]), wide=is_wide and form.is_changed) for form in forms]
    differences = [_beyond_rounding(form, hidden, own) for form in forms]
    for form, (_, beyond) in zip(forms, differences, strict=True):
        if not beyond:
            return form, hidden.dtype
    largest, beyond = differences[0]
    raise ModelError(
        f"The head found in {type(module).__name__} does not reproduce the model's logits.",
        expected="no difference beyond rounding",
        found=f"largest difference {largest:g}, {beyond} of {own.numel()} beyond rounding, with "
        f"{type(module.get_output_embeddings()).__name__}, scale {head.scale:g}, soft cap {head.softcap}",
        do="add the architecture's scaling to qkld.models.head_discovery",
    )


def _beyond_rounding(head: Head, hidden: Tensor, own: Tensor) -> tuple[float, int]:
    """Largest difference of a head's logits from the model's own, and how many differ by more than rounding."""
    ours = head.logits(hidden)
    difference = (own.to(torch.float64) - ours.to(torch.float64)).abs()
    eps = max(torch.finfo(dtype).eps for dtype in (own.dtype, ours.dtype))
    within = difference <= _rounding(head, hidden, ours, eps)  # false for NaN
    return difference.max().item(), int((~within).sum())


def _rounding(head: Head, hidden: Tensor, logits: Tensor, eps: float) -> Tensor:
    """Largest difference that rounding makes between two ways to compute logits, (tokens, vocab), float64.

    Two sums of n products in any order are within 2 λ √n u Σ|products| of each other, up to a probability of
    2 exp(−λ²/2) (Higham and Mary 2019, SIAM J. Sci. Comput. 41, A2815; u of the sums, λ = 6), and Σ|products| is at
    most the product of both lengths. Rounding to the coarser dtype of both logits (``eps`` of 1) and scaling them, here
    by a factor and there by a divisor, add a unit in the last place each.
    """
    sums = torch.promote_types(logits.dtype, torch.float32)
    lengths = [torch.linalg.vector_norm(rows, dim=-1, dtype=sums).to(torch.float64) for rows in (hidden, head.weight)]
    spread = 12 * math.sqrt(head.width) * torch.finfo(sums).eps / 2 * abs(head.scale) * torch.outer(*lengths)
    return spread + 2 * eps * logits.to(torch.float64).abs()


def _own_logits(module: nn.Module, ids: Tensor, dtype: torch.dtype) -> Tensor:
    """The logits that the model's own forward pass gives, (tokens, vocab); ``dtype`` is the one it was opened in."""
    ids = ids.to(running_device(module.get_input_embeddings()))
    try:
        return module(**accepted(module, input_ids=ids, use_cache=False, return_dict=True)).logits[0]
    except Exception as error:  # an operation without this dtype, inputs that text does not give, memory: all end here
        raise ModelError(
            f"{type(module).__name__} cannot be run on token ids in {_dtype_name(dtype)}.",
            expected="logits of a few tokens",
            found=f"{type(error).__name__}{_place(error, module)}: {error}"[:400],
            do="use another compute dtype, or weights: dequantized if its layers are quantized, or a model class that "
            "transformers runs on text alone",
        ) from error


def _place(error: Exception, module: nn.Module) -> str:
    """Name of the innermost of the model's layers whose forward pass an error ended."""
    names = {id(layer): name for name, layer in module.named_modules()}
    frames = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    inside = [names[id(layer)] for layer in frames if names.get(id(layer))]
    return f" in {inside[-1]}" if inside else ""


def _check_finite(logits: Tensor) -> None:
    if not bool(torch.isfinite(logits).all()):
        wider = "bfloat16 or float32" if logits.dtype == torch.float16 else "float32, or check the model's weights"
        raise ModelError(
            f"The model's logits are not finite in {_dtype_name(logits.dtype)}.",
            expected="numbers for a few tokens",
            found=f"NaN or infinity at {int((~torch.isfinite(logits)).any(-1).sum())} of {len(logits)} tokens",
            do=f"take {wider}",
        )


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
