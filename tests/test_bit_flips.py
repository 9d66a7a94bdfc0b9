"""Every single flipped bit is noticed, in every kind of file that a run keeps and reads again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bit_flips import unnoticed
from small_stores import VOCABULARY, hidden_store, small_logits, small_tokens, small_windows
from study.test_schemas import MADE, filled

from qkld.analysis.study import LoadedStudy
from qkld.compare.stores.base_file import BaseFile, seal_of, write_base_file
from qkld.compare.stores.enclosure import Enclosure
from qkld.compare.stores.topk import top_k_of
from qkld.compare.stores.topk_store import TopKHeader, TopKStore, write_top_k_store
from qkld.reference.store import ReferenceStore, StoreWriter, head_file
from qkld.study.schemas import SCHEMAS, read_table, write_table
from qkld.study.sealing import read_sealed, write_sealed
from validation.calibration.kept import Block, kept

pytestmark = pytest.mark.long


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
@pytest.mark.parametrize("rows", [3, 5000])
def test_in_a_table(tmp_path: Path, schema, rows: int, rng: np.random.Generator) -> None:
    path = tmp_path / "table.parquet"
    write_table(path, filled(schema, rows), schema, MADE)
    assert not unnoticed(path, lambda: read_table(path, schema, made_in="02"), rng)


def test_in_the_footer_of_a_table(tmp_path: Path, rng: np.random.Generator) -> None:
    """Where Parquet's metadata lie, which no page's checksum covers."""
    path = tmp_path / "table.parquet"
    write_table(path, filled(SCHEMAS["tokens"], 3), SCHEMAS["tokens"], MADE)
    assert not unnoticed(path, lambda: read_table(path, SCHEMAS["tokens"], made_in="02"), rng, count=4000)


def test_in_a_result_table_and_in_what_made_it(simulated_copy: LoadedStudy, rng: np.random.Generator) -> None:
    for name in ("correlation", "zone", "flips"):
        path = simulated_copy.paths.analysis(name)
        for file in (path, path.with_suffix(".json")):
            assert not unnoticed(file, lambda name=name: simulated_copy.analysis(name), rng, count=60)


@pytest.mark.parametrize(
    "values",
    [
        {"scores": {"a": [0.1, 1e-05, -2.5e300, None, True]}, "text": "Größe ‖ \x1f \\u00e9"},
        {"windows": list(range(50)), "folder": "corpus-prose-0123456789abcdef"},
        {},
    ],
)
def test_in_sealed_json(tmp_path: Path, values: dict, rng: np.random.Generator) -> None:
    """Partial scores, written answers, manifests and seals are such files."""
    path = tmp_path / "sealed.json"
    write_sealed(path, values)
    assert {k: v for k, v in read_sealed(path, do="it again").items() if k != "sha256"} == values
    assert not unnoticed(path, lambda: read_sealed(path, do="it again"), rng, count=10_000)


def whole(store: ReferenceStore) -> object:
    return [store.hidden(i) for i in range(len(store.header.windows))], store.head


def test_in_a_store_of_hidden_states(tmp_path: Path, rng: np.random.Generator) -> None:
    store = hidden_store(tmp_path).store
    files = [p for p in store.folder.rglob("*") if p.is_file() and p.parent.name != "done" and p.name != ".lock"]
    files.append(head_file(tmp_path, store.header.head_sha256))
    assert {"header.json", "manifest.json", "zarr.json", "0"} < {p.name for p in files}
    for file in files:
        assert not unnoticed(file, lambda: whole(ReferenceStore.open(store.folder)), rng, count=80), file


def test_in_what_a_killed_writer_of_a_store_left(tmp_path: Path, rng: np.random.Generator) -> None:
    store = hidden_store(tmp_path).store

    def go_on() -> object:
        with StoreWriter(tmp_path, store.header, store.head) as writer:
            assert not writer.missing()
            writer.seal()
        return whole(ReferenceStore.open(store.folder))

    done = sorted((store.folder / "done").iterdir())[1]
    assert not unnoticed(done, go_on, rng, count=60)


def test_in_a_store_of_top_k(tmp_path: Path, rng: np.random.Generator) -> None:
    header = TopKHeader("prose", {"temperature": 1e-05}, VOCABULARY, 5, small_windows())
    logs = rng.standard_normal((len(small_windows()[0].positions), VOCABULARY))
    logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
    store = write_top_k_store(tmp_path, header, lambda i: top_k_of(Enclosure.exact(logs + 0 * i), 5))

    def read() -> object:
        again = TopKStore(store.folder)
        return [again.top_k(i) for i in range(len(again.windows))]

    files = [p for p in store.folder.rglob("*") if p.is_file() and p.suffix in (".json", ".safetensors")]
    assert len(files) == 2 + len(small_windows())
    for file in files:
        assert not unnoticed(file, read, rng, count=200), file


def test_in_a_sealed_base_file_and_its_seal(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "base.kld"
    write_base_file(path, small_tokens(), small_logits(), vocabulary=VOCABULARY)

    def read() -> object:
        file = BaseFile(path)
        return [file.rows(i) for i in range(file.header.chunks)]

    for file in (path, seal_of(path)):
        assert not unnoticed(file, read, rng, count=200), file


def test_in_a_block_of_a_calibration(tmp_path: Path, rng: np.random.Generator) -> None:
    def run() -> Block:
        return Block(pd.DataFrame({"p": rng.random(50), "flag": rng.random(50) < 0.5}), 1.5)

    block = kept(tmp_path, {"cell": 1}, run)
    (file,) = tmp_path.glob("*.parquet")
    again: Callable[[], Block] = lambda: kept(tmp_path, {"cell": 1}, run)  # noqa: E731
    assert again().seconds == block.seconds == 1.5
    assert not unnoticed(file, again, rng)
