"""The files there are to pick from, what each is, and which of them is the reference."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qkld.errors import ModelError, ParameterError, SourceError, TokenizerError
from qkld.models.cache import Cache, cache_of_config, cache_of_file
from qkld.models.folders import read_json, weight_files
from qkld.models.gguf.gguf_files import fact, file_type, gguf_bits, part_names
from qkld.models.gguf.open_in_torch import gguf_files
from qkld.models.gguf.same_model import header_tokens, shape_of_file, shape_of_folder
from qkld.models.names import distinct_labels, local_entry, model_entry
from qkld.models.transformers import folder_config
from qkld.study.entries import GgufModel, StoredModel

NO_LANGUAGE_MODELS = ("clip", "mmproj", "imatrix", "adapter", "controlvector")
"""Architectures, or kinds, of GGUF files that lie beside a model's: of pictures, importance matrices, LoRA adapters."""


@dataclass(frozen=True)
class Candidate:
    """One file, or folder, to pick from.

    Attributes
    ----------
    entry : StoredModel
    size : bytes of its weights' files
    cache : its key-value cache in 16 bits
    full : whether no quantizer has touched its weights
    bits : bits a weight
    kind : what it is, by its header: ``Q4_K_M``, or a checkpoint's quantizer
    model : what two files of one model share
    digest : of a sample of its files' bytes, by which another file under its name is told from it
    """

    entry: StoredModel
    size: int
    cache: Cache
    full: bool
    bits: float
    kind: str
    model: tuple[Any, ...]
    digest: str

    @property
    def label(self) -> str:
        return self.entry.label

    @property
    def kept_name(self) -> str:
        """What its tables are kept under: its label, and what tells it from another file of that name."""
        return f"{self.label}-{self.digest[:6]}"

    def memory(self, context: int) -> int:
        """Bytes of weights and cache at a context of so many tokens."""
        return self.size + self.cache.size(context)


def candidates_in(folder: Path) -> list[Candidate]:
    """Every model of a folder, largest first: GGUF files, split ones once, and folders of safetensors.

    Each file is read once: headers with a large vocabulary take seconds.

    Raises
    ------
    SourceError
        If there is none, or the first part of a split file is missing.
    ModelError, TokenizerError
        If they are of several models, or have no common tokenizer.
    """
    folders = [p for p in sorted(folder.iterdir()) if p.is_dir() and (p / "config.json").is_file() and weight_files(p)]
    found, first = list[Candidate](), None
    for entry in distinct_labels([local_entry(path) for path in [*_first_parts(folder), *folders]], ["reference"]):
        if isinstance(entry, GgufModel) and not is_language_model(gguf_files(entry)[0]):
            continue
        found.append(candidate(entry))
        if found[-1].model == found[0].model:
            first = check_vocabulary(found[-1], first)
    if not found:
        raise SourceError(
            f"{folder} contains no model.",
            expected="GGUF files, or folders with config.json and safetensors",
            found=sorted(p.name for p in folder.iterdir())[:20],
            do="give the folder that contains the files",
        )
    check_one_model(found)
    return sorted(found, key=lambda c: -c.size)


def _first_parts(folder: Path) -> list[Path]:
    """GGUF files of a folder, of split ones the first part; hidden files are none of the user's.

    Raises
    ------
    SourceError
        If a part lies there without the first one, or a name ends in another spelling of ``.gguf``.
    """
    shown = [p for p in sorted(folder.iterdir()) if not p.is_dir() and not p.name.startswith(".")]
    files = [p for p in shown if p.suffix.lower() == ".gguf"]
    names = {p.name for p in files}
    for file in files:
        if file.suffix != ".gguf":
            raise SourceError(
                f"{file.name} has an ending that tools do not know.",
                expected="a name that ends in .gguf",
                found=file.suffix,
                do=f"rename it to {file.stem}.gguf, or move it out of the folder",
            )
        if (part := part_names(file.name)[0]) not in names:
            raise SourceError(
                f"The first part of a split file is missing: {part}.",
                expected=", ".join(part_names(file.name)),
                found=", ".join(sorted(names & {*part_names(file.name)})),
                do="download all parts, or move these out of the folder",
            )
    return [p for p in files if p.name == part_names(p.name)[0]]


def is_language_model(file: Path) -> bool:
    """Whether a GGUF file is none of `NO_LANGUAGE_MODELS`, by its header."""
    kinds = fact(file, "general.architecture"), fact(file, "general.type")
    return not any(kind in NO_LANGUAGE_MODELS for kind in kinds)


