"""Whether several texts may share one row of a batch: a block mask and position ids keep them apart.

That is a property of the architecture. It is tried on a small random model of the same configuration in float64, where
rounding is a million times smaller than what a text that sees another changes, so that neither a quant's rounding nor
a processor's decides how items are laid out.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from qkld.models.opened import trunk_states
from qkld.models.transformers_library import transformers_library

LIMIT = 1e-3
"""Difference of hidden states, relative to the largest of them, that tells texts apart from texts that see each other.

Rounding makes at most 1e-6 of it (norms, gates and rotations of some architectures stay in float32), a text that sees
another between 0.06 and 2 in every architecture that transformers knows.
"""

LARGEST = 50_000_000
"""Parameters of the largest model that is tried."""

OPTIONS = {"trust_remote_code": False, "dtype": torch.float64, "experts_implementation": "eager"}
"""How the model is built; other products of experts take no float64."""

LAYERS, INNER = 2, 32
"""Layers of the small model, and width of what lies between two attentions."""

AT_MOST = {
    r"^vocab_size$": 32,
    r"_token_id$": 0,
    r"experts$": 4,
    r"experts_per_tok$|moe_topk|top_k": 2,
    r"^n_group$|^topk_group$": 1,
}
"""Largest values of counts, by patterns of their names."""

PROMPT, CHOICES, OTHER = (1, 5, 17, 3), ((2, 9, 4), (11, 6)), (7, 13, 8, 10, 12)
"""Token ids: an item of a prompt and two choices, and another item."""


def supports_packing(config: Any) -> bool:
    """True if every layer of the architecture attends in full and keeps packed texts apart.

    ``config`` is a configuration of transformers. Layers with sliding or chunked windows, convolutions or recurrent
    states are never packed: a mask does not reach them, or would replace their own. Nor is an architecture that cannot
    be built small, or takes no block mask or no position ids.
    """
    text = config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"} or (_slides(text) and not hasattr(text, "layer_types")):
        return False
    with torch.random.fork_rng(devices=[]):
        try:
            module = _small_module(config)
            alone, packed, unmasked = _tried(module)
        except Exception:  # whatever a configuration, a constructor or a forward pass of an architecture raises
            return False
    return _difference(packed, alone) < LIMIT < _difference(unmasked, alone)


def _slides(config: Any) -> bool:
    return bool(getattr(config, "sliding_window", None)) and getattr(config, "use_sliding_window", True)


def _difference(states: Tensor, expected: Tensor) -> float:
    return ((states - expected).abs().max() / expected.abs().max()).item()


def _tried(module: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states of two items' texts, each run alone, packed, and in one row that hides nothing but what follows."""
    rows = [PROMPT + CHOICES[0], PROMPT + CHOICES[1], OTHER]
    first, second, other = (trunk_states(module, torch.tensor([row]))[0] for row in rows)
    alone = torch.cat([first, second[len(PROMPT) :], other])
    ids = torch.tensor([[*PROMPT, *CHOICES[0], *CHOICES[1], *OTHER]])
    starts = (0, len(PROMPT), len(PROMPT), 0)
    parts = (PROMPT, *CHOICES, OTHER)
    positions = torch.cat([torch.arange(start, start + len(part)) for start, part in zip(starts, parts, strict=True)])
    seen = block_mask([len(part) for part in parts])
    seen[len(PROMPT) : -len(OTHER), : len(PROMPT)] = True  # both choices see their prompt
    packed = trunk_states(module, ids, position_ids=positions[None], attention_mask=seen[None, None])
    return alone, packed[0], trunk_states(module, ids)[0]


def block_mask(lengths: list[int]) -> Tensor:
    """True where a token may look: at itself and earlier tokens of its own text; shape (sum, sum)."""
    owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    return (owner[:, None] == owner[None, :]) & torch.ones(len(owner), len(owner), dtype=torch.bool).tril()


def _small_module(config: Any) -> nn.Module:
    """A random float64 model of the architecture, as narrow as its constructor takes, with signals of order 1.

    Raises
    ------
    Exception
        Of any kind that the architecture raises for every size that was tried.
    """
    causal, problem = transformers_library().AutoModelForCausalLM, None
    for small in _smaller(config):
        try:
            with torch.device("meta"):
                size = sum(p.numel() for p in causal.from_config(small, **OPTIONS).parameters())
            if size <= LARGEST:
                return _drawn(causal.from_config(small, **OPTIONS).to(torch.float64)).eval()
            problem = problem or ValueError(f"{size} parameters")
        except Exception as error:  # widths that do not go together in this architecture
            problem = error
    raise problem


def _drawn(module: nn.Module) -> nn.Module:
    """Give every matrix random values that keep a signal's size; some architectures begin with zeros."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=1 / math.sqrt(parameter.shape[-1]))
    return module


def _smaller(config: Any) -> Iterator[Any]:
    """Copies of the configuration with few layers: narrow ones, then with their own heads, then of their own widths."""
    for is_narrow, is_thin in ((True, True), (False, True), (False, False)):
        small = copy.deepcopy(config)
        if hasattr(small, "quantization_config"):
            del small.quantization_config
        for part in _parts(small):
            changes = {**_few(part), **(_narrow(part) if is_narrow else {}), **(_thin(part) if is_thin else {})}
            for name, value in changes.items():
                setattr(part, name, value)
        yield small


def _parts(config: Any) -> list[Any]:
    """A configuration and those within it, such as its text part's."""
    within = (getattr(config, name, None) for name in type(config).sub_configs)
    return [config, *(part for inner in within if inner is not None for part in _parts(inner))]


def _few(config: Any) -> dict[str, Any]:
    """Few layers, tokens and experts, and lists that name every layer cut to those kept."""
    layers = getattr(config, "num_hidden_layers", None)
    few = {name: v[:LAYERS] for name, v in config.to_dict().items() if isinstance(v, list) and len(v) == layers}
    few |= {} if layers is None else {"num_hidden_layers": LAYERS}
    for name, value in _counts(config).items():
        for pattern, largest in AT_MOST.items():
            if re.search(pattern, name):
                few[name] = min(value, largest)
    return few


def _counts(config: Any) -> dict[str, int]:
    """Whole numbers of a configuration, by the names that most architectures give them."""
    common = {own: name for name, own in type(config).attribute_map.items()}
    return {common.get(name, name): value for name, value in config.to_dict().items() if type(value) is int}


def _narrow(config: Any) -> dict[str, int]:
    """One key head, and as much less of the other heads and of the width; nothing where they have no common divisor."""
    heads, width = (getattr(config, name, None) for name in ("num_attention_heads", "hidden_size"))
    key_heads = getattr(config, "num_key_value_heads", None)
    divisor = key_heads or heads
    if not all(isinstance(value, int) for value in (heads, width, divisor)) or heads % divisor or width % divisor:
        return {}
    narrow = {"num_attention_heads": heads // divisor, "hidden_size": width // divisor}
    return narrow | ({"num_key_value_heads": 1} if key_heads else {})


def _thin(config: Any) -> dict[str, int]:
    """Small layers between the attentions."""
    return {name: INNER for name in _counts(config) if re.search(r"intermediate_size|ffn_dim|n_inner|ffn_hidden", name)}
