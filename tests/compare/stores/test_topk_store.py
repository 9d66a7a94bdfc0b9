"""A top-k store on disk: every damage is noticed, another kind of store is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_stores import VOCABULARY, hidden_store, small_windows
from upath import UPath

from qkld.compare.stores import Enclosure, TopKHeader, TopKStore, to_top_k, top_k_of, write_top_k_store
from qkld.errors import DiskError, StoreError


@pytest.fixture
def store(tmp_path: Path) -> TopKStore:
    """Three windows of a small model, k = 5."""
    return to_top_k(hidden_store(tmp_path), tmp_path, 5)


def read_all(folder: Path) -> None:
    found = TopKStore(folder)
    for i in range(len(found.windows)):
        found.rows(i).enclosure(slice(None))


def files(store: TopKStore) -> list[Path]:
    return [f for f in sorted(store.folder.rglob("*.*")) if f.suffix in (".json", ".safetensors")]


def test_any_flipped_bit_is_noticed(store: TopKStore, rng: np.random.Generator) -> None:
    for file in files(store):
        data = file.read_bytes()
        for place in {0, len(data) - 2, *rng.integers(0, len(data), 12).tolist()}:
            changed = bytearray(data)
            changed[place] ^= 1 << int(rng.integers(8))
            file.write_bytes(changed)
            with pytest.raises(StoreError):
                read_all(store.folder)
        file.write_bytes(data)
    read_all(store.folder)


def test_missing_truncated_and_swapped_windows_are_noticed(store: TopKStore) -> None:
    first, second = files(store)[-3:-1]
    data = first.read_bytes()
    for change in (first.unlink, lambda: first.write_bytes(data[:-5]), lambda: shutil.copy(second, first)):
        change()
        with pytest.raises(StoreError, match=r"000000\.safetensors was damaged"):
            read_all(store.folder)


def test_an_edited_header_is_noticed(store: TopKStore) -> None:
    header = json.loads((store.folder / "header.json").read_text())
    for edit in ({"k": 6}, {"format": "another"}, {"windows": []}):
        (store.folder / "header.json").write_text(json.dumps({**header, **edit}))
        with pytest.raises(StoreError, match="was damaged or edited"):
            TopKStore(store.folder)


def test_a_store_of_another_kind_is_refused(tmp_path: Path) -> None:
    folder = hidden_store(tmp_path).store.folder
    with pytest.raises(StoreError, match="was damaged or edited"):
        TopKStore(folder)
    with pytest.raises(StoreError, match="missing or not finished"):
        TopKStore(tmp_path)


def test_a_block_of_another_shape_is_refused(tmp_path: Path) -> None:
    header = TopKHeader("prose", {}, VOCABULARY, 5, small_windows())
    block = top_k_of(Enclosure.exact(np.log(np.full((4, VOCABULARY), 1 / VOCABULARY))), 5)
    with pytest.raises(StoreError, match=r"\(positions, k\) = \(5, 5\)"):
        write_top_k_store(tmp_path, header, lambda _: block)


def test_a_full_disk_keeps_the_finished_windows(small_disk: Path) -> None:
    windows = tuple(small_windows()) * 4
    header = TopKHeader("prose", {}, 4001, 1000, windows)
    block = top_k_of(Enclosure.exact(np.log(np.full((5, 4001), 1 / 4001))), 1000)
    with pytest.raises(DiskError, match="cannot be written"):
        write_top_k_store(small_disk, header, lambda _: block)
    done = list(header.folder(small_disk).glob("windows/*.sha256"))
    assert 0 < len(done) < len(windows)
    assert not (header.folder(small_disk) / "manifest.json").exists()


def test_a_store_may_lie_in_object_storage(tmp_path: Path) -> None:
    local = hidden_store(tmp_path)
    remote, near = to_top_k(local, UPath("memory://stores"), 5), to_top_k(local, tmp_path, 5)
    np.testing.assert_array_equal(remote.top_k(1).ids, near.top_k(1).ids)


def test_the_key_names_everything_that_changes_numbers() -> None:
    header = TopKHeader("prose", {"key": "a"}, VOCABULARY, 5, small_windows())
    others = [
        TopKHeader("prose", {"key": "b"}, VOCABULARY, 5, small_windows()),
        TopKHeader("prose", {"key": "a"}, VOCABULARY, 6, small_windows()),
        TopKHeader("prose", {"key": "a"}, VOCABULARY, 5, small_windows()[:2]),
    ]
    assert len({h.key for h in (header, *others)}) == 4
