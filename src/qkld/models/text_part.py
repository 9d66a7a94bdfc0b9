"""The text part of a model that also sees, where transformers has a causal language model for that part only.

Mistral Small 3.1 and later, Devstral Small 2 among them, are such: their folders hold
`Mistral3ForConditionalGeneration`, whose text model is loaded by itself, so that neither memory nor bits a weight count
what text never runs through.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from qkld.errors import ModelError, explain
from qkld.models.library import transformers_library

OWN_NAMES = {
    r"^language_model\.model\.": "model.",
    r"^language_model\.lm_head\.": "lm_head.",
    r"^model\.language_model\.": "model.",
}
"""The text model's own names by those that whole models are stored under, as patterns of the names' beginnings."""

_HEAD = "lm_head."


def text_config(folder: Path, *, label: str) -> Any | None:
    """The configuration of the text part where only that is a causal language model, or None.

    Raises
    ------
    ModelError
        If the folder's weights are quantized: the names in its quantization are those of the whole model.
    """
    transformers = transformers_library()
    whole = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    text = whole.get_text_config()
    known = transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    if text is whole or type(whole) in known or type(text) not in known:
        return None
    if getattr(whole, "quantization_config", None) is not None:
        raise ModelError(
            explain(
                f"The text part of '{label}' can not be loaded by itself.",
                expected="plain weights",
                found=f"{type(whole).__name__} with a saved quantization",
                do="take a folder with the same weights in bfloat16, or a GGUF file of them",
            )
        )
    text.tie_word_embeddings = whole.tie_word_embeddings  # the whole model ties or not, whatever its text part says
    return text


def own_name(stored: str) -> str | None:
    """The text model's name of a stored tensor; None where it belongs to another part."""
    for pattern, own in OWN_NAMES.items():
        if re.match(pattern, stored):
            return re.sub(pattern, own, stored)
    return stored if stored.startswith(_HEAD) else None
