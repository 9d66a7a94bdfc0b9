"""Stores in object storage through fsspec: the same content, resumption and refusals as on a disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import torch
from conftest import Place as OwnPlace
from reference.test_store import head, header, states

from qkld.errors import ParameterError, StoreError
from qkld.models import open_model
from qkld.reference.recording import open_corpora, record_corpora
from qkld.reference.store import ReferenceStore, StoreHeader, StoreWriter, head_file
from qkld.sources.corpora import scored_by_context
from qkld.study.locks import locked
from qkld.study.params import load_params
from qkld.study.paths import StudyPaths
from qkld.study.provenance import write_json, written_whole
from qkld.study.storage import in_object_storage, local_file, place

BUCKET = "memory://bucket/stores"


@pytest.fixture
def bucket() -> Iterator[fsspec.AbstractFileSystem]:
    """fsspec's file system in memory, emptied afterwards."""
    system = fsspec.filesystem("memory")
    yield system
    if system.exists("/bucket"):
        system.rm("/bucket", recursive=True)


def sealed(dtype: torch.dtype = torch.bfloat16) -> StoreHeader:
    """The header of a store that now lies whole in the bucket."""
    h = header(dtype)
    with StoreWriter(BUCKET, h, head(dtype)) as store:
        for i, hidden in enumerate(states(h)):
            store.write(i, hidden)
        store.seal()
    return h


def test_paths_and_file_urls_are_this_machines(tmp_path: Path) -> None:
    for name in (tmp_path, str(tmp_path), f"file://{tmp_path}"):
        assert place(name) == tmp_path
        assert not in_object_storage(place(name))
    assert in_object_storage(place(BUCKET))
    assert place(place(BUCKET)) == place(BUCKET)


@pytest.mark.parametrize("url", ["nonsense://bucket/x", "gs://bucket/x"])
def test_an_unknown_protocol_or_one_without_its_package_is_named(url: str) -> None:
    with pytest.raises(ParameterError, match=r"(?s)cannot be opened.*gcsfs"):
        place(url)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_store_in_a_bucket_comes_back_bit_for_bit(bucket: fsspec.AbstractFileSystem, dtype: torch.dtype) -> None:
    h = sealed(dtype)
    store = ReferenceStore.open(f"{BUCKET}/{h.folder(Path()).name}", expected_key=h.key)
    integer = torch.int32 if dtype == torch.float32 else torch.int16
    for i, expected in enumerate(states(h)):
        assert torch.equal(store.hidden(i).view(integer), expected.view(integer))
    assert torch.equal(store.head.weight, head(dtype).weight)


def test_a_bucket_holds_the_same_objects_as_a_folder(bucket: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    h = sealed()
    with StoreWriter(tmp_path, h, head(h.dtype)) as store:
        for i, hidden in enumerate(states(h)):
            store.write(i, hidden)
        store.seal()
    local = {str(f.relative_to(tmp_path)): f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    remote = {name.removeprefix("/bucket/stores/"): bucket.cat_file(name) for name in bucket.find("/bucket")}
    assert {name for name in local if not name.endswith(".lock")} == set(remote)
    assert [name for name, content in remote.items() if local[name] != content] == []


def test_a_writer_goes_on_with_the_windows_that_the_bucket_misses(bucket: fsspec.AbstractFileSystem) -> None:
    h = header()
    with StoreWriter(BUCKET, h, head(h.dtype)) as store:
        store.write(0, states(h)[0])
        store.write(3, states(h)[3])
        with pytest.raises(StoreError, match="is not complete"):
            store.seal()
    with StoreWriter(BUCKET, h, head(h.dtype)) as store:
        assert store.missing() == [1, 2, 4]


def flip(bucket: fsspec.AbstractFileSystem, name: str) -> None:
    content = bytearray(bucket.cat_file(name))
    content[-10] ^= 0x10
    bucket.pipe_file(name, bytes(content))


def test_damage_in_a_bucket_is_noticed(bucket: fsspec.AbstractFileSystem) -> None:
    h = sealed()
    folder = f"/bucket/stores/{h.folder(Path()).name}"
    chunks = [f"{folder}/hidden.zarr/c/{i}/0/0" for i in range(5)]
    flip(bucket, chunks[1])
    bucket.rm(chunks[2])
    bucket.copy(chunks[4], chunks[3])
    store = ReferenceStore.open(f"memory://{folder}")
    for window in (1, 2, 3):
        with pytest.raises(StoreError, match=f"window {window}"):
            store.hidden(window)
    flip(bucket, head_file(place("/bucket/stores"), h.head_sha256).as_posix())
    with pytest.raises(StoreError, match="head"):
        _ = store.head
    flip(bucket, f"{folder}/manifest.json")
    with pytest.raises(StoreError, match="damaged or edited"):
        ReferenceStore.open(f"memory://{folder}")


def test_a_second_writer_of_other_numbers_is_noticed_on_reading(bucket: fsspec.AbstractFileSystem) -> None:
    """No lock keeps it out of a bucket: what is left of the first one does not fit the digests of the second."""
    h = header()
    with StoreWriter(BUCKET, h, head(h.dtype)) as first, StoreWriter(BUCKET, h, head(h.dtype)) as second:
        for i, hidden in enumerate(states(h)):
            second.write(i, hidden)
        first._array[2] = second._array[3]
        second.seal()
    with pytest.raises(StoreError, match="window 2"):
        ReferenceStore.open(h.folder(place(BUCKET))).hidden(2)


def test_what_fails_while_it_is_written_leaves_the_object_as_it_was(bucket: fsspec.AbstractFileSystem) -> None:
    path = place(BUCKET) / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(TypeError), written_whole(path) as temporary:
        temporary.write_text(3)
    assert json.loads(path.read_text()) == {"old": 1}


def test_a_lock_in_a_bucket_keeps_nobody_out(bucket: fsspec.AbstractFileSystem) -> None:
    path = place(BUCKET) / "x" / ".lock"
    with locked(path, patience=0.0), locked(path, patience=0.0):
        assert not path.exists()


def test_a_file_of_the_bucket_is_copied_for_those_who_need_a_path(bucket: fsspec.AbstractFileSystem) -> None:
    bucket.pipe_file("/bucket/x.bin", b"123")
    with local_file(place("memory://bucket/x.bin")) as local:
        assert local.read_bytes() == b"123"
    assert not local.exists()


@pytest.mark.model
def test_a_studys_stores_lie_in_the_bucket_that_the_environment_names(
    bucket: fsspec.AbstractFileSystem, own_place: OwnPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QKLD_STORES", BUCKET)
    params = load_params("smoke")
    params = params.model_copy(update={"corpora": params.corpora[:1]})
    model = open_model(params.reference, reference=params.reference, compute=params.compute)
    record_corpora(params, model)
    [(store, scored)] = open_corpora(params)
    assert StudyPaths("smoke").reference == place(f"{BUCKET}/smoke")
    assert not (own_place.folder / "runs" / "smoke" / "reference").exists()
    window = store.header.windows[0]
    hidden = model.hidden(torch.tensor([window.tokens]))[0, list(window.positions)]
    assert torch.equal(store.hidden(0), hidden)
    assert scored == scored_by_context(params.corpora[0], store.header.windows, params.reference_logits.score_from)
