"""The reference store: exact, resumable, and every kind of damage noticed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY

from qkld.errors import StoreError
from qkld.models.head import Head
from qkld.reference.store import ReferenceStore, StoreHeader, StoreWriter, head_file
from qkld.sources.windows import Window
from qkld.study.provenance import key_of

WIDTH = 24


def windows(count: int = 5) -> tuple[Window, ...]:
    """Windows of different lengths, scored in their second half."""
    return tuple(
        Window(f"w{i}", tuple(range(8 + i)), tuple(range(3 + i % 2, 7 + i)), cluster=i // 2) for i in range(count)
    )


def head(dtype: torch.dtype) -> Head:
    return Head(torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(1)).to(dtype))


def header(dtype: torch.dtype = torch.float32, count: int = 5) -> StoreHeader:
    return StoreHeader(
        kind="corpus",
        name="prose",
        model_sha256="m" * 64,
        tokenizer_sha256="t" * 64,
        compute_dtype=str(dtype).removeprefix("torch."),
        device="cpu",
        head_sha256=head(dtype).sha256(),
        width=WIDTH,
        windows=windows(count),
    )


def states(h: StoreHeader) -> list[torch.Tensor]:
    """Hidden states with every awkward value: zeros, subnormals, infinities, NaN, negative zero."""
    generator = torch.Generator().manual_seed(2)
    made = [torch.randn(len(w.positions), WIDTH, generator=generator).to(h.dtype) for w in h.windows]
    made[0].zero_()
    made[1][0, :5] = torch.tensor([float("nan"), float("inf"), float("-inf"), -0.0, 1e-40]).to(h.dtype)
    return made


def written(root: Path, dtype: torch.dtype = torch.float32) -> tuple[StoreHeader, Path]:
    h = header(dtype)
    with StoreWriter(root, h, head(dtype)) as store:
        for i, hidden in enumerate(states(h)):
            store.write(i, hidden)
        store.seal()
    return h, h.folder(root)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_hidden_states_and_head_come_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    h, folder = written(tmp_path, dtype)
    store = ReferenceStore.open(folder, expected_key=h.key)
    integer = torch.int32 if dtype == torch.float32 else torch.int16
    for i, expected in enumerate(states(h)):
        assert torch.equal(store.hidden(i).view(integer), expected.view(integer))
    assert torch.equal(store.head.weight, head(dtype).weight)
    assert store.header == h


def test_the_manifest_counts_what_lies_there(tmp_path: Path) -> None:
    h, folder = written(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["scored_tokens"] == sum(len(w.positions) for w in h.windows)
    assert manifest["raw_bytes"] == manifest["scored_tokens"] * WIDTH * 4
    assert manifest["stored_bytes"] > 0


def test_a_writer_goes_on_with_the_windows_that_are_missing(tmp_path: Path) -> None:
    h = header()
    with StoreWriter(tmp_path, h, head(torch.float32)) as store:
        store.write(0, states(h)[0])
        store.write(3, states(h)[3])
        with pytest.raises(StoreError, match="is not complete"):
            store.seal()
    first = (h.folder(tmp_path) / "done" / "000000.json").stat().st_mtime_ns
    with StoreWriter(tmp_path, h, head(torch.float32)) as store:
        assert store.missing() == [1, 2, 4]
        for i in store.missing():
            store.write(i, states(h)[i])
        store.seal()
    assert (h.folder(tmp_path) / "done" / "000000.json").stat().st_mtime_ns == first
    assert torch.equal(ReferenceStore.open(h.folder(tmp_path)).hidden(3), states(h)[3])


def test_an_unsealed_store_is_not_read(tmp_path: Path) -> None:
    h = header()
    with StoreWriter(tmp_path, h, head(torch.float32)) as store:
        store.write(0, states(h)[0])
    with pytest.raises(StoreError, match=r"01_reference_logits"):
        ReferenceStore.open(h.folder(tmp_path))


def chunk(folder: Path, window: int) -> Path:
    return folder / "hidden.zarr" / "c" / str(window) / "0" / "0"


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("place", [0, 5, 40, -20, -1])
def test_a_flipped_bit_in_a_chunk_is_noticed(tmp_path: Path, place: int) -> None:
    _, folder = written(tmp_path)
    flip(chunk(folder, 2), place % chunk(folder, 2).stat().st_size)
    store = ReferenceStore.open(folder)
    with pytest.raises(StoreError, match="window 2"):
        store.hidden(2)
    store.hidden(3)


@pytest.mark.parametrize("window", [0, 4])
def test_a_missing_chunk_is_not_read_as_zeros(tmp_path: Path, window: int) -> None:
    _, folder = written(tmp_path)
    chunk(folder, window).unlink()
    if window == 0:  # its hidden states are zeros: what Zarr fills in is what was stored
        assert not ReferenceStore.open(folder).hidden(0).any()
        return
    with pytest.raises(StoreError, match="missing, swapped or altered"):
        ReferenceStore.open(folder).hidden(window)


def test_swapped_and_truncated_chunks_are_noticed(tmp_path: Path) -> None:
    _, folder = written(tmp_path)
    shutil.copy(chunk(folder, 1), chunk(folder, 3))
    chunk(folder, 4).write_bytes(chunk(folder, 4).read_bytes()[:30])
    store = ReferenceStore.open(folder)
    for window in (3, 4):
        with pytest.raises(StoreError, match=f"window {window}"):
            store.hidden(window)


@pytest.mark.parametrize("file", ["header.json", "manifest.json", "hidden.zarr/zarr.json"])
def test_edited_metadata_are_noticed(tmp_path: Path, file: str) -> None:
    _, folder = written(tmp_path)
    path = folder / file
    path.write_text(path.read_text().replace("24", "25", 1))
    with pytest.raises(StoreError, match="damaged or edited"):
        ReferenceStore.open(folder)


def test_an_altered_head_is_noticed(tmp_path: Path) -> None:
    h, folder = written(tmp_path)
    flip(head_file(tmp_path, h.head_sha256), -10)
    with pytest.raises(StoreError, match="head"):
        _ = ReferenceStore.open(folder).head
    head_file(tmp_path, h.head_sha256).unlink()
    with pytest.raises(StoreError, match="head"):
        _ = ReferenceStore.open(folder).head


def test_a_store_of_something_else_is_refused(tmp_path: Path) -> None:
    _, folder = written(tmp_path)
    with pytest.raises(StoreError, match="another model, tokenizer, corpus or dtype"):
        ReferenceStore.open(folder, expected_key=key_of("another"))


def test_hidden_states_of_another_shape_or_dtype_are_refused(tmp_path: Path) -> None:
    h = header()
    with StoreWriter(tmp_path, h, head(torch.float32)) as store:
        for wrong in (states(h)[0][:2], states(h)[0].double(), states(h)[0][:, :5]):
            with pytest.raises(StoreError, match="does not have the hidden states"):
                store.write(0, wrong)
        assert store.missing() == [0, 1, 2, 3, 4]


def test_a_second_writer_waits_for_the_first_and_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    h = header()
    holder = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'a+'); fcntl.flock(f, fcntl.LOCK_EX); "
        "print('held', flush=True); time.sleep(60)"
    )
    folder = h.folder(tmp_path)
    folder.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", holder, str(folder / ".lock")], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        process.kill()
        process.wait()
        with StoreWriter(tmp_path, h, head(torch.float32)) as store:
            assert len(store.missing()) == 5


def test_a_full_disk_leaves_finished_windows_and_an_error(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    script = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from reference.test_store import head, header, states
import torch
from qkld.errors import StoreError
from qkld.reference.store import StoreWriter
h = header()
with StoreWriter(Path(sys.argv[1]), h, head(torch.float32)) as store:
    store.write(0, states(h)[0])
    store.write(2, states(h)[2])
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, resource.RLIM_INFINITY))
    try:
        store.write(1, states(h)[1])
    except StoreError as error:
        print("refused:", "space on the disk" in str(error), store.missing())
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(small), str(REPOSITORY / "tests")],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert "refused: True [1, 3, 4]" in done.stdout, done.stderr
    h = header()
    with StoreWriter(small, h, head(torch.float32)) as store:
        for i in store.missing():
            store.write(i, states(h)[i])
        store.seal()
    assert torch.equal(ReferenceStore.open(h.folder(small)).hidden(2), states(h)[2])
