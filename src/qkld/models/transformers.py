"""Models that transformers reads from a folder with safetensors.

Saved quantizations are recognised by transformers from the folder's configuration. compressed-tensors, torchao and
bitsandbytes checkpoints are made, saved, reloaded and measured in the tests; FP8 and MXFP4 ones are dequantized by
transformers where no GPU runs them; GPTQ and AWQ ones need packages and kernels that are not here and were not run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from qkld.errors import ModelError, TokenizerError
from qkld.models.folders import read_json, weight_files
from qkld.models.stored import Sources, headers, sources_of
from qkld.models.text_part import OWN_NAMES, class_of, is_made_of_text, text_config, without_eyes
from qkld.models.transformers_library import PARTS_LEFT_OUT, quiet_loading, transformers_library

VOCABULARIES = frozenset(("tokenizer.json", "vocab.json", "vocab.txt", "tekken.json"))
"""Files that a vocabulary is read from, beside SentencePiece's and tiktoken's; all others only say how it is used."""


def load_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer; never runs code of the folder.

    Where there is a ``tokenizer.json``, it is that file with the flags and special tokens of its configuration: the
    classes that transformers names by the model's type build some parts anew and add tokens.

    Raises
    ------
    TokenizerError
        If the folder has none, or transformers cannot read it.
    """
    held = sorted(p.name for p in folder.iterdir() if p.name in VOCABULARIES or p.suffix in (".model", ".tiktoken"))
    if not held:
        raise _no_tokenizer(folder, ", ".join(sorted(p.name for p in folder.iterdir())[:10]) or "nothing")
    try:
        library = transformers_library()
        by_file = library.PreTrainedTokenizerFast if "tokenizer.json" in held else library.AutoTokenizer
        tokenizer = by_file.from_pretrained(folder, trust_remote_code=False)
        if not tokenizer("a", add_special_tokens=False)["input_ids"]:
            raise ValueError(f"no token for a letter among {len(tokenizer)}")
    except Exception as error:  # damaged files, code of the folder's own, missing libraries: all end here
        raise _no_tokenizer(folder, f"{', '.join(held)}; {type(error).__name__}: {error}"[:400]) from error
    return tokenizer


def _no_tokenizer(folder: Path, found: str) -> TokenizerError:
    return TokenizerError(
        f"{folder} has no readable tokenizer.",
        expected=f"one of {', '.join(sorted(VOCABULARIES))} or tokenizer.model, as published with the model",
        found=found,
        do="copy the tokenizer's files of the original model into the folder",
    )


def load_module(
    folder: Path, *, label: str, dtype: torch.dtype | str, device_map: Any = None, config: Any = None, **options: Any
) -> nn.Module:
    """The folder's causal language model in eval mode, safetensors only, no code of the folder run.

    ``config`` is run in place of the folder's own configuration.
    Of a model that also sees this is the text part.

    Raises
    ------
    ModelError
        If transformers cannot load it (its own words are in the message), or the files lack some of its tensors,
        which transformers would fill with random values.
    """
    try:
        described = {} if "gguf_file" in options else _described(folder, label, dtype, config)
        with quiet_loading(PARTS_LEFT_OUT if "key_mapping" in described else None):
            loader = class_of(described["config"]) if described else transformers_library().AutoModelForCausalLM
            module, report = loader.from_pretrained(
                folder,
                dtype=dtype,
                device_map=device_map,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **options,
                **described,
            )
    except ModelError:
        raise
    except Exception as error:  # damaged file, unknown architecture, missing library: all end here
        raise ModelError(
            f"Model '{label}' cannot be loaded.",
            expected="a causal language model known to transformers",
            found=f"{type(error).__name__}: {error}"[:800],
            do="correct or replace the files, or install the library that its quantization needs",
        ) from error
    lacking = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if lacking:
        raise ModelError(
            f"The files of '{label}' do not contain the whole model.",
            expected="every tensor, in the shape that config.json gives it",
            found=f"{len(lacking)} missing or of another shape: {', '.join(lacking[:5])}",
            do=_mend(folder),
        )
    also_sees = loader is not transformers_library().AutoModelForCausalLM
    return (without_eyes(module) if also_sees else module).eval().requires_grad_(False)


def _mend(folder: Path) -> str:
    """What to do where files lack tensors: those of a quantizer that config.json does not name look as if they did."""
    packed = any(not tensor.is_plain for tensor in headers(weight_files(folder)))
    if packed and not quantization_of(folder):
        return (
            "its files hold packed integers, and config.json names no quantization that transformers reads: save the "
            "model in a form that it does, or make the quant here"
        )
    return "get the files again, or correct config.json"


def _described(folder: Path, label: str, dtype: torch.dtype | str, given: Any) -> dict[str, Any]:
    """What transformers is told of a folder: its configuration, or its text part's where that is loaded by itself.

    Whatever kernels the files ask for, the class takes torch's attention where it supports it and its own elsewhere
    (soft caps, sinks, no attention at all), and the product of grouped experts, which takes no float64.
    """
    config, is_part = _configuration(folder, label) if given is None else (given, False)
    config._experts_implementation = "eager" if dtype == torch.float64 else None
    return {"config": config, **({"key_mapping": OWN_NAMES} if is_part else {})}


def folder_config(folder: Path, *, label: str) -> Any:
    """The configuration of the model that `load_module` gives: the folder's, or that of its text part."""
    return _configuration(folder, label)[0]


def _configuration(folder: Path, label: str) -> tuple[Any, bool]:
    config = text_config(folder, label=label)
    is_part = config is not None
    if not is_part:
        config = transformers_library().AutoConfig.from_pretrained(folder, trust_remote_code=False)
        is_part = is_made_of_text(config)
    config._attn_implementation = None
    return config, is_part


def quantization_of(folder: Path) -> dict[str, Any] | None:
    """The saved quantization's configuration, or None for plain weights.

    Raises
    ------
    ModelError
        If it is of a method that transformers does not know, which it would leave aside without an error.
    """
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    stated = read_json(folder / "config.json").get("quantization_config")
    if stated is None:
        return None
    method = stated.get("quant_method") if isinstance(stated, dict) else stated
    if not isinstance(stated, dict) or method not in (None, "bitsandbytes", *AUTO_QUANTIZATION_CONFIG_MAPPING):
        raise ModelError(
            f"{folder} states an unknown quantization.",
            expected=f"a quant_method among {', '.join(sorted(AUTO_QUANTIZATION_CONFIG_MAPPING))}",
            found=method,
            do="download config.json again, or run the model with the engine that its quantization is intended for",
        )
    return stated


def sources(folder: Path, module: nn.Module, *, label: str) -> Sources:
    """What a module that `load_module` gave was loaded from; asked before any of its layers is replaced."""
    is_part = _configuration(folder, label)[1]
    return sources_of(folder, module, key_mapping=OWN_NAMES if is_part else None)
