"""Where a stored model's files are: a fetched asset, a local folder, or a pinned revision of a repository."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from qkld.errors import ModelError, SourceError
from qkld.sources import fetch
from qkld.study.entries import StoredModel
from qkld.study.paths import project_root
from qkld.study.provenance import sha256_of_file

SMALL_FILES = ("*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")
"""What is taken from a repository beside its weights: no pickle, no code."""

SUBFOLDERS = ("*/*",)
"""What is never taken: second copies of the weights (``original/``), other formats, checkpoints of the training."""

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
"""The file that transformers reads, and where there is none, the one that names the files it reads instead."""

ADAPTERS = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
"""What peft saves: weights that mean nothing without the model they were trained on."""


def local_folder(entry: StoredModel) -> Path:
    """The folder of an asset or a path; a relative path is taken from the project's root.

    Raises
    ------
    SourceError
        If there is no such folder.
    """
    if entry.asset is not None:
        return fetch(entry.asset)
    folder = project_root() / Path(entry.path).expanduser()
    if not folder.is_dir():
        raise SourceError(
            f"Model '{entry.label}' was not found.", expected="a folder", found=folder, do="correct its path"
        )
    return folder


def snapshot(entry: StoredModel, patterns: tuple[str, ...], ignored: tuple[str, ...] = ()) -> Path:
    """The files of a repository at the entry's revision that fit the patterns, downloaded where they are not cached."""
    from huggingface_hub import snapshot_download

    if entry.revision is None:
        raise SourceError(
            f"Model '{entry.label}' has no pinned revision.",
            expected="40 hex digits",
            found="revision still to be checked",
            do=f"look it up at {entry.repository} and add it to the study",
        )
    try:
        return Path(
            snapshot_download(
                entry.repository,
                revision=entry.revision,
                allow_patterns=list(patterns),
                ignore_patterns=list(ignored),
            )
        )
    except Exception as error:  # the hub raises many kinds: no network, no such repository, gated, offline
        raise SourceError(
            f"The files of '{entry.label}' could not be downloaded.",
            expected=f"{entry.repository} at {entry.revision}",
            found=f"{type(error).__name__}: {error}"[:600],
            do="check the network and your access rights, or copy the files to a folder and give its path",
        ) from error


def model_folder(entry: StoredModel) -> Path:
    """The folder with a model's safetensors and tokenizer; of a repository, without weights that nobody reads.

    Raises
    ------
    SourceError
        If it is not there or its hash is not the entry's.
    ModelError
        If it holds no safetensors (pickled weights are never loaded), or an adapter.
    """
    folder = local_folder(entry) if entry.repository is None else _downloaded(entry)
    _check_no_adapter(folder, entry.label)
    files = weight_files(folder)
    if not files or not all(file.is_file() for file in files):
        raise ModelError(
            f"Model '{entry.label}' has no safetensors." if not files else f"Files of '{entry.label}' are missing.",
            expected=f"{WEIGHTS}, or {INDEX} and the files it names, in {folder}",
            found=sorted(p.name for p in folder.iterdir())[:20],
            do="download the files again, or convert the weights to safetensors in transformers' layout; "
            "pickled weights are refused because loading them runs code",
        )
    expected = getattr(entry, "sha256", None)
    if expected is not None:
        check_stated_hash(entry.label, files_sha256(files), expected)
    return folder


def _downloaded(entry: StoredModel) -> Path:
    """A repository's small files, then the weights that they say are read."""
    folder = snapshot(entry, SMALL_FILES, SUBFOLDERS)
    names = tuple(file.name for file in weight_files(folder)) or (WEIGHTS,)
    return snapshot(entry, names, SUBFOLDERS)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors of a folder that transformers reads, in order of name; whatever else lies beside them is not.

    Raises
    ------
    ModelError
        If ``config.json`` or the index is damaged.
    """
    stated = read_json(folder / "config.json").get("transformers_weights")
    for name in (WEIGHTS, INDEX) if stated is None else (str(stated),):
        if (folder / name).is_file():
            return _named_files(folder / name) if name.endswith(".index.json") else [folder / name]
    return []


def _named_files(index: Path) -> list[Path]:
    """The files that an index of safetensors names."""
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise ModelError(
            f"{index} cannot be read.",
            expected="a weight_map: name of a tensor → name of its file",
            found=f"{names!r}"[:200],
            do="download the file again",
        )
    return [index.parent / name for name in sorted(set(names.values()))]


def read_json(file: Path) -> dict[str, Any]:
    """An object from a model's JSON file; empty where there is no such file.

    Raises
    ------
    ModelError
        If it is no JSON object.
    """
    if not file.is_file():
        return {}
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(value, dict):
            return value
        problem = type(value).__name__
    except ValueError as error:
        problem = str(error)
    raise ModelError(f"{file} cannot be read.", expected="a JSON object", found=problem, do="download the file again")


def _check_no_adapter(folder: Path, label: str) -> None:
    found = [name for name in ADAPTERS if (folder / name).is_file()]
    if found:
        raise ModelError(
            f"The folder of '{label}' contains an adapter, which qkld does not apply.",
            expected="the weights of the whole model",
            found=f"{', '.join(found)} in {folder}",
            do="merge the adapter into its base model (peft: merge_and_unload), save the result and give its folder; "
            "or remove the adapter's files",
        )


def files_sha256(files: list[Path]) -> str:
    """One file's SHA-256; for several, the SHA-256 of their hex digests in order of name."""
    digests = [sha256_of_file(path) for path in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def check_stated_hash(label: str, found: str, expected: str) -> None:
    """Refuse weights whose hash is not the one the entry states."""
    if found != expected:
        raise SourceError(
            f"The weights of '{label}' have the wrong hash.",
            expected=expected,
            found=found,
            do="download the file again, or correct the hash if this is the right file",
        )
