"""Changes of a Llama-type model that keep its function: padded with zeros, rotated, or reordered with signs.

`pad` widens a model to what block quantizers need (llama.cpp's K-quants: multiples of 256). `rotate` takes the weights
off the grid they were stored on and spreads outliers, by the computational invariance of RMSNorm networks: SliceGPT
(arXiv:2401.15024, section 3) and QuaRot (arXiv:2404.00456, stage 1a), here with a Haar-random matrix where QuaRot takes
a randomized Hadamard matrix, so that any width will do. `permute` regroups what block quantizers scale together and
leaves every number what it is but for its sign.

Every formula is evaluated in float64 and rounded once to the dtype of the weights given.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qkld.errors import ModelError

MODEL_TYPES = ("llama", "mistral")
"""RMSNorm with plain gains before attention and before a gated MLP, no scaling elsewhere."""

AXES: Mapping[str, tuple[str, ...]] = {
    "embed_tokens": ("tokens", "stream"),
    "input_layernorm": ("stream",),
    "q_proj": ("queries", "stream"),
    "k_proj": ("keys", "stream"),
    "v_proj": ("keys", "stream"),
    "o_proj": ("stream", "queries"),
    "post_attention_layernorm": ("stream",),
    "gate_proj": ("inner", "stream"),
    "up_proj": ("inner", "stream"),
    "down_proj": ("stream", "inner"),
    "norm": ("stream",),
    "lm_head": ("tokens", "stream"),
}
"""What the axes of each layer's weight mean, rows first; a bias has the first one."""

NORMS = ("input_layernorm", "post_attention_layernorm", "norm")

NORM_BEFORE = {
    **dict.fromkeys(("q_proj", "k_proj", "v_proj"), "input_layernorm"),
    **dict.fromkeys(("gate_proj", "up_proj"), "post_attention_layernorm"),
    "lm_head": "norm",
}
"""The norm whose output each layer reads."""


def transform(
    module: nn.Module, *, multiple: int | None, seed: int | None, permutation: int | None = None
) -> nn.Module:
    """The module padded, then rotated or permuted, where each is asked for: a rotation fills the padded places.

    ``seed`` is the rotation's, ``permutation`` that of the signed permutations.
    """
    if multiple is not None:
        module = pad(module, multiple)
    if permutation is not None:
        module = permute(module, permutation)
    return module if seed is None else rotate(module, seed)


def pad(module: nn.Module, multiple: int = 256) -> nn.Module:
    """A wider copy with the same logits: every width a multiple of ``multiple``, the new places zero.

    With n of N places filled, Σx²/N = (n/N)·Σx²/n. RMSNorm is kept by ε' = ε·n/N and gains g' = g·√(n/N):
    g'·x/√(Σx²/N + ε') = g·x/√(Σx²/n + ε). New heads come in whole groups, so that every query head keeps its key head;
    their values are zero.

    Raises
    ------
    ModelError
        If the architecture or its weights are not supported, or its widths cannot be padded together.
    """
    _check_supported(module)
    config = padded_config(module.config, multiple)
    sizes = axis_sizes(config)
    gain = math.sqrt(module.config.hidden_size / config.hidden_size)
    state = {}
    for name, tensor in module.state_dict().items():
        scaled = tensor.double() * gain if _layer(name) in NORMS else tensor
        state[name] = zero_padded(scaled, [sizes[axis] for axis in axes_of(name)]).to(tensor.dtype)
    return _rebuilt(module, config, state)


