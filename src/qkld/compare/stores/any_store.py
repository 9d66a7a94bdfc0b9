"""Any store by its name."""

from __future__ import annotations

from qkld.compare.stores.base_file import BaseFile
from qkld.compare.stores.interface import HiddenStates, Store
from qkld.compare.stores.topk_store import TopKStore
from qkld.errors import StoreError
from qkld.reference.store import ReferenceStore
from qkld.study.storage import Place, place


def open_store(name: str | Place) -> Store:
    """The store of this name, of whichever kind: hidden states, a top-k store, or a base file of llama.cpp.

    Raises
    ------
    StoreError
        If there is none, or it is damaged.
    """
    path = place(name)
    if path.is_file():
        return BaseFile(path)
    if (path / "hidden.zarr").exists():
        return HiddenStates(ReferenceStore.open(path))
    if (path / "windows").exists():
        return TopKStore(path)
    raise StoreError(
        f"{name} is not a store.",
        expected="a folder with hidden.zarr or windows, or a base file",
        found="neither" if path.exists() else "nothing there",
        do="name the store's own folder or file",
    )
