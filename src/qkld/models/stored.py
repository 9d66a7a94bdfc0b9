"""Which tensors of a folder's files a module was loaded from, by transformers' own renaming, and what they take.

transformers renames, merges and splits tensors as it loads them, and leaves out what the model has no place for: layers
that predict further tokens, a copy of tied embeddings, the tower that sees. What is counted, and in which dtype a
weight is stored, is read from the files' headers through the same rules, so that numerator and denominator of bits a
weight run over the same tensors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import torch
from torch import nn

from qkld.models.bits import Part, StoredBits, Tally, total
from qkld.models.folders import read_json, weight_files
from qkld.models.text_part import empty_model

PLAIN = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Floating-point dtypes of 16 bits or more by their names in a safetensors header; all others count as packed."""

BITS = {**{f"{kind}{n}": n for kind in "FIU" for n in (64, 32, 16)}, "BF16": 16, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4}
"""Bits of a value by its dtype in a header; what is not here takes eight."""


COMPANION = re.compile(r"\.weight_\w+$")
"""End of the name of what is stored beside a weight: its scale, zero point or shape, or its packed integers."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a file's header: its name, safetensors dtype and number of values; nothing of its data."""

    name: str
    dtype: str
    values: int

    @property
    def bits(self) -> int:
        """Bits that its values take in the file."""
        return self.values * BITS.get(self.dtype, 8)

    @property
    def is_plain(self) -> bool:
        """Whether it holds floating-point numbers of 16 bits or more."""
        return self.dtype in PLAIN


@dataclass(frozen=True)
class Sources:
    """What a module was loaded from.

    Attributes
    ----------
    loaded : tensor of the module → the stored tensors that it was made from; a tied tensor under its first name
    left : stored tensors that are in no tensor of the module, or a further copy of one that is
    unread : safetensors files of the folder that are not read at all → tensors in them
    parts : tensor of the module → ``embedding`` or ``head``; those of the trunk are not listed
    weights : parameter of the module → its number of weights, as the architecture has them without quantization
    """

    loaded: Mapping[str, tuple[StoredTensor, ...]]
    left: tuple[StoredTensor, ...]
    unread: Mapping[str, int]
    parts: Mapping[str, Part]
    weights: Mapping[str, int]

    def dtype(self, name: str) -> torch.dtype | None:
        """The dtype that a plain tensor of the module is stored in, the wider one of several; None if it is packed."""
        stored = self.loaded[name]
        return widest(stored) if all(t.is_plain for t in stored) else None

    def bits(self) -> StoredBits:
        """Bits of what the parameters were loaded from, over the weights of the same; scales and code books are bits.

        Buffers that a file holds, such as tables of positions and of decays, are no weights and do not count.
        """
        return total(self._tallies())

    def _tallies(self) -> Iterable[tuple[Part, Tally]]:
        counted: set[str] = set()
        for name, stored in self.loaded.items():
            if name not in self.weights:
                continue
            bits = sum(t.bits for t in stored if t.name not in counted)
            counted |= {t.name for t in stored}
            weights = self.weights[name]
            yield self.parts.get(name, "trunk"), Tally(weights, bits, plain=weights if self.dtype(name) else 0)

    def left_out(self) -> dict[str, int]:
        """Stored and not loaded: files not read, and the beginnings of names that nothing loaded shares → tensors."""
        known = {b for stored in self.loaded.values() for t in stored for b in _beginnings(t.name)}
        counts = dict(self.unread)
        for tensor in self.left:
            beginning = next((b for b in _beginnings(tensor.name) if b not in known), tensor.name)
            counts[beginning] = counts.get(beginning, 0) + 1
        return counts


def _beginnings(name: str) -> list[str]:
    words = name.split(".")
    return [".".join(words[:n]) for n in range(1, len(words) + 1)]


def headers(files: Iterable[Path]) -> list[StoredTensor]:
    """Every tensor of these files by their headers, in transformers' order."""
    from safetensors import safe_open
    from transformers.core_model_loading import dot_natural_key

    found: dict[str, StoredTensor] = {}
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.offset_keys():
                header = tensors.get_slice(name)
                found[name] = StoredTensor(name, header.get_dtype(), math.prod(header.get_shape()))
    return sorted(found.values(), key=lambda tensor: dot_natural_key(tensor.name))


def widest(tensors: Iterable[StoredTensor]) -> torch.dtype:
    """The dtype that holds every value of those that are plain; float32 where none is."""
    dtypes = [PLAIN[t.dtype] for t in tensors if t.is_plain]
    return reduce(torch.promote_types, dtypes) if dtypes else torch.float32