def rotate(module: nn.Module, seed: int) -> nn.Module:
    """A copy with the same logits whose residual stream is turned by a random orthogonal matrix Q; its head is untied.

    Gains g move into what reads the norm, W·diag(g), since RMSNorm without gains commutes with Q. Then the stream x
    becomes Qᵀx: layers that read it W·Q, layers that write it Qᵀ·W, biases on it Qᵀ·b.

    Raises
    ------
    ModelError
        If the architecture or its weights are not supported.
    """
    _check_supported(module)
    config = copy.deepcopy(module.config)
    config.tie_word_embeddings = False
    matrix = random_orthogonal(config.hidden_size, rng=np.random.default_rng(seed))
    before = module.state_dict()
    state = {}
    for name, tensor in before.items():
        if _layer(name) in NORMS:
            state[name] = torch.ones_like(tensor)
            continue
        turned = tensor.double() * gain_before(before, name)
        for axis, meaning in enumerate(axes_of(name)):
            turned = turned_axis(turned, axis, matrix.to(tensor.device)) if meaning == "stream" else turned
        state[name] = turned.to(tensor.dtype)
    return _rebuilt(module, config, state)


def permute(module: nn.Module, seed: int) -> nn.Module:
    """A copy with the same logits, its stream and its MLPs' units in another order and with other signs.

    The stream x becomes Pᵀx with P a permutation and signs on it, which RMSNorm keeps if its gains are permuted. Of
    the units silu(gate)·up, up takes the signs and down takes them back; each layer draws its own. Every weight is
    exact but for its place and sign, and a tied head stays tied.

    Raises
    ------
    ModelError
        If the architecture or its weights are not supported.
    """
    _check_supported(module)
    sizes = axis_sizes(module.config)
    stream = SignedOrder.random(sizes["stream"], rng=np.random.default_rng(seed))
    state = {}
    for name, tensor in module.state_dict().items():
        for axis, meaning in enumerate(axes_of(name)):
            if meaning == "stream":
                tensor = stream.taken(tensor, axis, signed=_layer(name) not in NORMS)
            elif meaning == "inner":
                units = SignedOrder.random(sizes["inner"], rng=np.random.default_rng([seed, _block(name)]))
                tensor = units.taken(tensor, axis, signed=_layer(name) != "gate_proj")
        state[name] = tensor
    return _rebuilt(module, copy.deepcopy(module.config), state)


@dataclass(frozen=True)
class SignedOrder:
    """A permutation with a sign a place: out[j] = sign[j]·in[order[j]]."""

    order: Tensor
    signs: Tensor

    @classmethod
    def random(cls, size: int, *, rng: np.random.Generator) -> SignedOrder:
        """Every order and every signs equally likely."""
        return cls(torch.from_numpy(rng.permutation(size)), torch.from_numpy(rng.choice([-1, 1], size)))

    def taken(self, tensor: Tensor, axis: int, *, signed: bool) -> Tensor:
        """The tensor with one axis reordered, and with signs where asked; same dtype."""
        ordered = tensor.index_select(axis, self.order.to(tensor.device))
        if not signed:
            return ordered
        return ordered * self.signs.to(tensor).reshape([-1 if i == axis else 1 for i in range(tensor.ndim)])


def random_orthogonal(size: int, *, rng: np.random.Generator) -> Tensor:
    """A Haar-distributed orthogonal matrix, (size, size), float64.

    The Q of a QR decomposition of a Gaussian matrix, each column times the sign of R's diagonal, without which it is
    not uniform: Mezzadri (2007), Notices of the AMS 54, 592, section 5.
    """
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return torch.from_numpy(q * np.sign(np.diag(r)))


