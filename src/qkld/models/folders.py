"""Where a stored model's files are: a fetched asset, a local folder, or a pinned revision of a repository."""

from __future__ import annotations

import hashlib
from pathlib import Path

from qkld.errors import ModelError, SourceError, explain
from qkld.params import StoredModel
from qkld.paths import project_root
from qkld.provenance import sha256_of_file
from qkld.sources import fetch

SAFE_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")
"""What is taken from a repository: no pickle, no code."""


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
            explain(f"Model '{entry.label}' is not there.", expected="a folder", found=folder, do="mend its path")
        )
    return folder


def snapshot(entry: StoredModel, patterns: tuple[str, ...]) -> Path:
    """The files of a repository at the entry's revision that fit the patterns, downloaded where they are not cached."""
    from huggingface_hub import snapshot_download

    if entry.revision is None:
        raise SourceError(
            explain(
                f"Model '{entry.label}' has no pinned revision.",
                expected="40 hex digits",
                found="revision still to be checked",
                do=f"look it up at {entry.repository} and write it into the study",
            )
        )
    try:
        return Path(snapshot_download(entry.repository, revision=entry.revision, allow_patterns=list(patterns)))
    except Exception as error:  # the hub raises many kinds: no network, no such repository, gated, offline
        raise SourceError(
            explain(
                f"The files of '{entry.label}' can not be had.",
                expected=f"{entry.repository} at {entry.revision}",
                found=f"{type(error).__name__}: {error}"[:600],
                do="check the network and the access, or copy the files to a folder and give its path",
            )
        ) from error


def model_folder(entry: StoredModel) -> Path:
    """The folder with a model's safetensors and tokenizer.

    Raises
    ------
    SourceError
        If it is not there or its hash is not the entry's.
    ModelError
        If it holds no safetensors: pickled weights are never loaded.
    """
    folder = local_folder(entry) if entry.repository is None else snapshot(entry, SAFE_FILES)
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ModelError(
            explain(
                f"Model '{entry.label}' has no safetensors.",
                expected=f"*.safetensors in {folder}",
                found=sorted(p.name for p in folder.iterdir())[:20],
                do="convert its weights to safetensors; pickled weights are refused because loading them runs code",
            )
        )
    expected = getattr(entry, "sha256", None)
    if expected is not None:
        check_stated_hash(entry.label, files_sha256(weights), expected)
    return folder


def files_sha256(files: list[Path]) -> str:
    """One file's SHA-256; for several, the SHA-256 of their hex digests in order of name."""
    digests = [sha256_of_file(path) for path in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def check_stated_hash(label: str, found: str, expected: str) -> None:
    """Refuse weights whose hash is not the one the entry states."""
    if found != expected:
        raise SourceError(
            explain(
                f"The weights of '{label}' have the wrong hash.",
                expected=expected,
                found=found,
                do="get the file again, or correct the hash if the file is the one meant",
            )
        )
