"""The files there are to pick from, what each is, and which of them is the reference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qkld.errors import ModelError, ParameterError, SourceError, TokenizerError
from qkld.models.folders import read_json, weight_files
from qkld.models.gguf.checks import header_tokens, shape_of_file, shape_of_folder
from qkld.models.gguf.files import fact, file_type, gguf_bits, part_names
from qkld.models.gguf.open_in_torch import gguf_files
from qkld.models.names import distinct_labels, local_entry, model_entry
from qkld.study.entries import GgufModel, StoredModel

NO_LANGUAGE_MODELS = ("clip", "imatrix")
"""Architectures, or kinds, of GGUF files that lie beside a model's: a picture encoder, an importance matrix."""


@dataclass(frozen=True)
class Candidate:
    """One file, or folder, to pick from.

    Attributes
    ----------
    entry : StoredModel
    size : bytes of its weights' files
    cache : bytes of a key-value cache in f16, a token
    full : whether no quantizer has touched its weights
    bits : bits a weight
    kind : what it is, by its header: ``Q4_K_M``, or a checkpoint's quantizer
    model : what two files of one model share
    """

    entry: StoredModel
    size: int
    cache: int
    full: bool
    bits: float
    kind: str
    model: tuple[Any, ...]

    @property
    def label(self) -> str:
        return self.entry.label

    def memory(self, context: int) -> int:
        """Bytes of weights and cache at a context of so many tokens."""
        return self.size + self.cache * context


def candidates_in(folder: Path) -> list[Candidate]:
    """Every model of a folder, largest first: GGUF files, split ones once, and folders of safetensors.

    Raises
    ------
    SourceError
        If there is none.
    ModelError, TokenizerError
        If they are of several models, or have no common tokenizer.
    """
    files = [p for p in sorted(folder.glob("*.gguf")) if _is_first(p) and _is_language_model(p)]
    folders = [p for p in sorted(folder.iterdir()) if p.is_dir() and (p / "config.json").is_file() and weight_files(p)]
    if not files and not folders:
        raise SourceError(
            f"{folder} holds no model.",
            expected="GGUF files, or folders with config.json and safetensors",
            found=sorted(p.name for p in folder.iterdir())[:20],
            do="give the folder that the files lie in",
        )
    entries = distinct_labels([local_entry(path) for path in [*files, *folders]], ["reference"])
    found = sorted((candidate(entry) for entry in entries), key=lambda c: -c.size)
    check_one_model(found)
    check_one_tokenizer(found)
    return found


def _is_first(file: Path) -> bool:
    return file.name == part_names(file.name)[0]


def _is_language_model(file: Path) -> bool:
    kinds = fact(file, "general.architecture"), fact(file, "general.type")
    return not any(kind in NO_LANGUAGE_MODELS for kind in kinds)


def candidate(entry: StoredModel) -> Candidate:
    """What an entry's files say of themselves."""
    return _of_gguf(entry) if isinstance(entry, GgufModel) else _of_folder(entry)


def _of_gguf(entry: GgufModel) -> Candidate:
    files = gguf_files(entry)
    shape, architecture, bits = shape_of_file(files[0]), fact(files[0], "general.architecture"), gguf_bits(files)
    return Candidate(
        entry,
        size=sum(file.stat().st_size for file in files),
        cache=_cache_of_header(files[0], architecture),
        full=bits.plain_trunk_share == 1,
        bits=bits.bits_per_weight,
        kind=file_type(files[0]),
        model=(shape["layers"], shape["width"]),
    )


def _cache_of_header(file: Path, architecture: str) -> int:
    """Bytes a token of keys and values in f16, as if every layer saw the whole text."""
    said = {name: fact(file, f"{architecture}.{name}") for name in _CACHE_KEYS}
    layers, heads = said["block_count"], said["attention.head_count"] or 1
    kept = said["attention.head_count_kv"] or heads
    widest = int(said["embedding_length"] / (max(heads) if isinstance(heads, list) else heads))
    wide = sum(said[f"attention.{name}_length"] or widest for name in ("key", "value"))
    return 2 * wide * (sum(kept) if isinstance(kept, list) else kept * layers)


_CACHE_KEYS = (
    *("block_count", "embedding_length", "attention.head_count", "attention.head_count_kv"),
    *("attention.key_length", "attention.value_length"),
)


def _of_folder(entry: StoredModel) -> Candidate:
    folder = Path(str(entry.path))
    config = read_json(folder / "config.json")
    text = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    heads = text.get("num_attention_heads") or 1
    wide = text.get("head_dim") or text.get("hidden_size", 0) // heads
    quantizer, size = config.get("quantization_config"), sum(file.stat().st_size for file in weight_files(folder))
    return Candidate(
        entry,
        size=size,
        cache=4 * wide * (text.get("num_key_value_heads") or heads) * (text.get("num_hidden_layers") or 0),
        full=quantizer is None,
        bits=float("nan"),
        kind=str(text.get("dtype") or text.get("torch_dtype")) if quantizer is None else quantizer["quant_method"],
        model=tuple(shape_of_folder(folder)[name] for name in ("layers", "width")),
    )


def check_one_model(found: Sequence[Candidate]) -> None:
    """Refuse files of several models, which have no common reference."""
    models = {c.model: [d.label for d in found if d.model == c.model] for c in found}
    if len(models) > 1:
        raise ModelError(
            "The files are of several models.",
            expected="files of one model: as many layers, and of one width",
            found="; ".join(
                f"{layers} layers of width {width}: {', '.join(own)}" for (layers, width), own in models.items()
            ),
            do="put the files of each model into a folder of its own",
        )


def check_one_tokenizer(found: Sequence[Candidate]) -> None:
    """Refuse GGUF files whose vocabularies differ in a token that both name; folders are held to the reference's."""
    entries = [c.entry for c in found if isinstance(c.entry, GgufModel)]
    tokens = {e.label: header_tokens(gguf_files(e)[0], label=e.label) for e in entries}
    for label, own in list(tokens.items())[1:]:
        first, expected = next(iter(tokens.items()))
        differing = [i for i, (a, b) in enumerate(zip(expected, own, strict=False)) if a != b and None not in (a, b)]
        if differing:
            i = differing[0]
            raise TokenizerError(
                "The files have no common tokenizer.",
                expected=f"the tokens of {first}: {i} is {expected[i]!r}",
                found=f"{len(differing)} others in {label}: {i} is {own[i]!r}",
                do="take the file of the other tokenizer out",
            )


def reference_of(found: Sequence[Candidate], given: str | None) -> Candidate:
    """The reference: the one that is given, or the full-precision file with the most bits.

    Raises
    ------
    ParameterError
        If none is given and every file is quantized: the largest of them is named as what it is.
    """
    if given is not None:
        return _named(found, given)
    full = [c for c in found if c.full]
    if not full:
        largest = found[0]
        raise ParameterError(
            "There is no reference: every file is quantized.",
            expected="a full-precision file (F32, BF16 or F16) among them, or --reference",
            found=f"{largest.label}, the largest, is {largest.kind}: distances to it are not distances to the model",
            do="give the model's full-precision file as --reference; or --reference "
            f"{largest.label}, and read every number as one against {largest.kind}",
        )
    return full[0]


def _named(found: Iterable[Candidate], given: str) -> Candidate:
    for own in found:
        if given in (own.label, getattr(own.entry, "file", None)):
            return own
    entry = model_entry(given)
    if not isinstance(entry, StoredModel):
        raise ParameterError(
            "A quantizer makes a quant, not a reference.", expected="a stored model", found=given, do="give its source"
        )
    return candidate(entry)
