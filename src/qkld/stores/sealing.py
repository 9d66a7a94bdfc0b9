"""A seal: a small JSON file with the digests of what lies beside it, and with a digest of its own."""

from __future__ import annotations

import json
from typing import Any

from qkld.errors import StoreError, explain
from qkld.provenance import key_of, write_json
from qkld.storage import Place


def write_seal(path: Place, values: dict[str, Any]) -> dict[str, Any]:
    """Write a seal whole, last of all; returns it."""
    sealed = {**values, "sha256": key_of(values)}
    write_json(path, sealed)
    return sealed


def read_seal(path: Place, *, do: str) -> dict[str, Any]:
    """Read a seal and check that it was not edited; ``do`` says how to make what it seals.

    Raises
    ------
    StoreError
        If it is missing, no JSON, or edited.
    """
    try:
        sealed = json.loads(path.read_text())
        found = key_of({name: value for name, value in sealed.items() if name != "sha256"})
        if found == sealed["sha256"]:
            return sealed
        problem: object = f"content whose digest is {found} instead of {sealed['sha256']}"
    except FileNotFoundError as error:
        raise StoreError(
            explain("The store is not there, or not finished.", expected=path, found=error, do=do)
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"{type(error).__name__}: {error}"
    raise altered(path, problem, do=do)


def altered(path: Place, found: object, *, do: str) -> StoreError:
    """The error of something that is not what its seal says."""
    return StoreError(
        explain(f"{path} was damaged or edited.", expected="the content that was sealed", found=found, do=do)
    )
