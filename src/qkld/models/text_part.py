"""The text part of a model that also sees, where transformers has a causal language model for that part only.

Mistral Small 3.1 and later, Devstral Small 2 among them, are such: their folders hold
`Mistral3ForConditionalGeneration`, whose text model is loaded by itself, so that neither memory nor bits a weight count
what text never runs through.
"""

from __future__ import annotations

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


def text_config(folder: Path, *, label: str) -> Any | None:
    """The configuration of the text part where that is to be loaded by itself; None where the whole folder is.

    Raises
    ------
    ModelError
        If transformers has no causal language model for either, or the weights of a whole that has none are quantized:
        the names in its quantization are those of the whole model.
    """
    transformers = transformers_library()
    whole = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    text, known = whole.get_text_config(), transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    is_quantized = getattr(whole, "quantization_config", None) is not None
    if type(whole) in known and (is_quantized or not _also_sees(whole, text)):
        return None
    if type(text) not in known:
        raise _refusal(whole, label)
    if is_quantized:
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


def _also_sees(whole: Any, text: Any) -> bool:
    """Whether transformers' causal language model for the whole holds more than that for its text part."""
    known = transformers_library().MODEL_FOR_CAUSAL_LM_MAPPING
    return text is not whole and type(text) in known and known[type(whole)] is not known[type(text)]


def _refusal(whole: Any, label: str) -> ModelError:
    return ModelError(
        explain(
            f"Model '{label}' can not be measured as a language model.",
            expected="a causal language model that transformers has a class for, or one with a text part that is such",
            found=f"{type(whole).__name__}, model type {whole.model_type}",
            do="give a model that predicts the next token of a text",
        )
    )