def sources_of(folder: Path, module: nn.Module, *, key_mapping: Mapping[str, str] | None = None) -> Sources:
    """What ``module`` was loaded from, by the headers of the folder's files; call it before layers are replaced.

    ``key_mapping`` is what `from_pretrained` was given.
    """
    is_quantized = "quantization_config" in read_json(folder / "config.json")
    plain, files = empty_model(module) if is_quantized else module, weight_files(folder)
    targets = _target_finder(module, plain, key_mapping)
    first = _first_names(module)
    found: dict[str, list[tuple[str, StoredTensor]]] = {}
    left = []
    for tensor in headers(files):
        names = targets(tensor.name)
        left += [] if names else [tensor]
        for name in names:
            found.setdefault(first.get(name, name), []).append((name, tensor))
    loaded = {}
    for name, pairs in found.items():
        own = name if name in {n for n, _ in pairs} else pairs[0][0]
        loaded[name] = tuple(t for n, t in pairs if n == own)
        left += [t for n, t in pairs if n != own]
    sizes = {name: parameter.numel() for name, parameter in plain.named_parameters(remove_duplicate=False)}
    unread = {file.name: len(headers([file])) for file in sorted(folder.glob("*.safetensors")) if file not in files}
    return Sources(loaded, tuple(left), unread, _parts(module, first), sizes)


def _first_names(module: nn.Module) -> dict[str, str]:
    """Name of a parameter → the first name of the same tensor; they differ for tied ones."""
    first: dict[int, str] = {}
    return {name: first.setdefault(id(p), name) for name, p in module.named_parameters(remove_duplicate=False)}


def _parts(module: nn.Module, first: Mapping[str, str]) -> dict[str, Part]:
    """Tensors below the embedding and the head, by their first names; a tied head has none of its own."""
    names = {id(m): name for name, m in module.named_modules()}
    parts: dict[str, Part] = {}
    for part, layer in (("head", module.get_output_embeddings()), ("embedding", module.get_input_embeddings())):
        below = f"{names[id(layer)]}." if layer is not None else None
        parts |= {first[name]: part for name in first if below is not None and name.startswith(below)}
    return parts


def _target_finder(
    module: nn.Module, plain: nn.Module, key_mapping: Mapping[str, str] | None
) -> Callable[[str], tuple[str, ...]]:
    """A function: stored name → the plain module's tensors that it went into; none where it was not loaded."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    rules = get_model_conversion_mapping(module, key_mapping, getattr(module, "hf_quantizer", None))
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    by_pattern = {pattern: rule for rule in converters for pattern in rule.source_patterns}
    state = plain.state_dict(keep_vars=True)
    prefix = plain.base_model_prefix
    owners = _owners(plain) if plain is not module else {}

    def targets(stored: str) -> tuple[str, ...]:
        name, pattern = rename_source_key(stored, renamings, converters, prefix, state)
        if name not in state and stored in state:
            name, pattern = rename_source_key(stored, [], [], prefix, state)
        if name not in state and owners and (weight := COMPANION.sub(".weight", stored)) != stored:
            return targets(weight)
        if name not in state:
            name = _packed_target(name, owners)
        if name is None or pattern is None:
            return () if name is None else (name,)
        first, *others = by_pattern[pattern].target_patterns
        return (name, *(n for other in others if (n := name.replace(first, other)) in state))

    return targets


def _owners(plain: nn.Module) -> dict[str, list[str]]:
    """Module → names of its own tensors, longest first."""
    owners: dict[str, list[str]] = {}
    for name in plain.state_dict(keep_vars=True):
        owner, _, own = name.rpartition(".")
        owners.setdefault(owner, []).append(own)
    return {owner: sorted(own, key=len, reverse=True) for owner, own in owners.items()}


def _packed_target(name: str, owners: Mapping[str, list[str]]) -> str | None:
    """The plain tensor that a packed one, its scale or its zero point belongs to; None where no module has its place.

    Packed tensors are named after the weight they stand for (``weight_packed``, ``gate_up_proj_blocks``) or not
    (``qweight``, ``scales``): then they are the weight's.
    """
    for beginning in reversed(_beginnings(name)[:-1]):
        if beginning in owners:
            rest = name.removeprefix(f"{beginning}.")
            own = next((own for own in owners[beginning] if rest.startswith(own)), "weight")
            return f"{beginning}.{own}" if own in owners[beginning] else None
    return None