def turned_axis(tensor: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """The tensor with one axis multiplied from the right: out[…, j, …] = Σ_i tensor[…, i, …]·matrix[i, j]."""
    return (tensor.movedim(axis, -1) @ matrix).movedim(-1, axis).contiguous()


def zero_padded(tensor: Tensor, shape: list[int]) -> Tensor:
    """The tensor in the corner of zeros of a larger shape."""
    grown = tensor.new_zeros(shape)
    grown[tuple(slice(size) for size in tensor.shape)] = tensor
    return grown


def gain_before(state: Mapping[str, Tensor], name: str) -> Tensor | float:
    """Gains of the norm that a layer's weight reads, one a column, float64; 1 for all other tensors."""
    norm = NORM_BEFORE.get(_layer(name))
    if norm is None or name.endswith(".bias"):
        return 1.0
    place = "model" if norm == "norm" else ".".join(name.split(".")[:3])  # model.layers.7
    return state[f"{place}.{norm}.weight"].double()


def axes_of(name: str) -> tuple[str, ...]:
    """What the axes of a parameter mean."""
    axes = AXES[_layer(name)]
    return axes[:1] if name.endswith(".bias") else axes


def axis_sizes(config: Any) -> dict[str, int]:
    """Size of every axis of a configuration."""
    return {
        "tokens": config.vocab_size,
        "stream": config.hidden_size,
        "queries": config.num_attention_heads * config.head_dim,
        "keys": config.num_key_value_heads * config.head_dim,
        "inner": config.intermediate_size,
    }


def padded_config(config: Any, multiple: int) -> Any:
    """The configuration of the padded model: stream, attention and MLP widths rounded up, ε scaled with the stream.

    The attention's width is rounded up to whole groups of a key head and its query heads (SmolLM2: 192 a group).
    """
    wide = copy.deepcopy(config)
    group = config.num_attention_heads // config.num_key_value_heads
    width = group * config.head_dim
    wide.num_key_value_heads = rounded_up(width * config.num_key_value_heads, math.lcm(multiple, width)) // width
    wide.num_attention_heads = group * wide.num_key_value_heads
    wide.hidden_size = rounded_up(config.hidden_size, multiple)
    wide.intermediate_size = rounded_up(config.intermediate_size, multiple)
    wide.rms_norm_eps = config.rms_norm_eps * config.hidden_size / wide.hidden_size
    if wide.hidden_size % wide.num_attention_heads:  # transformers refuses to open such a configuration
        raise ModelError(
            f"This {config.model_type} model cannot be padded to multiples of {multiple}.",
            expected=f"a hidden size that is divisible by its {wide.num_attention_heads} heads",
            found=f"{wide.hidden_size} wide",
            do="choose another multiple for reference.pad",
        )
    return wide


def rounded_up(size: int, multiple: int) -> int:
    """The smallest multiple that is not below the size."""
    return -(-size // multiple) * multiple


def _layer(name: str) -> str:
    """``model.layers.0.self_attn.q_proj.weight`` → ``q_proj``."""
    return name.split(".")[-2]


def _block(name: str) -> int:
    """``model.layers.7.mlp.up_proj.weight`` → 7."""
    return int(name.split(".")[2])


def _check_supported(module: nn.Module) -> None:
    found = next(_unsupported(module), None)
    if found is not None:
        raise ModelError(
            f"{type(module).__name__} cannot be padded, rotated or permuted.",
            expected=f"a model of type {' or '.join(MODEL_TYPES)} with plain weights and no more than their layers",
            found=found,
            do="remove reference.pad, rotate, permute and the quants' builds from the study, or add the layer to "
            "qkld.models.transforms.transforms with the algebra that keeps its function",
        )


def _unsupported(module: nn.Module) -> Any:
    """What about a module is not supported, in words, one after the other."""
    if module.config.model_type not in MODEL_TYPES:
        yield f"model type {module.config.model_type}"
    sizes = axis_sizes(module.config) if module.config.model_type in MODEL_TYPES else {}
    for name, parameter in module.named_parameters():
        if _layer(name) not in AXES:
            yield f"parameter {name}"
        elif type(parameter.data) is not Tensor or not parameter.is_floating_point():
            yield f"quantized weights in {name}"
        elif tuple(parameter.shape) != tuple(sizes[axis] for axis in axes_of(name)):
            yield f"shape {tuple(parameter.shape)} of {name}"


def _rebuilt(module: nn.Module, config: Any, state: dict[str, Tensor]) -> nn.Module:
    """A module of the same kind with this configuration and these weights, in eval mode."""
    with torch.device("meta"):
        built = type(module)(config)
    built.load_state_dict(state, assign=True)
    built.model.rotary_emb = copy.deepcopy(module.model.rotary_emb)  # no weights; depends on the heads' width alone
    built.tie_weights()
    return built.eval().requires_grad_(False)
