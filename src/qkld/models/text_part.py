"""The text part of a model that also sees: loaded by itself, so that neither memory nor bits count what text skips.

transformers has a causal language model for the text part of most (Mistral Small 3.1 and later, Gemma 3, LLaVA). Of
the others (Qwen 2.5 VL, GLM 4.1 V) the whole is loaded, and what text never runs through is dropped at once.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qkld.errors import ModelError
from qkld.models.transformers_library import transformers_library

OWN_NAMES = {
    r"^language_model\.model\.": "model.",
    r"^language_model\.lm_head\.": "lm_head.",
    r"^model\.language_model\.": "model.",
    r"^model\.text_model\.": "model.",
    r"^text_model\.model\.": "model.",
    r"^text_model\.lm_head\.": "lm_head.",
}
"""The text model's own names by those that whole models are stored under, as patterns of the names' beginnings."""


def text_config(folder: Path, *, label: str) -> Any | None:
    """The configuration of the text part where that has a class of its own; None where the whole folder is loaded.

    Raises
    ------
    ModelError
        If transformers has no class that gives the logits of text, or has one for the text part alone and the weights
        are quantized: the names in a quantization are those of the whole model.
    """
    transformers = transformers_library()
    whole = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    text, known = whole.get_text_config(), transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    is_quantized = getattr(whole, "quantization_config", None) is not None
    if type(whole) in known and (is_quantized or not _also_sees(whole, text)):
        return None
    if type(text) not in known:
        if type(whole) in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
            return None
        raise _refusal(whole, label)
    if is_quantized:
        raise ModelError(
            f"The text part of '{label}' cannot be loaded on its own.",
            expected="plain weights",
            found=f"{type(whole).__name__} with a saved quantization",
            do="use a folder with the same weights in bfloat16, or a GGUF file of them",
        )
    if hasattr(whole, "tie_word_embeddings"):  # then the whole model ties or not, whatever its text part says
        text.tie_word_embeddings = whole.tie_word_embeddings
    return text


def is_made_of_text(whole: Any) -> bool:
    """Whether transformers' causal language model for the whole is its text part alone, as Emu 3's and Llama 4's."""
    made, text = transformers_library().MODEL_FOR_CAUSAL_LM_MAPPING.get(type(whole), None), whole.get_text_config()
    return made is not None and text is not whole and made.config_class is type(text)


def _also_sees(whole: Any, text: Any) -> bool:
    """Whether transformers' causal language model for the whole holds more than that for its text part."""
    known = transformers_library().MODEL_FOR_CAUSAL_LM_MAPPING
    return text is not whole and type(text) in known and known[type(whole)] is not known[type(text)]


def _refusal(whole: Any, label: str) -> ModelError:
    return ModelError(
        f"Model '{label}' cannot be measured as a language model.",
        expected="a causal language model known to transformers, or a model with such a text part",
        found=f"{type(whole).__name__}, model type {whole.model_type}",
        do="give a model that predicts the next token of a text",
    )


def class_of(config: Any) -> Any:
    """The auto class that a configuration's model is loaded by: a causal language model, or one that also sees."""
    transformers = transformers_library()
    is_known = type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    return transformers.AutoModelForCausalLM if is_known else transformers.AutoModelForImageTextToText


def without_eyes(module: nn.Module) -> nn.Module:
    """The module without its parts that text never runs through, where its decoder lies beside them; changed in place.

    What stays is the decoder with all that holds it, and the output head.
    """
    names = {id(part): name for name, part in module.named_modules()}
    decoder = names.get(id(module.get_decoder()), "") if hasattr(module, "get_decoder") else ""
    kept = [decoder, names.get(id(module.get_output_embeddings()), "")]
    embedding = names[id(module.get_input_embeddings())]
    if not decoder or not embedding.startswith(f"{decoder}."):
        return module
    words = decoder.split(".")
    for depth in range(len(words)):
        holder = module.get_submodule(".".join(words[:depth]))
        for name in [name for name, _ in holder.named_children()]:
            path = ".".join([*words[:depth], name])
            if not any(f"{one}.".startswith(f"{path}.") for one in kept):
                setattr(holder, name, None)
    return module


def empty_model(module: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """The same architecture without quantization and without weights, on the meta device."""
    config = copy.deepcopy(module.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    options = {"trust_remote_code": False} | ({} if dtype is None else {"dtype": dtype})
    loader = class_of(config)
    with torch.device("meta"):
        plain = loader.from_config(config, **options)
    return plain if loader is transformers_library().AutoModelForCausalLM else without_eyes(plain)