def candidate(entry: StoredModel) -> Candidate:
    """What an entry's files say of themselves."""
    return _of_gguf(entry) if isinstance(entry, GgufModel) else _of_folder(entry)


def _of_gguf(entry: GgufModel) -> Candidate:
    files = gguf_files(entry)
    shape, bits = shape_of_file(files[0]), gguf_bits(files)
    if not np.isfinite(bits.bits_per_weight):
        raise ModelError(
            f"{files[0].name} contains no weights.",
            expected="a model",
            found="only a header, as in a vocabulary file",
            do="remove it from the folder",
        )
    return Candidate(
        entry,
        size=sum(file.stat().st_size for file in files),
        cache=cache_of_file(files[0]),
        full=bits.plain_trunk_share == 1,
        bits=bits.bits_per_weight,
        kind=file_type(files[0]),
        model=(shape["layers"], shape["width"]),
        digest=sampled_digest(files),
    )


def _of_folder(entry: StoredModel) -> Candidate:
    folder = Path(str(entry.path))
    config = read_json(folder / "config.json")
    text = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    quantizer, files = config.get("quantization_config"), weight_files(folder)
    return Candidate(
        entry,
        size=sum(file.stat().st_size for file in files),
        cache=cache_of_config(folder_config(folder, label=entry.label)),
        full=quantizer is None,
        bits=float("nan"),
        kind=str(text.get("dtype") or text.get("torch_dtype")) if quantizer is None else quantizer["quant_method"],
        model=tuple(shape_of_folder(folder)[name] for name in ("layers", "width")),
        digest=sampled_digest(files),
    )


SAMPLES, SAMPLE = 64, 4096
"""Places of a file that its digest is over, evenly spread from beginning to end, and bytes of each."""


def sampled_digest(files: Sequence[Path]) -> str:
    """A short digest over sizes and samples of files: two quantizations of one size differ in every one of these."""
    found = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        found.update(f"{size} ".encode())
        with file.open("rb") as stream:
            for i in range(SAMPLES):
                stream.seek(max(0, size - SAMPLE) * i // (SAMPLES - 1))
                found.update(stream.read(SAMPLE))
    return found.hexdigest()[:16]


def check_one_model(found: Sequence[Candidate]) -> None:
    """Refuse files of several models, which have no common reference."""
    models = {c.model: [d.label for d in found if d.model == c.model] for c in found}
    if len(models) > 1:
        raise ModelError(
            "The files belong to several models.",
            expected="files of one model, with the same number of layers and the same width",
            found="; ".join(
                f"{layers} layers of width {width}: {', '.join(own)}" for (layers, width), own in models.items()
            ),
            do="put the files of each model into a separate folder",
        )


Vocabulary = tuple[str, list[str | None]]
"""Label of a file, and its tokens by id."""


def check_vocabulary(own: Candidate, first: Vocabulary | None) -> Vocabulary | None:
    """Refuse a GGUF file whose vocabulary differs from the first one's in a token that both name; returns the first's.

    Folders are held to the reference's when they are opened.
    """
    if not isinstance(own.entry, GgufModel):
        return first
    tokens = header_tokens(gguf_files(own.entry)[0], label=own.label)
    if first is None:
        return own.label, tokens
    pairs = enumerate(zip(first[1], tokens, strict=False))
    differing = [i for i, (a, b) in pairs if a != b and None not in (a, b)]
    if differing:
        i = differing[0]
        raise TokenizerError(
            "The files have no common tokenizer.",
            expected=f"the tokens of {first[0]}: {i} is {first[1][i]!r}",
            found=f"{len(differing)} others in {own.label}: {i} is {tokens[i]!r}",
            do="remove the file with the other tokenizer",
        )
    return first


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
            found=f"{largest.label}, the largest, is {largest.kind}: KLDs to it are not KLDs to the model",
            do="give the model's full-precision file as --reference; or --reference "
            f"{largest.label}, and interpret every number as relative to {largest.kind}",
        )
    return full[0]


def _named(found: Iterable[Candidate], given: str) -> Candidate:
    for own in found:
        if given in (own.label, getattr(own.entry, "file", None)):
            return own
    entry = model_entry(given)
    if not isinstance(entry, StoredModel):
        raise ParameterError(
            "A quantizer cannot be the reference.",
            expected="a stored model",
            found=given,
            do="give the model that it is applied to",
        )
    return candidate(entry)
