"""What a GGUF file's header says of a model's forward pass, where transformers' conversion leaves the class's default.

Rotary frequencies of long contexts (Llama 3.1 and later, Gemma 3, Phi-3) and the scale of Gemma's attention are such.
Each is taken as llama.cpp takes it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qkld.errors import ModelError
from qkld.models.gguf.gguf_files import fact, tensors

GEMMA_27B = {"gemma2": 46, "gemma3": 62}
"""Architecture → layers of the size whose attention is scaled by width over heads, and not by the width of a head."""

SOFTCAPS = ("attn_logit_softcapping", "final_logit_softcapping")
"""Keys of the header that are attributes of the configuration."""

SCALES = ("attention.scale", "logit_scale", "embedding_scale", "residual_scale")
"""Factors that a header may state and that no configuration of transformers is given."""

SIZES = ("model_type", "hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads")
"""What two configurations share if one's weights run in the other's forward pass."""


def completed(config: Any, files: Sequence[Path], *, label: str) -> Any:
    """The configuration that transformers made of a header, with what it left out.

    Raises
    ------
    ModelError
        If the header scales rotary frequencies, or anything else, in a way that is not known here.
    """
    made = copy.deepcopy(config)
    architecture = fact(files[0], "general.architecture")
    _check_scales(files[0], architecture, label)
    rope = getattr(made, "rope_parameters", None)
    if rope:
        # Of an architecture with windows, llama.cpp scales the layers that see the whole text alone.
        own = rope.get("full_attention", rope)
        own.update(_rope_scaling(files, architecture, label))
        turned = fact(files[0], f"{architecture}.rope.dimension_count")
        if turned and "partial_rotary_factor" in own:
            width = getattr(made, "head_dim", None) or made.hidden_size // made.num_attention_heads
            own["partial_rotary_factor"] = turned / width
    for name in SOFTCAPS:
        if (cap := fact(files[0], f"{architecture}.{name}")) is not None:
            setattr(made, name, cap)
    if architecture in GEMMA_27B:
        is_27b = made.num_hidden_layers == GEMMA_27B[architecture]
        made.query_pre_attn_scalar = made.hidden_size // made.num_attention_heads if is_27b else made.head_dim
    return made


def in_the_references_words(config: Any, reference: Any) -> Any | None:
    """The reference's configuration for a file of the same model, with the file's own rows and tying; else None.

    A header says less than a configuration does, and its weights are to run as the reference's do.
    """
    if any(getattr(config, name, None) != getattr(reference, name, None) for name in SIZES):
        return None
    made = copy.deepcopy(reference)
    made.vocab_size, made.tie_word_embeddings = config.vocab_size, config.tie_word_embeddings
    return made


def _check_scales(file: Path, architecture: str, label: str) -> None:
    stated = {key: fact(file, f"{architecture}.{key}") for key in SCALES}
    lost = {key: value for key, value in stated.items() if value not in (None, 0, 1)}
    if lost:
        raise ModelError(
            f"The header of '{label}' uses a scaling that is not supported in torch.",
            expected=f"no {', '.join(SCALES)} other than 1",
            found=lost,
            do="run it with engine llamacpp",
        )


def _rope_scaling(files: Sequence[Path], architecture: str, label: str) -> dict[str, Any]:
    """Rotary parameters beside the base, as transformers names them; empty where the header scales nothing."""
    factors = {t.name: [float(f) for f in t.data] for t in tensors(files) if t.name.startswith("rope_")}
    if "rope_freqs.weight" in factors:
        return _by_factors(factors["rope_freqs.weight"], factors["rope_freqs.weight"], context=1, attention=1.0)
    said = {key: fact(files[0], f"{architecture}.rope.scaling.{key}") for key in SCALING}
    kind, context = said["type"], said["original_context_length"]
    if "rope_factors_short.weight" in factors:
        short, long = (factors[f"rope_factors_{which}.weight"] for which in ("short", "long"))
        return _by_factors(short, long, context=context, attention=said["attn_factor"] or 1.0)
    if kind in (None, "none"):
        return {}
    if kind == "linear":
        return {"rope_type": "linear", "factor": said["factor"]}
    if kind == "yarn" and context:
        return {"rope_type": "yarn", "factor": said["factor"], "original_max_position_embeddings": context}
    raise ModelError(
        f"The header of '{label}' uses a rotary scaling that is not supported in torch.",
        expected="factors for each frequency, linear, or yarn with the original context",
        found=f"{architecture}.rope.scaling: {said}",
        do="run it with engine llamacpp",
    )


SCALING = ("type", "factor", "original_context_length", "attn_factor")
"""Keys below ``rope.scaling``."""


def _by_factors(short: list[float], long: list[float], *, context: int, attention: float) -> dict[str, Any]:
    """Each frequency divided by a factor, one list up to the original context and one beyond it."""
    return {
        "rope_type": "longrope",
        "short_factor": short,
        "long_factor": long,
        "original_max_position_embeddings": context,
        "attention_factor": attention,
    }
