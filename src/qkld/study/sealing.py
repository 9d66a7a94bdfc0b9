"""Sealed JSON: a file with a digest of its values, in the one spelling that they have, so that every byte is covered.

What a run keeps beside its tables is sealed so: partial scores, written answers, manifests, and the seals that name
what lies beside them with its digests.
"""

from __future__ import annotations

import json
from typing import Any

from qkld.errors import StoreError
from qkld.study.provenance import json_text, key_of, write_json
from qkld.study.storage import Place

DIGEST = "sha256"
"""Key of the digest."""

FORMAT = 2
"""Of sealed files; part of the names of those that are looked for again, so that an earlier version's are not read."""


def write_sealed(path: Place, values: dict[str, Any]) -> dict[str, Any]:
    """Write values (JSON) whole, with their digest; returns both."""
    sealed = {**values, DIGEST: key_of(values)}
    write_json(path, sealed)
    return sealed


def read_sealed(path: Place, *, do: str) -> dict[str, Any]:
    """The values of a sealed file with their digest, if no bit of it was changed; ``do`` says how to make it again.

    Raises
    ------
    StoreError
        If it is missing, was changed, or has no digest, as those that earlier versions wrote.
    """
    try:
        text = path.read_bytes().decode()
        sealed = json.loads(text)
        if DIGEST not in sealed:
            problem = "no digest, as in files of an earlier version"
        elif json_text(sealed) != text or key_of({k: v for k, v in sealed.items() if k != DIGEST}) != sealed[DIGEST]:
            problem = f"content of another digest than {sealed[DIGEST]}"
        else:
            return sealed
    except FileNotFoundError as error:
        raise StoreError("A file of the run is missing or not finished.", expected=path, found=error, do=do) from error
    except (ValueError, TypeError, AttributeError) as error:
        problem = f"{type(error).__name__}: {error}"
    raise altered(path, problem, do=do)


def altered(path: Place, found: object, *, do: str) -> StoreError:
    """The error of something that is not what its seal says."""
    return StoreError(f"{path} was damaged or edited.", expected="the content that was sealed", found=found, do=do)
